"""One global draw on several processes of PyTorch, a slice of it on each.

Every rank makes the same draw of B examples and trains on B / W of them. What
the ranks measure is gathered, in the order of the draw, so that every stream
gets the feedback of all B and its state does not depend on W.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.integrations._arrays import to_numpy
from alcurr.integrations._measured import is_pair
from alcurr.integrations._pending import PendingDraw
from alcurr.integrations._stream import Drawn, IndexStream, Selected

_PER_EXAMPLE = ("index", "prob", "weight", "arm", "label")  # of Drawn


class Ranks:
  """The place of a process among those that share the draws of a stream."""

  def __init__(self, stream: IndexStream, rank: int, world_size: int):
    """Joins the others; each rank must do so.

    Raises:
      UserError: a rank out of range or other than PyTorch's, or draws that
        cannot be divided.
    """
    specs.check_range("world_size", world_size, 1)
    specs.check_range("rank", rank, 0, world_size - 1)
    self._stream, self._queue = stream, stream._queue
    self._rank, self.size = rank, world_size
    sizes = {"batch_size": stream.batch_size}
    if self._queue.candidate_shapes is not None:
      sizes["num_candidates"] = self._queue.shapes.index.shape[0]
    for name, size in sizes.items():
      if size % world_size:
        text = f"expected a multiple of the {world_size} ranks, got {size}"
        raise UserError("conflict", name, text)
    self._group = _join(rank, world_size) if world_size > 1 else None

  def own(self, array: np.ndarray) -> np.ndarray:
    """Returns this rank's slice of the rows of a draw."""
    width = len(array) // self.size
    return array[self._rank * width : (self._rank + 1) * width]

  def own_draw(self, drawn: Drawn) -> Drawn:
    """Returns this rank's slice of a draw, whose policy is that of all arms."""
    arrays = {name: getattr(drawn, name) for name in _PER_EXAMPLE}
    own = {k: self.own(x) for k, x in arrays.items() if x is not None}
    return drawn._replace(**own)

  def select(self, given: Mapping[str, Any], number: int | None) -> Selected:
    """Selects by what all ranks give; returns this rank's own examples."""
    if self.size == 1:
      return self._stream.select(**given, number=number)
    pending = self._find(number)
    width = self._width(pending)
    owners = np.arange(width * self.size) // width
    gathered = self._gather(given, owners, pending)
    selected = self._stream.select(**gathered, number=pending.number)
    mine = self._owners(pending) == self._rank
    slots, index, weight = (x[mine] for x in selected)
    return Selected(slots - self._rank * width, index, weight)

  def update(self, given: Mapping[str, Any]) -> None:
    """Updates the stream with what all ranks give."""
    if self.size == 1:
      self._stream.update(**given)
      return
    given = {name: x for name, x in given.items() if x is not None}
    rest = {k: given.pop(k) for k in ("feedback", "number") if k in given}
    feedback = rest.get("feedback", ())
    if not isinstance(feedback, tuple) or len(feedback):
      text = "expected losses, gains or the like; of several ranks, gather it "
      text += "and call stream.update(feedback=...) on each"
      raise UserError("unsupported", "feedback", text)
    if "index" in given:
      width = self._stream.batch_size // self.size
      owners, pending = np.arange(width * self.size) // width, None
    else:
      pending = self._find(rest.get("number"))
      owners = self._owners(pending)
      if not self._queue.is_measured(pending):
        given = {}  # to be ignored
    self._stream.update(**self._gather(given, owners, pending), **rest)

  def _find(self, number: int | None) -> PendingDraw:
    with self._stream._lock:
      return self._queue.find(number)

  def _width(self, pending: PendingDraw) -> int:
    """Returns how many examples of a draw a rank is handed."""
    return len(pending.offered.index) // self.size

  def _owners(self, pending: PendingDraw) -> np.ndarray:
    """Returns the rank of each example that is trained on: [B]."""
    slots = np.arange(self._stream.batch_size)
    if pending.candidates is not None:
      slots = np.asarray(pending.candidates.selection.slots)
    return slots // self._width(pending)

  def _gather(
    self,
    given: Mapping[str, Any],
    owners: np.ndarray,
    pending: PendingDraw | None,
  ) -> dict[str, Any]:
    """Returns arguments whose arrays have the rows of all ranks.

    Args:
      given: the arguments by name, of this rank's own examples.
      owners: the rank of each row of the result.
      pending: the draw; None if it is found by its examples.
    """
    trees = {name: _as_arrays(name, value) for name, value in given.items()}
    leaves, treedef = jax.tree.flatten(trees)
    counts = np.bincount(owners, minlength=self.size)
    for leaf in leaves:
      if not leaf.ndim or len(leaf) != counts[self._rank]:
        text = f"expected the {counts[self._rank]} rows of this rank, got shape"
        raise UserError("type", "update", f"{text} {list(leaf.shape)}")
    self._check_ranks(leaves, str(treedef), pending)
    order = np.argsort(owners, kind="stable")
    gathered = []
    for leaf in leaves:
      padded = np.zeros((counts.max(), *leaf.shape[1:]), leaf.dtype)
      padded[: len(leaf)] = leaf
      parts = zip(self._all_gather(padded), counts, strict=True)
      whole = np.empty((len(owners), *leaf.shape[1:]), leaf.dtype)
      whole[order] = np.concatenate([part[:count] for part, count in parts])
      gathered.append(whole)
    return treedef.unflatten(gathered)

  def _check_ranks(
    self,
    leaves: Sequence[np.ndarray],
    structure: str,
    pending: PendingDraw | None,
  ) -> None:
    """Compares the draws of all ranks, and the kinds of their arguments."""
    number, drawn = -1, b""
    if pending is not None:
      number, drawn = pending.number, np.asarray(pending.draw.index).tobytes()
    kinds = f"{structure} {[(x.dtype.str, x.shape[1:]) for x in leaves]}"
    facts = [number, zlib.crc32(drawn), zlib.crc32(kinds.encode())]
    columns = np.stack(self._all_gather(np.array(facts))).T
    numbers, draws, arguments = ({*column.tolist()} for column in columns)
    if len(numbers) > 1:
      text = f"the ranks are at different draws, {sorted(numbers)}; expected "
      text += "one call on each rank for each batch"
    elif len(draws) > 1:
      text = f"the ranks drew different examples as draw {number}; expected "
      text += "streams of the same sampler, pool, key and state"
    elif len(arguments) > 1:
      text = "the ranks gave different arguments; expected arrays of the same "
      text += "names, types and trailing shapes"
    else:
      return
    raise UserError("mismatch", "update", text)

  def _all_gather(self, array: np.ndarray) -> list[np.ndarray]:
    """Returns the arrays of all ranks, which have one shape and type."""
    import torch

    mine = torch.from_numpy(np.ascontiguousarray(array))
    parts = [torch.empty_like(mine) for _ in range(self.size)]
    torch.distributed.all_gather(parts, mine, group=self._group)
    return [part.numpy() for part in parts]


def _as_arrays(name: str, value: Any) -> Any:
  """Returns an argument as a PyTree of arrays with rows; None as it is.

  Lists are arrays. Trees are the pair of losses and the score.
  """
  if value is None:
    return None
  if name == "losses" and is_pair(value):
    return tuple(np.asarray(to_numpy(x)) for x in value)
  if name == "score" and not isinstance(value, list):
    return jax.tree.map(lambda x: np.asarray(to_numpy(x)), value)
  return np.asarray(to_numpy(value))


def _join(rank: int, world_size: int) -> Any:
  """Returns a group of all processes, for arrays in host memory.

  The user's own group may be of NCCL, which takes none.
  """
  import torch.distributed as dist

  if not (dist.is_available() and dist.is_initialized()):
    text = "expected torch.distributed.init_process_group() before it"
    raise UserError("missing", "world_size", text)
  known = dist.get_rank(), dist.get_world_size()
  if known != (rank, world_size):
    text = f"expected rank {known[0]} of {known[1]}, as torch.distributed has "
    raise UserError("conflict", "rank", f"{text}it, got {rank} of {world_size}")
  return dist.new_group(backend="gloo")
