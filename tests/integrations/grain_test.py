"""The dataset in grain's own pipelines."""

import json

import numpy as np
import pytest
from absl import flags
from streams import BANDIT, losses_of, make_stream, pure, refused

grain = pytest.importorskip("grain", reason="the extra `grain` brings it")
from alcurr.integrations.grain import IndexDataset  # noqa: E402

UNIFORM = {"name": "uniform"}
IMAGES = np.arange(640) * 10  # ten times the index of each example
DELAY = 4


def _dataset(stream, ahead):
  """Indices and the examples loaded for them, by a prefetching thread."""
  dataset = IndexDataset(stream).map(lambda index: (index, IMAGES[index]))
  if not ahead:
    return dataset
  return grain.experimental.ThreadPrefetchIterDataset(
    dataset, prefetch_buffer_size=ahead
  )


def _loop(stream, iterator, num_batches):
  found = []
  for _ in range(num_batches):
    index, image = next(iterator)
    np.testing.assert_array_equal(stream.drawn.index, index)
    np.testing.assert_array_equal(image, IMAGES[index])
    stream.update(losses=losses_of(index))
    found.append(index)
  return found


def _json(state):
  return json.loads(json.dumps(state))


@pytest.mark.parametrize("ahead", [0, 2])
def test_the_sequence_is_the_samplers_own(ahead):
  """Two in the buffer, one in the thread and one in the loop."""
  stream = make_stream(BANDIT, delay=DELAY)
  iterator = iter(_dataset(stream, ahead))
  found = _loop(stream, iterator, 16)
  iterator.close()
  np.testing.assert_array_equal(found, pure(BANDIT, 16, delay=DELAY))


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("spec", [UNIFORM, BANDIT], ids=["uniform", "bandit"])
def test_grains_state_resumes_where_it_knows_all(spec, ahead):
  """A bandit's state is refused if a thread took it before the updates."""
  expected = pure(spec, 14, delay=DELAY)
  stream = make_stream(spec, delay=DELAY)
  iterator = iter(_dataset(stream, ahead))
  found = _loop(stream, iterator, 6)
  state = _json(iterator.get_state())
  iterator.close()
  np.testing.assert_array_equal(found, expected[:6])
  other = make_stream(spec, seed=1, delay=DELAY)
  again = iter(_dataset(other, ahead))
  if ahead and other.learns:
    with refused("conflict", "set_state"):
      again.set_state(state)
    return
  again.set_state(state)
  np.testing.assert_array_equal(_loop(other, again, 8), expected[6:])
  again.close()


def test_the_streams_own_state_resumes_with_threads():
  expected = pure(BANDIT, 14, delay=DELAY)
  stream = make_stream(BANDIT, delay=DELAY)
  iterator = iter(_dataset(stream, 2))
  found = _loop(stream, iterator, 6)
  state = stream.state_dict()
  iterator.close()
  other = make_stream(BANDIT, seed=1, delay=DELAY)
  other.load_state_dict(state)
  again = iter(_dataset(other, 2))
  np.testing.assert_array_equal(found + _loop(other, again, 8), expected)
  again.close()


def test_worker_processes_are_refused():
  """Also in a program without flags, where grain itself fails earlier."""
  flags.FLAGS.unparse_flags()
  dataset = _dataset(make_stream(UNIFORM), 0)
  options = grain.MultiprocessingOptions(num_workers=1)
  with refused("unsupported", "IndexStream"):
    next(iter(dataset.mp_prefetch(options)))
