"""Pictures for trackers, quick enough to be made beside the training."""

import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np

from alcurr.experiments.loggers import Row
from alcurr.report import drawings, figures, tables
from alcurr.report.gallery import Gallery

WIDTH = 600  # pixels of the time axis
_HEIGHT = 300  # at least, of all arms
HOW_TO_READ = (
  "How likely each arm was, over the training so far from left to right: "
  "yellow is most. The first arm, of the easiest drawings where arms go by "
  "difficulty, is the lowest row; some drawings of it stand before it."
)


class PolicyMap:
  """The policy of one trial as it moves, from its rows.

  Memory: 2 WIDTH x K numbers, however long the run.
  """

  def __init__(
    self, workdir: pathlib.Path, name: str, gallery: Gallery | None
  ) -> None:
    self._place = (workdir, name)
    self._gallery = gallery
    self._ends: list[int] = []  # [T], examples seen
    self._policy: list[np.ndarray] = []  # [T][K]

  def add(self, row: Row) -> None:
    self._ends.append(row["examples_seen"])
    self._policy.append(np.array(row["policy"], np.float64))
    if len(self._ends) == 2 * WIDTH:
      # Two that follow each other share a pixel.
      self._ends = self._ends[1::2]
      pairs = zip(self._policy[::2], self._policy[1::2], strict=True)
      self._policy = [(first + second) / 2 for first, second in pairs]

  def picture(self) -> np.ndarray | None:
    """[h, w, 3] uint8; None of a policy that has not moved."""
    if not self._policy:
      return None
    policy = np.stack(self._policy)
    if np.ptp(policy, axis=0).max() <= 1e-6:
      return None
    workdir, name = self._place
    partition = tables.arm_partition(workdir, name)
    arms = figures.arm_labels(partition, policy.shape[1], self._gallery)
    return draw_policy(self._ends, policy, arms.strips)


def draw_policy(
  ends: Sequence[int],
  policy: np.ndarray,
  strips: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
  """A heat map without axes, the first arm at the bottom.

  Args:
    ends: [T] examples seen at the end of each chunk, rising.
    policy: [T, K] probabilities.
    strips: [K] pictures of one size [h, w, 3] uint8, which stand before the
      rows of their arms.

  Returns:
    [height, width, 3] uint8.
  """
  moments = (np.arange(WIDTH) + 0.5) / WIDTH * ends[-1]
  grid = policy[np.searchsorted(ends, moments)].T[::-1]  # [K, WIDTH]
  # As in the report: an even policy lies in the middle of the colours.
  most = max(grid.max(), 2 / len(grid))
  colors = matplotlib.colormaps["viridis"](grid / most, bytes=True)[..., :3]
  height = len(strips[0]) if strips else max(1, -(-_HEIGHT // len(grid)))
  heat = np.repeat(colors, height, axis=0)
  if not strips:
    return heat
  return np.concatenate([np.concatenate(strips[::-1]), heat], axis=1)


def draw_classes(gallery: Gallery | None) -> dict[str, np.ndarray]:
  """By class, the hardest first: the easiest drawings above the hardest."""
  if gallery is None:
    return {}
  return {
    gallery.info["class_names"][label]: np.concatenate(
      [
        drawings.montage(gallery.image[drawings.of_class(gallery, label)[k]], 8)
        for k in ("least", "most")
      ]
    )
    for label in drawings.shown_classes(gallery)
  }
