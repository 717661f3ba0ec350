"""Targets of regression, which networks learn in units of their own.

A network takes long to reach numbers far from 0, such as prices of houses.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alcurr.data.pool import Dataset


class TargetScale(NamedTuple):
  """The mean and standard deviation of targets, each [V] float64."""

  mean: np.ndarray
  deviation: np.ndarray


def standardize(
  parts: Mapping[str, Dataset],
) -> tuple[dict[str, Dataset], TargetScale]:
  """Returns splits whose targets have mean 0 and deviation 1 in "train".

  The scale is of the training targets; those of the others are in its units.
  A number that is the same in all of them is only moved.
  """
  train = _columns(parts["train"].target)
  deviation = train.std(0)
  scale = TargetScale(train.mean(0), np.where(deviation > 0, deviation, 1.0))

  def scaled(target: np.ndarray) -> np.ndarray:
    values = (_columns(target) - scale.mean) / scale.deviation
    return values.reshape(target.shape).astype(np.float32)

  return {
    name: part._replace(target=scaled(part.target))
    for name, part in parts.items()
  }, scale


def _columns(target: np.ndarray) -> np.ndarray:
  """Returns [N, V] float64 of [N] or [N, V]."""
  return target.reshape(len(target), -1).astype(np.float64)
