"""The scores of an experiment's examples, from models and from files."""

import hashlib
from collections.abc import Collection, Mapping

import numpy as np

from alcurr.data.pool import Dataset
from alcurr.experiments.config.build import BuiltExperiment
from alcurr.experiments.config.scores import DIFFICULTY


def by_split(
  experiment: BuiltExperiment,
  parts: Mapping[str, Dataset],
  made: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, dict[str, np.ndarray]]:
  """Returns each score of each split by name, [N] float32.

  `made` has the scores by models, by name and split; one that it lacks is not
  yet known, and zero. Also zero are the difficulty where nothing reads it, and
  the scores from files of the splits that the user gave.
  """
  scores = {}
  for split, part in parts.items():
    unknown = np.zeros(len(part.label), np.float32)
    scores[split] = {DIFFICULTY: unknown}
    for score in experiment.trained_scores:
      scores[split][score.name] = made.get(score.name, {}).get(split, unknown)
    for score in experiment.file_scores:
      known = (part.scores or {}).get(score.file_field, unknown)
      scores[split][score.name] = known
  return scores


def file_hashes(
  experiment: BuiltExperiment,
  parts: Mapping[str, Dataset],
  names: Collection[str],
) -> dict[str, str]:
  """Returns a hash of each named score that a file has, by its name."""
  hashes = {}
  for score in experiment.file_scores:
    if score.name in names:
      content = hashlib.blake2b(digest_size=16)
      for split in sorted(parts):
        if parts[split].scores is not None:
          content.update(parts[split].scores[score.file_field].tobytes())
      hashes[score.name] = content.hexdigest()
  return hashes
