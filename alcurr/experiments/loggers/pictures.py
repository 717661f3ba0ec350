"""Images for trackers, drawn without matplotlib's figures, which are slow."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from alcurr.report import drawings, figures, tables
from alcurr.report.gallery import Gallery

WIDTH = 600  # pixels of the time axis
_HEIGHT = 300  # least pixels of all arms together
POLICY_DESCRIPTION = (
  "The probability of each arm over the training so far, from left to right; "
  "yellow is the highest. The first arm is the lowest row, the easiest if arms "
  "are by difficulty; examples of each arm are at the left of its row."
)
EXAMPLES_DESCRIPTION = "Lowest difficulty at the top, highest at the bottom."


class PolicyMap:
  """The policy of one trial over time.

  Memory: at most 2 WIDTH x K numbers, however long the run.
  """

  def __init__(
    self, workdir: pathlib.Path, name: str, gallery: Gallery | None
  ) -> None:
    self._workdir, self._name, self._gallery = workdir, name, gallery
    self._ends: list[int] = []  # [T], examples seen
    self._policy: list[np.ndarray] = []  # [T][K]

  def add(self, row: Mapping[str, Any]) -> None:
    """Adds the policy of a row, if its sampler has arms."""
    if row.get("policy") is None:
      return
    self._ends.append(row["examples_seen"])
    self._policy.append(np.array(row["policy"], np.float64))
    if len(self._ends) == 2 * WIDTH:
      # Neighbours share a pixel: merge them.
      self._ends = self._ends[1::2]
      policy = np.stack(self._policy)
      self._policy = list((policy[::2] + policy[1::2]) / 2)

  def draw(self) -> np.ndarray | None:
    """Returns an image [h, w, 3] uint8; None for a constant policy."""
    if not self._policy:
      return None
    policy = np.stack(self._policy)
    if np.ptp(policy, axis=0).max() <= 1e-6:
      return None
    partition = tables.arm_partition(self._workdir, self._name)
    arms = figures.arm_labels(partition, policy.shape[1], self._gallery)
    return draw_policy(self._ends, policy, arms.strips)


def draw_policy(
  ends: Sequence[int],
  policy: np.ndarray,
  strips: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
  """Draws a heat map [h, w, 3] uint8, the first arm at the bottom.

  Args:
    ends: [T] examples seen at the end of each chunk, rising.
    policy: [T, K] probabilities.
    strips: [K] images of one size [h, w, 3] uint8, put at the left of the rows.
  """
  moments = (np.arange(WIDTH) + 0.5) / WIDTH * ends[-1]
  grid = policy[np.searchsorted(ends, moments)].T[::-1]  # [K, WIDTH]
  # As in the report: an even policy is in the middle of the colour map.
  top = max(grid.max(), 2 / len(grid))
  colors = matplotlib.colormaps["viridis"](grid / top, bytes=True)[..., :3]
  height = len(strips[0]) if strips else max(1, -(-_HEIGHT // len(grid)))
  heat = np.repeat(colors, height, axis=0)
  if not strips:
    return heat
  return np.concatenate([np.concatenate(strips[::-1]), heat], axis=1)


def draw_classes(gallery: Gallery | None) -> dict[str, np.ndarray]:
  """Draws the easiest and hardest examples of some classes: [h, w, 3] uint8."""
  if gallery is None or not gallery.image.size:
    return {}
  return {
    gallery.info["class_names"][int(label)]: np.concatenate(
      [drawings.montage(gallery.image[chosen[k]], 8) for k in ("least", "most")]
    )
    for label, chosen in gallery.info.get("drawings", {}).items()
  }
