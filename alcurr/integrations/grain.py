"""A stream as a dataset of grain.

    dataset = IndexDataset(stream).map(lambda index: images[index])

Threads may prefetch from it, `grain.experimental.ThreadPrefetchIterDataset`:
with a buffer of n they are n + 1 batches ahead of the loop, which the stream's
`delay` must be at least. Worker processes cannot: grain copies the whole
dataset into each of them, and no update reaches a copy.

`get_state` of an iterator is the state of its stream and goes into any
checkpoint of grain's. Where threads prefetch, grain takes it before the
batches on the way are updated, which is exact for samplers that learn from
nothing and refused by `set_state` for others: save `stream.state_dict()`
beside the model, load it, and make a new iterator.
"""

from typing import Any

import grain
import numpy as np

from alcurr.core.errors import UserError
from alcurr.integrations.stream import IndexStream


class IndexDataset(grain.IterDataset[np.ndarray]):
  """The batches of a stream without end, [B] int32 each.

  An iterator begins with what the last one handed out and no loop updated;
  only one of them may be in use.
  """

  def __init__(self, stream: IndexStream):
    super().__init__()
    self._stream = stream

  def __iter__(self) -> grain.DatasetIterator[np.ndarray]:
    return IndexIterator(self._stream)


class IndexIterator(grain.DatasetIterator[np.ndarray]):
  def __init__(self, stream: IndexStream):
    super().__init__()
    self._stream = stream
    stream.rewind()

  def __next__(self) -> np.ndarray:
    return self._stream.next()

  def get_state(self) -> dict[str, Any]:
    """Of the stream, in numbers and lists of them, as grain's JSON asks."""
    handed_out = self._stream.handed_out
    state = self._stream.state_dict()
    lists = {name: array.tolist() for name, array in state.items()}
    return {"handed_out": handed_out, "stream": lists}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on after the batches that were handed out.

    Raises:
      UserError: the sampler learns, and some of them had no update then.
    """
    self._stream.load_state_dict(state["stream"])
    missing = state["handed_out"] - self._stream.updates
    if missing and self._stream.learns:
      raise UserError(
        f"the state was taken while {missing} batches waited for their update, "
        "which the sampler learns from; take it after update(), or where "
        "threads prefetch save stream.state_dict() and load that."
      )
    for _ in range(missing):
      self._stream.next()
      self._stream.update()
