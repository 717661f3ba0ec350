"""Ends of axes that a sampler far behind the others would stretch."""

import itertools
import math
from collections.abc import Mapping

_FAR = 3.0  # times as far from the best as the next sampler
_MARGIN = 0.1  # of an axis, at both ends


def shown_range(
  worst: Mapping[str, float], best: float
) -> tuple[tuple[float, float], list[str]] | None:
  """Returns the ends of an axis, the lower first, and who goes beyond.

  At least half of the samplers are shown in full, and the best values always. A
  sampler goes beyond if its worst value is three times as far from the best as
  that of the next. None: nobody does.

  Args:
    worst: the worst value of each sampler; those that are NaN are ignored.
    best: the best value of all.
  """
  distance = {n: abs(v - best) for n, v in worst.items() if math.isfinite(v)}
  order = sorted(distance, key=distance.__getitem__)
  middle = max(len(order) - 1, 0) // 2
  for i, (near, far) in enumerate(itertools.pairwise(order[middle:])):
    if distance[far] > _FAR * distance[near] > 0:
      sign = math.copysign(1, worst[far] - best)
      span = sign * distance[near]
      ends = sorted([best - _MARGIN * span, best + (1 + _MARGIN) * span])
      return (ends[0], ends[1]), order[middle + i + 1 :]
  return None


def describe_cut(names: list[str]) -> str:
  """Returns the words in a figure about samplers beyond its axis."""
  few = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
  return f"beyond the axis: {few}"
