"""The dataset in pipelines of tf.data."""

import pathlib
import re

import numpy as np
import pytest
import toy_samplers
from streams import (
  BANDIT,
  BATCH_SIZE,
  POOL,
  losses_of,
  make_sampler,
  make_stream,
  pure,
)

tf = pytest.importorskip("tensorflow", reason="the extra `tf` brings it")
from alcurr.integrations import IndexStream, pool_info  # noqa: E402
from alcurr.integrations.tf_data import index_dataset  # noqa: E402

UNIFORM = {"name": "uniform"}
IMAGES = np.arange(640) * 10  # ten times the index of each example
DELAY = 4


def _dataset(stream, ahead, calls=None):
  """Indices and the examples gathered for them."""
  dataset = index_dataset(stream).map(
    lambda index: (index, tf.gather(IMAGES, index)), num_parallel_calls=calls
  )
  return dataset.prefetch(ahead) if ahead else dataset


def _loop(stream, dataset, num_batches):
  """Trains for some batches; the losses are TensorFlow's own arrays."""
  found = []
  for index, image in dataset.take(num_batches):
    np.testing.assert_array_equal(stream.drawn.index, index)
    np.testing.assert_array_equal(image, IMAGES[index.numpy()])
    stream.update(losses=tuple(map(tf.constant, losses_of(index))))
    found.append(index.numpy())
  return found


@pytest.mark.parametrize(
  ("ahead", "calls", "delay"), [(0, None, 0), (4, None, 4), (2, 2, 4)]
)
def test_the_sequence_is_the_samplers_own(ahead, calls, delay):
  """It needs no more than the delay that buffers and parallel calls add to.

  The second epoch begins with what the first had prefetched.
  """
  stream = make_stream(BANDIT, delay=delay)
  dataset = _dataset(stream, ahead, calls)
  found = _loop(stream, dataset, 9) + _loop(stream, dataset, 7)
  np.testing.assert_array_equal(found, pure(BANDIT, 16, delay=delay))


def test_a_state_resumes_with_batches_that_were_prefetched():
  expected = pure(BANDIT, 14, delay=DELAY)
  stream = make_stream(BANDIT, delay=DELAY)
  found = _loop(stream, _dataset(stream, 3), 6)
  state = stream.state_dict()
  other = make_stream(BANDIT, seed=1, delay=DELAY)
  other.load_state_dict(state)
  found += _loop(other, _dataset(other, 3), 8)
  np.testing.assert_array_equal(found, expected)


def test_a_loop_that_is_left_goes_on_where_it_was():
  stream = make_stream(UNIFORM, delay=DELAY)
  dataset, found = _dataset(stream, 2), []
  for number, (index, _) in enumerate(dataset):
    stream.update()
    found.append(index.numpy())
    if number == 3:
      break
  found += _loop(stream, dataset, 4)
  np.testing.assert_array_equal(found, pure(UNIFORM, 8))


def test_an_older_iterator_ends_where_another_begins():
  stream = make_stream(UNIFORM, delay=DELAY)
  dataset = index_dataset(stream)
  older, newer = iter(dataset), iter(dataset)
  first = next(older).numpy()
  np.testing.assert_array_equal(next(newer), first)
  with pytest.raises(StopIteration):
    next(older)
  stream.update()
  np.testing.assert_array_equal([first, next(newer)], pure(UNIFORM, 2))


def test_more_ahead_than_the_delay_is_told():
  stream = make_stream(BANDIT, delay=1)
  with pytest.raises(tf.errors.InvalidArgumentError, match="UserError: delay:"):
    next(iter(_dataset(stream, 3).skip(2)))


def test_shapes_are_known_to_programs():
  (batch,) = index_dataset(make_stream(UNIFORM)).element_spec.shape
  assert batch == BATCH_SIZE
  sampler = toy_samplers.largest_loss(batch_size=BATCH_SIZE, num_candidates=24)
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  dataset = index_dataset(stream)
  assert dataset.element_spec.shape.as_list() == [None]
  for index in dataset.take(2):
    assert index.shape == [24]
    chosen = stream.select(losses=tf.cast(index, tf.float32))
    np.testing.assert_array_equal(np.sort(chosen.index), np.sort(index)[-8:])
    stream.update(losses=chosen.index)


class _Linear(tf.Module):
  def __init__(self):
    self.weight = tf.Variable(tf.zeros((16, 4)))

  def __call__(self, x):
    return tf.reshape(x, (-1, 16)) @ self.weight


def _loss(y, logits):
  return tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)


class _Descent:
  def apply_gradients(self, pairs):
    for grad, variable in pairs:
      variable.assign_sub(0.1 * grad)


def test_the_loop_of_the_docs_learns():
  page = pathlib.Path(__file__).parents[2] / "docs/loops.md"
  section = page.read_text().split("\n## tf.data\n")[1].split("\n## ")[0]
  (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
  images = np.asarray(POOL.source.image, np.float32) / 255
  labels = np.asarray(POOL.label)
  names = {
    "sampler": make_sampler(BANDIT),
    "images": images,
    "labels": labels,
    "difficulty": np.asarray(POOL.scores["difficulty"]),
    "model": _Linear(),
    "loss": _loss,
    "optimizer": _Descent(),
    "num_batches": 100,
  }
  exec(block, names)
  assert names["stream"].updates == 100
  predicted = np.argmax(names["model"](images), 1)
  assert (predicted == labels).mean() > 0.5
