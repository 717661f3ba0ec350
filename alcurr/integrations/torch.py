"""A stream as the batch sampler of PyTorch's DataLoader.

    loader = DataLoader(dataset, batch_sampler=batches)

The loader draws in the loop's own process and gives its workers only indices.
With `num_workers` it draws `num_workers * prefetch_factor` batches ahead of
the loop: make the stream with at least that `delay`. Batches come in the order
of their draws, so an `update` without a number belongs to the current batch;
with `in_order=False` find the draw by its indices and pass `number`.

Workers forked from the loop's own process, the default on Linux before Python
3.14, inherit locks held by JAX's threads: pass
`multiprocessing_context="forkserver"` or "spawn".
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from alcurr.core import specs
from alcurr.integrations._stream import IndexStream


class BatchSampler:
  """The batches of a stream, in epochs of equal length."""

  def __init__(self, stream: IndexStream, num_batches: int | None = None):
    """Wraps a stream that nothing else draws from.

    Args:
      stream: with a `delay` of at least what the loader prefetches.
      num_batches: of an epoch, after which the loader's iteration ends; None
        for as many whole batches as the pool has.

    Raises:
      UserError: num_batches is less than one.
    """
    if num_batches is None:
      num_batches = max(stream.num_examples // stream.batch_size, 1)
    specs.check_range("num_batches", num_batches, 1)
    self.stream, self._num_batches = stream, num_batches

  def __len__(self) -> int:
    return self._num_batches

  def __iter__(self) -> Iterator[list[int]]:
    """Yields the remaining batches of the epoch.

    Batches that an earlier loader prefetched and no loop updated come first.
    """
    self.stream.rewind()
    for _ in range(len(self) - self.stream.updates % len(self)):
      yield self.stream.next().tolist()

  def update(self, **measured: Any) -> None:
    """Calls `IndexStream.update`; tensors of any device are accepted."""
    # Over the whole tree: a Feedback is a record of two arrays.
    self.stream.update(**jax.tree.map(_on_host, measured))

  def state_dict(self) -> dict[str, np.ndarray]:
    """Returns the stream's state, whatever the loader has prefetched."""
    return self.stream.state_dict()

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    """Resumes from a state in the loader's next iteration."""
    self.stream.load_state_dict(state)


def _on_host(values: Any) -> Any:
  """Returns a tensor as a NumPy array, and anything else as it is."""
  if not hasattr(values, "detach"):
    return values
  return values.detach().float().cpu().numpy()
