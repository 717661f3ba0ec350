"""The collectives of a program, read from a text that was counted by hand."""

import pytest

from benchmarks import parallel

TEXT = """\
HloModule jit_chunk, is_scheduled=true

%body.1 (p: (f32[4])) -> (f32[4]) {
  %a = f32[10,3]{1,0} all-reduce(%x), channel_id=1, replica_groups={{0,1}}
  %b = (f32[8]{0}, s32[]) all-reduce(%y, %z), channel_id=2
  ROOT %c = bf16[16,2]{1,0} all-gather(%w), dimensions={0}
  %d = f32[100]{0} add(%x, %all-reduce.7)
}

ENTRY %main.2 (p: f32[4]) -> f32[4] {
  %e = (pred[6]{0}, pred[12]{0}) all-gather-start(%v), dimensions={0}
  %f = u8[7]{0} collective-permute(%u), source_target_pairs={{0,1}}
}
"""


def test_counts_collectives_of_steps_and_of_chunks():
  kinds, step, chunk = parallel.count_collectives(TEXT)
  assert kinds == {"all-reduce": 2, "all-gather": 1}
  assert step == 4 * 30 + (4 * 8 + 4) + 2 * 32
  assert chunk == (6 + 12) + 7


@pytest.mark.parametrize("text", ["", "HloModule nothing\n"])
def test_counts_none(text):
  assert parallel.count_collectives(text) == ({}, 0, 0)
