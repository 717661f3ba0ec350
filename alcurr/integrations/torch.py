"""A stream as the batch sampler of PyTorch's DataLoader.

    loader = DataLoader(dataset, batch_sampler=batches)

The loader draws in the loop's own process, and gives its workers nothing but
indices. With `num_workers` it draws `num_workers * prefetch_factor` batches
ahead of the loop: make the stream with at least that `delay`. Batches come in
the order of their draws, so that an `update` without a number is that of the
batch in hand; with `in_order=False` find it by its indices and give `number`.

Workers that are forked from the loop's own process, as on Linux by default
before Python 3.14, inherit what the threads of JAX had locked: take
`multiprocessing_context="forkserver"` or "spawn".
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.integrations.stream import IndexStream


class BatchSampler:
  """The batches of a stream, in epochs of equal length."""

  def __init__(self, stream: IndexStream, num_batches: int | None = None):
    """Of a stream that nothing else draws from.

    Args:
      stream: made with a `delay` of what the loader prefetches, at least.
      num_batches: of an epoch, which ends the loader's iteration; None for as
        many as the pool has whole batches.

    Raises:
      UserError: fewer than one.
    """
    if num_batches is None:
      num_batches = max(stream.num_examples // stream.batch_size, 1)
    if num_batches < 1:
      raise UserError(f"num_batches must be at least 1, got {num_batches}.")
    self.stream, self._num_batches = stream, num_batches

  def __len__(self) -> int:
    return self._num_batches

  def __iter__(self) -> Iterator[list[int]]:
    """The batches that are left of the epoch.

    Those that a loader before had prefetched, and no loop updated, come first.
    """
    self.stream.rewind()
    for _ in range(len(self) - self.stream.updates % len(self)):
      yield self.stream.next().tolist()

  def update(
    self,
    *,
    losses: tuple[Any, Any] | None = None,
    gains: Any = None,
    feedback: Any = None,
    number: int | None = None,
  ) -> None:
    """`IndexStream.update`, which takes tensors of any device too."""
    measured = {"losses": losses, "gains": gains, "feedback": feedback}
    # Not the tuple's elements alone: a Feedback is a record of two.
    self.stream.update(**jax.tree.map(_on_host, measured), number=number)

  def state_dict(self) -> dict[str, np.ndarray]:
    """Of what the loop has updated, whatever the loader has prefetched."""
    return self.stream.state_dict()

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    """Goes on from there in the next iteration of the loader."""
    self.stream.load_state_dict(state)


def _on_host(values: Any) -> Any:
  """A tensor's numbers; anything else as it is."""
  if not hasattr(values, "detach"):
    return values
  return values.detach().float().cpu().numpy()
