"""A step writes states of [N] in place: nothing of that size is copied."""

import re

import pytest
import toy
from sampler_table import SAMPLERS

from alcurr import testing
from alcurr.training.run import compile_chunks, init_trials

SIZE = 10_007  # of no other array; a tree may be padded
_COPY = re.compile(r"= \w+\[([\d,]+)\]\S* copy\(")


def copies_in_loops(text: str) -> list[str]:
  """Returns the lines of a compiled program's loops that copy arrays [N]."""
  found, is_entry = [], False
  for line in text.splitlines():
    if line and not line[0].isspace():
      is_entry = line.startswith("ENTRY")
    copy = _COPY.search(line)
    sizes = map(int, copy[1].split(",")) if copy and not is_entry else []
    if any(SIZE <= size < 2 * SIZE for size in sizes):
      found.append(line)
  return found


@pytest.mark.parametrize(
  "name",
  ["loss_proportional", pytest.param("self_paced", marks=pytest.mark.slow)],
)
def test_a_step_copies_no_state(name):
  run = toy.make_run(SAMPLERS[name], testing.BATCH_SIZE)
  pool = testing.make_pool(SIZE, scores=run.sampler.spec.scores)
  state = init_trials(run, pool)
  compiled = compile_chunks(run, state, {"train": pool, "probe": pool})
  assert not copies_in_loops(compiled.program.as_text())
