"""The measurements that a sampler looks at and only the loop knows."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.integrations import _programs
from alcurr.integrations._shapes import TOLD, feedback_shapes, known_shapes
from alcurr.types import Array, Candidates, Draw, Pool, PyTree, Sampler


@dataclasses.dataclass(eq=False)
class Needs:
  """Found by evaluating the sampler's functions abstractly, when asked."""

  sampler: Sampler
  pool: Pool
  key: Array
  draw: Draw  # shapes, of B examples or M candidates
  candidates: Candidates | None  # shapes
  batch_size: int

  @functools.cached_property
  def feedback(self) -> PyTree:
    """The shapes of the sampler's feedback; None if they are not known."""
    if self.sampler.signal is None:
      return None
    if self.feedback_of_losses is not None:
      return self.feedback_of_losses
    with contextlib.suppress(Exception):  # whatever a signal's code raises
      return feedback_shapes(
        self.sampler, self.pool, self.draw, self.candidates
      )

  @functools.cached_property
  def feedback_of_losses(self) -> PyTree:
    """The shapes of the feedback, if losses are all that it needs, or None."""
    return self._measure("losses", "after")

  @functools.cached_property
  def to_update(self) -> tuple[str, ...] | None:
    """The names of TOLD that the signal looks at; None if they are too few."""
    return _find_needed(self._measure)

  @functools.cached_property
  def to_select(self) -> tuple[str, ...] | None:
    """The names of TOLD that the score looks at; None if they are too few."""
    return _find_needed(self._score)

  @functools.cached_property
  def num_classes(self) -> int:
    """The fewest classes that logits must have a column for."""
    label = np.asarray(self.pool.label)
    return int(label.max()) + 1 if label.dtype.kind in "iu" else 1

  def _measure(self, *names: str) -> PyTree:
    """Returns the shapes of the feedback, or None if it needs more."""
    known = known_shapes(self.pool, self.batch_size, names)
    number, draw, candidates = np.int32(0), self.draw, self.candidates
    measure = functools.partial(_programs.measure, self.sampler)
    with contextlib.suppress(UserError):
      return jax.eval_shape(
        measure, self.key, number, draw, candidates, known, self.pool
      )

  def _score(self, *names: str) -> PyTree:
    """Returns the shapes of the scores, or None if they need more."""
    known = known_shapes(self.pool, self.draw.index.shape[0], names)
    score = functools.partial(_programs.score, self.sampler)
    with contextlib.suppress(UserError):
      return jax.eval_shape(score, self.draw, known, self.pool)


def _find_needed(
  compute: Callable[..., PyTree | None],
) -> tuple[str, ...] | None:
  """Returns the names of TOLD without which something cannot be computed.

  `compute` gets names, and returns None where it needs more. The result is
  None where all are not enough.
  """
  if compute(*TOLD) is None:
    return None
  needed = TOLD
  for name in TOLD:
    rest = tuple(other for other in needed if other != name)
    needed = needed if compute(*rest) is None else rest
  return needed
