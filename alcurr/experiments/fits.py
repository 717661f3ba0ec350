"""The models of a score: what each is trained on, and what it scores."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.folds import assign_folds
from alcurr.data.pool import Dataset, take
from alcurr.experiments.config.scores import BuiltScore


class Fit(NamedTuple):
  """The training of a score's models, one per seed, on the same examples."""

  name: str  # for messages
  score: BuiltScore
  num_steps: int
  split: str  # that it is trained on
  train: np.ndarray | None  # [n], examples of the split; None: all
  # By split, the examples that it scores: [m]; None: all
  scored: dict[str, np.ndarray | None]

  @property
  def scores_what_it_saw(self) -> bool:
    """Whether it is trained on all of the train split, and scores all."""
    return self.split == "train" and self.train is None


def make_fits(score: BuiltScore, parts: Mapping[str, Dataset]) -> list[Fit]:
  """Returns the trainings that a score consists of.

  Every example of every split is scored by at least one. With
  `train_on=cross`, an example of the train split is scored by the models that
  did not see it, and one of another split by all.

  Args:
    score: not from a file.
    parts: the splits by name.

  Raises:
    UserError: a fold without examples, or a budget of less than a step.
  """
  config, split = score.config, score.split
  count = config.folds if config.train_on == "cross" else 1
  num_steps = score.run.num_steps(len(parts[split].label)) // count
  if not num_steps:
    text = f"expected at least a step for each of {count} folds"
    raise UserError("range", f"{score.place}.budget", text)
  everything = dict.fromkeys(parts)
  if count == 1:
    return [Fit(score.name, score, num_steps, split, None, everything)]
  fold = assign_folds(parts[split].key, count)
  if (np.bincount(fold, minlength=count) == 0).any():
    text = f"expected examples in each of {count} folds by their keys"
    raise UserError("data", f"{score.place}.folds", text)
  return [
    Fit(
      f"{score.name}, fold {number + 1} of {count}",
      score,
      num_steps,
      split,
      np.flatnonzero(fold != number),
      everything | {split: np.flatnonzero(fold == number)},
    )
    for number in range(count)
  ]


def take_part(part: Dataset, index: np.ndarray | None) -> Dataset:
  """Returns the examples of a split at `index` [n]; None: all."""
  return part if index is None else take(part, index)


def combine(
  fits: list[Fit],
  values: list[dict[str, np.ndarray]],
  parts: Mapping[str, Dataset],
) -> dict[str, np.ndarray]:
  """Returns the mean over fits of each example's scores, by split: [N] float32.

  `values` has the scores of each fit: [m] of the examples that it scores.
  """
  means = {}
  for name, part in parts.items():
    total = np.zeros(len(part.label))
    count = np.zeros(len(part.label))
    for fit, scores in zip(fits, values, strict=True):
      index = fit.scored[name]
      index = slice(None) if index is None else index
      total[index] += scores[name]
      count[index] += 1
    means[name] = (total / count).astype(np.float32)
  return means
