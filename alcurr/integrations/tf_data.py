"""A stream as a dataset of tf.data.

    dataset = index_dataset(stream).map(lambda index: tf.gather(images, index))
    for x in dataset.prefetch(2).take(num_batches): ...

tf.data may gather, map and prefetch as with any other dataset. A buffer of n
batches, and a map with n parallel calls, are n draws ahead of the loop each:
make the stream with at least that `delay`, and do not use AUTOTUNE, which is
any number. Batches come in the order of their draws, so an `update` belongs to
the current batch; after a map that is not deterministic, return the index with
the examples, and pass it on as `update(index=...)`.

tf.data cannot save an iterator that is written in Python. Save
`stream.state_dict()` with the model, whatever was prefetched; load it, and make
a new iterator.
"""

import threading
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from alcurr.integrations._stream import IndexStream


def index_dataset(stream: IndexStream) -> tf.data.Dataset:
  """Returns the batches of a stream as a dataset, [B] int32 each, without end.

  Of a sampler that scores candidates they are [M], or [B] at steps without
  scores. An iterator starts with the batches that the previous one handed out
  and no loop updated; the previous one then ends.
  """
  has_candidates = stream._sampler.select is not None
  shape = [None if has_candidates else stream.batch_size]
  dataset = tf.data.Dataset.from_generator(
    _Iterations(stream), output_signature=tf.TensorSpec(shape, tf.int32)
  )
  # It would prefetch batches that nobody asked for.
  options = tf.data.Options()
  options.autotune.enabled = False
  return dataset.with_options(options)


class _Iterations:
  """Starts iterations over a stream, of which only the latest draws."""

  def __init__(self, stream: IndexStream):
    self._stream = stream
    # The threads of an iterator that a loop has left may still run.
    self._lock, self._latest = threading.Lock(), 0

  def __call__(self) -> Iterator[np.ndarray]:
    with self._lock:
      self._latest += 1
      number = self._latest
      self._stream.rewind()
    while True:
      with self._lock:
        if number != self._latest:
          return
        index = self._stream.next()
      yield index
