"""A stream as the batch sampler of PyTorch's DataLoader.

    loader = DataLoader(dataset, batch_sampler=batches)

docs/loops.md has loops for influence, online selection and remembered losses.
The loader draws in the loop's own process and gives its workers only indices.
With `num_workers` it draws `num_workers * prefetch_factor` batches ahead of
the loop: make the stream with at least that `delay`. Batches come in the order
of their draws, so an `update` without a number belongs to the current batch;
with `in_order=False` give it the examples, as `update(index=...)`.

Workers forked from the loop's own process, the default on Linux before Python
3.14, inherit locks held by JAX's threads and may wait for them forever. They
are refused: pass `multiprocessing_context="forkserver"` or "spawn".

In several processes, every process makes the same stream, and a batch sampler
with its `rank` and the `world_size`. All make the same draws of B examples, and
each is handed its slice. `update` and `select` take what the process measured
of its own examples, and gather the rest:

    batches = BatchSampler(stream, rank=rank, world_size=world_size)

So the draws and the state are those of one process with the same B, and a run
may resume with another number of processes.

Accelerate deals out whole batches instead, one to each process, and prepares
one more. Give it a batch sampler without a rank, from a stream with a `delay`
of 2 n - 1 for n processes, and n a divisor of `num_batches`. Let the dataset
return each example's index, and gather:

    index, before, after = accelerator.gather((index, before, after))
    batches.update(index=index, losses=(before, after))

A state that was loaded needs no `skip_first_batches`.
"""

import multiprocessing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.integrations._position import get_position, set_position
from alcurr.integrations._ranks import Ranks
from alcurr.integrations._stream import Drawn, IndexStream, Selected

if TYPE_CHECKING:
  import torch


class BatchSampler:
  """The batches of a stream, in epochs of equal length."""

  drop_last = True  # every batch is whole; accelerate asks

  def __init__(
    self,
    stream: IndexStream,
    num_batches: int | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
  ):
    """Wraps a stream that nothing else draws from.

    Args:
      stream: with a `delay` of at least what the loader prefetches.
      num_batches: of an epoch, after which the loader's iteration ends; None
        for as many whole batches as the pool has.
      rank: of this process among those that share each batch, from 0.
      world_size: W, the number of these processes, all of them those of
        torch.distributed; it divides the stream's batch size.

    Raises:
      UserError: num_batches is less than one, or the ranks do not fit the
        batch size or torch.distributed.
    """
    if num_batches is None:
      num_batches = max(stream.num_examples // stream.batch_size, 1)
    specs.check_range("num_batches", num_batches, 1)
    self.stream, self._num_batches = stream, num_batches
    self._ranks = Ranks(stream, rank, world_size)
    self._epoch: _Epoch | None = None  # the iterator in use

  @property
  def batch_size(self) -> int:
    """The examples of a batch on this rank: B / W."""
    return self.stream.batch_size // self._ranks.size

  @property
  def drawn(self) -> Drawn:
    """This rank's part of `stream.drawn`."""
    return self._ranks.own_draw(self.stream.drawn)

  def __len__(self) -> int:
    return self._num_batches

  def __iter__(self) -> "_Epoch":
    """Returns an iterator over the remaining batches of the epoch.

    Batches that an earlier loader prefetched and no loop updated come first.

    Raises:
      UserError: no batch of the last epoch was updated.
    """
    last = self._epoch
    if last is not None:
      last.check_end()
    self.stream.rewind()
    self._epoch = _Epoch(self, forked=last is not None and last.was_forked())
    return self._epoch

  def select(
    self, score: Any = None, number: int | None = None, **known: Any
  ) -> Selected:
    """Calls `IndexStream.select` for the candidates of all ranks.

    Args:
      score: of this rank's own candidates.
      number: of the draw; None for the oldest without an update.
      **known: `losses`, `logits`, `logit_grads` or `features`, of this rank's
        own candidates; see `IndexStream.select`.

    Returns:
      The selected examples among this rank's own candidates: n of them, on all
      ranks together B. `slots` are positions in the own batch.

    Raises:
      UserError: as of `IndexStream.select`, or the ranks differ.
    """
    return self._ranks.select(known | {"score": score}, number)

  def update(self, **measured: Any) -> None:
    """Calls `IndexStream.update`; tensors of any device are accepted.

    Every rank gives what it measured of its own examples, in their order.

    Args:
      **measured: `losses`, `logits`, `logit_grads`, `features`, `gains` or
        `feedback`, whatever the sampler learns from; and to name the draw,
        `number` or `index`. See `IndexStream.update`.

    Raises:
      UserError: more than a batch came since the last update. Name the draws
        by `index`, the examples trained on, or `number`. Or the ranks differ.
    """
    ahead = self.stream.handed_out - self.stream.updates
    if self._epoch is not None and not measured.keys() & {"index", "number"}:
      most = self._epoch.ahead = self._epoch.ahead or ahead
      if ahead > most:
        text = f"{ahead - most + 1} batches came since the last update, of "
        text += "which some may have been skipped or be another process's; "
        text += "pass the examples trained on"
        raise UserError("missing", "index", text)
    self._ranks.update(measured)

  def state_dict(self) -> "dict[str, torch.Tensor]":
    """Returns the stream's state, whatever the loader has prefetched."""
    return _tensors(self.stream.state_dict())

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    """Resumes from a state in the loader's next iteration."""
    self.stream.load_state_dict(state)
    self._epoch = None


class _Epoch:
  """An iterator over the batches that an epoch has left.

  `state_dict` and `load_state_dict` are for torchdata's StatefulDataLoader,
  which resumes after the batches that its workers were given.
  """

  def __init__(self, batches: BatchSampler, forked: bool):
    self._batches, self._stream = batches, batches.stream
    self._forked = forked  # the workers that wait for these batches
    self._left: int | None = None  # until the first batch
    self._start = self._stream.updates
    self._children = multiprocessing.active_children()
    self.ahead = 0  # batches without an update at the first update

  def __iter__(self) -> "_Epoch":
    return self

  def __next__(self) -> list[int]:
    if self._batches._epoch is not self:
      text = "another iteration began, or a state was loaded"
      raise UserError("conflict", "BatchSampler", text)
    if self._forked:
      text = 'expected "forkserver" or "spawn", got workers that were forked '
      text += "after JAX had started, and may hang"
      raise UserError("unsupported", "multiprocessing_context", text)
    if self._left is None:
      length = len(self._batches)
      self._left = length - self._stream.updates % length
    if not self._left:
      raise StopIteration
    index = self._batches._ranks.own(self._stream.next()).tolist()
    self._left -= 1
    return index

  def was_forked(self) -> bool:
    """Returns whether processes were forked before the first batch.

    A loader makes an iterator, starts its workers, and makes another.
    """
    if self._left is not None:
      return False
    started = set(multiprocessing.active_children()) - set(self._children)
    return any(child._popen.method == "fork" for child in started)

  def check_end(self) -> None:
    """Checks that an epoch that ended had an update."""
    if self._left == 0 and self._stream.updates == self._start:
      text = "no batch of the last epoch was updated; call update() for each, "
      text += "and with n processes take num_batches divisible by n"
      raise UserError("missing", "update", text)

  def state_dict(self) -> dict[str, Any]:
    position = get_position(self._stream)
    return position | {"stream": _tensors(position["stream"])}

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    set_position(self._stream, state, "load_state_dict")


def _tensors(state: Mapping[str, Any]) -> "dict[str, torch.Tensor]":
  """Returns arrays as tensors, which `torch.load` reads by default."""
  import torch

  return {name: torch.tensor(array) for name, array in state.items()}
