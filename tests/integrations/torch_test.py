"""The batch sampler in PyTorch's own DataLoader."""

import multiprocessing

import numpy as np
import pytest
from streams import (
  BANDIT,
  BATCH_SIZE,
  POOL,
  losses_of,
  make_stream,
  pure,
  refused,
)

from alcurr.integrations.torch import BatchSampler

torch = pytest.importorskip("torch", reason="the extra `torch` brings it")
DataLoader = torch.utils.data.DataLoader
# Each example is its own index.
DATASET = torch.utils.data.TensorDataset(torch.arange(640))
DELAY = 4  # of two workers with a prefetch factor of two


def _loader(batches, num_workers):
  context = None
  if num_workers:
    # From a process that has imported torch and has no threads of JAX.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
  return DataLoader(
    DATASET,
    batch_sampler=batches,
    num_workers=num_workers,
    multiprocessing_context=context,
  )


def _epoch(batches, loader, most=None):
  """A training loop of an epoch, or of its first batches: their indices."""
  found = []
  for (index,) in loader:
    found.append(index.numpy())
    np.testing.assert_array_equal(batches.stream.drawn.index, index)
    before, after = losses_of(index)
    tensors = torch.tensor(before, requires_grad=True), torch.tensor(after)
    batches.update(losses=tensors)
    if len(found) == most:
      break
  return found


@pytest.mark.parametrize("num_workers", [0, 2])
def test_any_number_of_workers_gives_the_samplers_own_sequence(num_workers):
  """Also over the end of an epoch, and resumed in the middle of one."""
  expected = pure(BANDIT, 18, delay=DELAY)
  batches = BatchSampler(make_stream(BANDIT, delay=DELAY), num_batches=7)
  assert len(batches) == 7
  loader = _loader(batches, num_workers)
  found = _epoch(batches, loader) + _epoch(batches, loader, most=3)
  state = batches.state_dict()
  np.testing.assert_array_equal(found, expected[:10])

  stream = make_stream(BANDIT, seed=1, delay=DELAY)
  again = BatchSampler(stream, num_batches=7)
  again.load_state_dict(state)
  loader = _loader(again, num_workers)
  rest = _epoch(again, loader)  # of the epoch that was left
  assert len(rest) == 4
  rest += _epoch(again, loader, most=4)
  np.testing.assert_array_equal(rest, expected[10:])


def test_a_loop_that_is_left_goes_on_with_what_was_prefetched():
  expected = pure(BANDIT, 9, delay=DELAY)
  batches = BatchSampler(make_stream(BANDIT, delay=DELAY), num_batches=80)
  loader = _loader(batches, 2)
  found = _epoch(batches, loader, most=2)
  assert batches.stream.handed_out > batches.stream.updates == 2
  found += _epoch(batches, loader, most=7)
  np.testing.assert_array_equal(found, expected)


def test_a_loader_that_prefetches_more_than_the_delay_is_told():
  ahead = iter(BatchSampler(make_stream(BANDIT, delay=1)))
  next(ahead), next(ahead)
  with refused("range", "delay"):
    next(ahead)


def test_an_epoch_is_the_pools_whole_batches():
  batches = BatchSampler(make_stream({"name": "uniform"}))
  index = np.concatenate(_epoch(batches, _loader(batches, 0)))
  assert len(batches) == 640 // BATCH_SIZE
  np.testing.assert_array_equal(np.sort(index), np.arange(len(POOL.label)))
  with refused("range", "num_batches"):
    BatchSampler(batches.stream, num_batches=0)


def test_feedback_may_be_of_tensors():
  batches = BatchSampler(
    make_stream({"name": "class_reweighting", "uniform_fraction": 0.0})
  )
  next(iter(batches))
  batches.update(feedback=torch.tensor([0, 3, 0, 1]))
  next(iter(batches))
  np.testing.assert_allclose(batches.stream.drawn.policy, [0, 0.75, 0, 0.25])
