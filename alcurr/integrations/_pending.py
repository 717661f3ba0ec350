"""A draw of a stream that is not yet part of the sampler's state."""

import dataclasses

import numpy as np

from alcurr.training.batches import selected_draw
from alcurr.types import Candidates, Draw, PyTree


@dataclasses.dataclass(eq=False)
class PendingDraw:
  """A draw and what the loop has done with it."""

  number: int
  draw: Draw
  handed_out: bool = False  # to a loop or a loader
  candidates: Candidates | None = None  # once some were selected
  feedback: PyTree | None = None  # None until it is updated

  @property
  def awaited(self) -> bool:
    """True if a loop has the batch and did not update it."""
    return self.handed_out and self.feedback is None

  @property
  def is_scored(self) -> bool:
    """False for candidates of which the first B are trained on."""
    return self.candidates is None or bool(self.candidates.is_scored)

  @property
  def offered(self) -> Draw:
    """The examples that `next` returns: B, or M candidates to score."""
    if self.is_scored:
      return self.draw
    return selected_draw(self.draw, self.candidates.selection)

  @property
  def trained_on(self) -> np.ndarray:
    """The examples that the loop trains on: [B], into the pool."""
    index = np.asarray(self.draw.index)
    if self.candidates is None:
      return index
    return index[np.asarray(self.candidates.selection.slots)]
