"""A step writes states of [N] in place: nothing of that size is copied."""

import re

import pytest
import toy
from sampler_table import SAMPLERS

from alcurr import testing
from alcurr.training.run import compile_chunks, init_trials

SIZE = 10_007  # of no other array; a tree may be padded
_COPY = re.compile(r"= \w+\[([\d,]+)\]\S* copy\(")
_BRANCHES = re.compile(r"branch_computations=\{(.*?)\}")
_CALLED = re.compile(r"(?:calls|body|condition|to_apply)=(%[\w.-]+)")


def bodies(text: str) -> dict[str, list[str]]:
  """Returns the lines of each computation of a compiled program."""
  found, name = {}, ""
  for line in text.splitlines():
    if line and not line[0].isspace():
      name = line.split(" ")[0]
    found.setdefault(name, []).append(line)
  return found


def copies_in_steps(text: str) -> list[str]:
  """Returns the lines of a compiled program's loops that copy arrays [N].

  What is done once a pass is in branches of conditionals, and may copy.
  """
  found = bodies(text)
  branches = {x for each in _BRANCHES.findall(text) for x in each.split(", ")}
  once_a_pass, new = set(), branches
  while new:
    once_a_pass |= new
    lines = "\n".join(line for name in new for line in found[name])
    new = set(_CALLED.findall(lines)) - once_a_pass
  copies = []
  for name in found.keys() - once_a_pass - {"ENTRY"}:
    for line in found[name]:
      copy = _COPY.search(line)
      sizes = map(int, copy[1].split(",")) if copy else []
      if any(SIZE <= size < 2 * SIZE for size in sizes):
        copies.append(line)
  return copies


def slow(name: str):
  return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize(
  "name",
  [
    "loss_proportional",
    *map(slow, ("self_paced", "scored_passes", "label_trust", "dihcl", "ies")),
    *map(slow, ("loshchilov_hutter", "infobatch")),
  ],
)
def test_a_step_copies_no_state(name):
  run = toy.make_run(SAMPLERS[name], testing.BATCH_SIZE)
  pool = testing.make_pool(SIZE, scores=run.sampler.spec.scores)
  state = init_trials(run, pool)
  compiled = compile_chunks(run, state, {"train": pool, "probe": pool})
  assert not copies_in_steps(compiled.program.as_text())
