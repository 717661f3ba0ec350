"""A stream as a dataset of grain.

    dataset = IndexDataset(stream).map(lambda index: images[index])

Threads may prefetch with `grain.experimental.ThreadPrefetchIterDataset`.
With a buffer of n they are n + 1 batches ahead of the loop: make the stream
with at least that `delay`. Worker processes cannot: grain copies the whole
dataset into each of them, and no update reaches a copy.

An iterator's `get_state` is the state of its stream and fits any checkpoint of
grain's. With prefetching threads, grain takes it before the prefetched batches
are updated. That is exact for samplers without a signal, and `set_state`
refuses it for others: save `stream.state_dict()` with the model, load it, and
make a new iterator.
"""

from typing import Any

import grain
import numpy as np
from absl import flags

from alcurr.integrations._position import get_position, set_position
from alcurr.integrations._stream import IndexStream


class IndexDataset(grain.IterDataset[np.ndarray]):
  """The batches of a stream, [B] int32 each, without end.

  An iterator starts with the batches that the previous one handed out and no
  loop updated; use only one at a time.
  """

  def __init__(self, stream: IndexStream):
    super().__init__()
    self._stream = stream
    # So that `mp_prefetch` tells why it cannot be, in a program without
    # absl's flags: grain reads its own before it copies the dataset.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()

  def __iter__(self) -> grain.DatasetIterator[np.ndarray]:
    return IndexIterator(self._stream)


class IndexIterator(grain.DatasetIterator[np.ndarray]):
  """An iterator over the batches of a stream."""

  def __init__(self, stream: IndexStream):
    super().__init__()
    self._stream = stream
    stream.rewind()

  def __next__(self) -> np.ndarray:
    return self._stream.next()

  def get_state(self) -> dict[str, Any]:
    """Returns the stream's state as numbers and lists, for grain's JSON."""
    position = get_position(self._stream)
    lists = {name: x.tolist() for name, x in position["stream"].items()}
    return position | {"stream": lists}

  def set_state(self, state: dict[str, Any]) -> None:
    """Resumes after the batches that were handed out.

    Raises:
      UserError: the sampler learns, and some of them had no update.
    """
    set_position(self._stream, state, "set_state")
