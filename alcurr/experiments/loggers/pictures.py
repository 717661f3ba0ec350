"""Images for trackers."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg

from alcurr.report import drawings, figures, tables
from alcurr.report.gallery import Gallery

WIDTH = 600  # at least as many points of time are drawn, if there are
POLICY_DESCRIPTION = (
  "The probability of each arm over the training so far. The first arm is the "
  "lowest row, the easiest if arms are by difficulty."
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
      # More than there are pixels: merge neighbours.
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
    return draw_policy(self._ends, policy, self._name, arms)


def draw_policy(
  ends: Sequence[int],
  policy: np.ndarray,
  title: str,
  arms: figures.ArmLabels | None = None,
) -> np.ndarray:
  """Draws the report's heat map of a policy: [h, w, 3] uint8.

  Args:
    ends: [T] examples seen at the end of each chunk, rising.
    policy: [T, K] probabilities.
    title: above it.
    arms: names and drawings of the arms.
  """
  frame = pd.DataFrame(policy, index=list(ends))
  canvas = FigureCanvasAgg(figures.policy_map(frame, title, arms))
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()


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
