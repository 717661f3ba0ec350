"""Two processes of PyTorch on one global draw are one process of its size."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from streams import BANDIT, BATCH_SIZE, make_stream, pure, refused

torch = pytest.importorskip("torch", reason="the extra `torch` brings it")
import ranks  # noqa: E402

from alcurr import samplers  # noqa: E402
from alcurr.integrations.torch import BatchSampler  # noqa: E402

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """Trains in one process; the ranks resume its state after ten steps."""
  folder = tmp_path_factory.mktemp("ranks")
  batches = ranks.make_batches(BANDIT, ranks.DELAY)
  ranks.train(batches, ranks.STEPS)
  np.savez(folder / "alone.npz", **batches.stream.state_dict())
  return folder, batches


def _torchrun(count, folder, *args):
  """Runs a program in `count` processes over gloo, on the loopback alone."""
  command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
  command += [f"--nproc-per-node={count}", *map(str, args)]
  env = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
  env["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "tests", HERE)))
  done = subprocess.run(
    command, env=env, cwd=folder, capture_output=True, text=True, check=False
  )
  assert not done.returncode, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def both(alone):
  """The results of two processes."""
  folder, _ = alone
  _torchrun(2, folder, HERE / "ranks.py", folder)
  return [dict(np.load(folder / f"{rank}.npz")) for rank in (0, 1)]


def _state(results, prefix):
  return {
    name.removeprefix(f"{prefix}:"): array
    for name, array in results.items()
    if name.startswith(f"{prefix}:")
  }


def _assert_same_state(both, prefix, expected):
  for results in both:
    state = _state(results, prefix)
    assert state.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(state[name], array, err_msg=name)


@pytest.mark.distributed
def test_the_slices_of_two_ranks_are_the_samplers_own_batches(both, alone):
  """Also where workers load them, and over the end of an epoch."""
  trained = [results["trained"] for results in both]
  assert trained[0].shape == (ranks.STEPS, BATCH_SIZE // 2)
  expected = pure(BANDIT, ranks.STEPS, delay=ranks.DELAY)
  np.testing.assert_array_equal(np.concatenate(trained, 1), expected)
  stopped = ranks.make_batches(BANDIT, ranks.DELAY)
  ranks.train(stopped, ranks.STEPS, num_workers=1)
  _assert_same_state(both, "state", stopped.stream.state_dict())


@pytest.mark.distributed
def test_runs_resume_with_another_number_of_ranks(both, alone):
  """From one to two, and from two to one, to the same bits."""
  _, batches = alone
  rest = ranks.train(batches, ranks.STEPS)
  resumed = np.concatenate([results["resumed"] for results in both], 1)
  np.testing.assert_array_equal(resumed, rest)
  _assert_same_state(both, "resumed", batches.stream.state_dict())

  again = ranks.make_batches(BANDIT, ranks.DELAY, seed=1)
  again.load_state_dict(_state(both[1], "state"))
  np.testing.assert_array_equal(ranks.train(again, ranks.STEPS), rest)


@pytest.mark.distributed
def test_candidates_are_selected_from_all_ranks(both):
  """Steps that score them, and steps that do not."""
  batches = ranks.make_batches(ranks.CANDIDATES)
  expected = ranks.select(batches, ranks.STEPS)
  counts = set()
  for step, rows in enumerate(expected):
    parts = [results[f"selected.{step}"] for results in both]
    counts |= {len(part) for part in parts}
    found = np.concatenate(parts)
    order, own = np.lexsort(rows.T), np.lexsort(found.T)
    np.testing.assert_array_equal(found[own], rows[order])
  assert len(counts) > 1  # the ranks' shares differ
  _assert_same_state(both, "selecting", batches.stream.state_dict())


@pytest.mark.distributed
def test_ranks_may_name_their_examples(both):
  batches = ranks.make_batches(BANDIT, ranks.DELAY)
  ranks.train(batches, ranks.NUM_BATCHES)
  _assert_same_state(both, "by_index", batches.stream.state_dict())


@pytest.mark.distributed
def test_ranks_that_differ_are_told_on_each(both):
  for results in both:
    found = {k[6:]: str(v) for k, v in results.items() if k[:6] == "error."}
    assert found == {
      "rank": "conflict rank",
      **dict.fromkeys(("key", "number", "arguments"), "mismatch update"),
      "rows": "type update",
      "feedback": "unsupported feedback",
      "index": "missing index",
    }


@pytest.mark.distributed
def test_the_complete_file_of_the_docs(tmp_path):
  """It finds most wrong labels, and its model classifies most rows rightly."""
  page = (ROOT / "docs/loops.md").read_text()
  section = page.split("\n### Several processes\n")[1].split("\n## ")[0]
  block = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
  (tmp_path / "train.py").write_text(block)
  printed = _torchrun(2, tmp_path, "train.py")
  found, wrong = re.search(r"(\d+) of (\d+) wrong labels", printed).groups()
  assert int(found) > 0.7 * int(wrong) > 0
  suspected = re.search(r"(\d+) of (\d+) right labels", printed).groups()
  assert int(suspected[0]) < 0.2 * int(suspected[1])
  saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
  rng = np.random.default_rng(0)
  truth = rng.integers(0, 4, 4_000)
  rows = rng.normal(size=(4, 8))[truth] + rng.normal(size=(4_000, 8))
  weight, bias = (saved["model"][f"module.{x}"] for x in ("weight", "bias"))
  predicted = (rows @ weight.numpy().T + bias.numpy()).argmax(1)
  assert (predicted == truth).mean() > 0.8
  assert saved["batches"]["next_number"] == 1_250


@pytest.mark.parametrize(
  ("arguments", "code", "place"),
  [
    ({"rank": 0, "world_size": 3}, "conflict", "batch_size"),
    ({"rank": 2, "world_size": 2}, "range", "rank"),
    ({"rank": -1, "world_size": 2}, "range", "rank"),
    ({"world_size": 0}, "range", "world_size"),
    ({"rank": 0, "world_size": 2}, "missing", "world_size"),
  ],
)
def test_ranks_that_do_not_fit(arguments, code, place):
  with refused(code, place):
    BatchSampler(make_stream(BANDIT), **arguments)


def test_candidates_must_divide_too():
  sampler = samplers.importance_sampling(batch_size=BATCH_SIZE, keep=2 / 3)
  with refused("conflict", "num_candidates"):
    ranks.make_batches(sampler, rank=0, world_size=BATCH_SIZE)
