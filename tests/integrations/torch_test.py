"""The batch sampler in PyTorch's own DataLoader."""

import io
import itertools
import multiprocessing

import numpy as np
import pytest
from streams import (
  BANDIT,
  BATCH_SIZE,
  POOL,
  losses_of,
  make_sampler,
  make_stream,
  pure,
  refused,
)

from alcurr.integrations import pool_info
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


def _saved_and_loaded(state):
  file = io.BytesIO()
  torch.save(state, file)
  file.seek(0)
  return torch.load(file, weights_only=True)  # PyTorch's default


def test_pytorch_reads_a_saved_state_by_its_safe_default():
  batches = BatchSampler(make_stream(BANDIT, delay=DELAY))
  found = _epoch(batches, _loader(batches, 0), most=3)
  next(iter(batches))
  state = _saved_and_loaded(batches.state_dict())
  again = BatchSampler(make_stream(BANDIT, seed=1, delay=DELAY))
  again.load_state_dict(state)
  found += _epoch(again, _loader(again, 0), most=5)
  np.testing.assert_array_equal(found, pure(BANDIT, 8, delay=DELAY))


def test_tensors_of_any_kind_are_numbers():
  """That require a gradient, are bfloat16, or stand in a list."""
  losses = [torch.ones(BATCH_SIZE, requires_grad=True) * 2 for _ in range(2)]
  kinds = [
    {"losses": losses},
    {"losses": [x.bfloat16() for x in losses]},
    {"losses": tuple(list(x) for x in losses)},
    {"gains": losses[0].half()},
    {"gains": losses[0].double()},
  ]
  stream = make_stream(BANDIT)
  for measured in kinds:
    index = torch.tensor(stream.next())
    stream.update(index=index, **measured)
  assert stream.updates == len(kinds)


def test_a_pools_arrays_may_be_tensors():
  sampler, label = make_sampler(BANDIT), torch.tensor(np.asarray(POOL.label))
  difficulty = torch.tensor(np.asarray(POOL.scores["difficulty"]))
  info = pool_info(sampler, label.long(), difficulty.requires_grad_(), 5)
  np.testing.assert_array_equal(
    info.partitions["difficulty"].arm, POOL.partitions["difficulty"].arm
  )


class _Dealt:
  """Every second batch, as accelerate gives one of two processes."""

  def __init__(self, batches, process):
    self.batches, self.process = batches, process

  def __iter__(self):
    whole = zip(*[iter(self.batches)] * 2, strict=False)
    return (pair[self.process] for pair in whole)


def _dealt(num_batches, delay=3):
  """Two processes' batches, and their loaders."""
  both = [
    BatchSampler(make_stream(BANDIT, delay=delay), num_batches)
    for _ in range(2)
  ]
  return both, [_loader(_Dealt(b, i), 0) for i, b in enumerate(both)]


def test_batches_of_two_processes_are_credited_by_their_examples():
  """Over the end of an epoch and a state, both have the one sequence."""
  found, state = [], None
  for most in (4, 2, 3):
    both, loaders = _dealt(num_batches=8)
    for batches in both if state is not None else ():
      batches.load_state_dict(state)
    for _ in range(2):
      for pair in itertools.islice(zip(*loaders, strict=True), most):
        index = torch.cat([batch for (batch,) in pair])  # gathered
        found += index.reshape(2, -1).tolist()
        for batches in both:
          batches.update(index=index, losses=losses_of(index))
    state = both[0].state_dict()
  assert len(found) > 20
  np.testing.assert_array_equal(found, pure(BANDIT, len(found), delay=3))


@pytest.mark.parametrize("process", [0, 1])
def test_batches_of_two_processes_need_their_examples(process):
  both, loaders = _dealt(num_batches=80, delay=20)
  with refused("missing", "index"):
    _train(both[process], loaders[process])
  assert both[process].stream.updates == 1


def _train(batches, loader):
  for (index,) in loader:
    batches.update(losses=losses_of(index))


def test_a_batch_without_an_update_is_not_credited_with_the_next():
  batches = BatchSampler(make_stream(BANDIT, delay=9))
  loader = iter(_loader(batches, 0))
  next(loader)
  batches.update(gains=np.ones(BATCH_SIZE))
  next(loader)  # as a loop does that passes over it
  next(loader)
  with refused("missing", "index"):
    batches.update(gains=np.ones(BATCH_SIZE))
  batches.update(gains=np.ones(BATCH_SIZE), number=1)
  batches.update(gains=np.ones(BATCH_SIZE))


def test_an_epoch_without_an_update_is_not_repeated():
  batches = BatchSampler(make_stream({"name": "uniform"}, delay=9), 4)
  assert len(list(batches)) == 4
  with refused("missing", "update"):
    iter(batches)


def test_an_iterator_ends_where_another_begins():
  batches = BatchSampler(make_stream({"name": "uniform"}))
  first = iter(batches)
  second = iter(batches)
  with refused("conflict", "BatchSampler"):
    next(first)
  next(second)
  batches.load_state_dict(batches.state_dict())
  with refused("conflict", "BatchSampler"):
    next(second)


@pytest.mark.parametrize("spec", [{"name": "uniform"}, BANDIT])
def test_a_loader_resumes_after_the_batches_its_workers_have(spec):
  """As torchdata's StatefulDataLoader does; a bandit would lack updates."""
  batches = BatchSampler(make_stream(spec, delay=DELAY), num_batches=7)
  _epoch(batches, _loader(batches, 0), most=2)
  loader = iter(batches)
  next(loader), next(loader), next(loader)
  states = _saved_and_loaded([batches.state_dict(), loader.state_dict()])
  again = BatchSampler(make_stream(spec, seed=1, delay=DELAY), num_batches=7)
  again.load_state_dict(states[0])
  loader = iter(again)
  if again.stream.learns:
    with refused("conflict", "load_state_dict"):
      loader.load_state_dict(states[1])
    return
  loader.load_state_dict(states[1])
  np.testing.assert_array_equal([*loader], pure(spec, 7, delay=DELAY)[5:])


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.skipif(
  "fork" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)
def test_workers_that_are_forked_are_refused():
  """JAX's threads may hold a lock at the fork, which nothing releases."""
  batches = BatchSampler(make_stream(BANDIT, delay=DELAY))
  loader = DataLoader(
    DATASET,
    batch_sampler=batches,
    num_workers=1,
    multiprocessing_context="fork",
  )
  with refused("unsupported", "multiprocessing_context"):
    next(iter(loader))
  assert batches.stream.handed_out == 0
