"""Writes a submission to Kaggle's Doodle Recognition challenge.

    key_id,word
    9000003627287624,traffic_light cactus The_Eiffel_Tower

It has a row for each drawing of the test file: its likeliest three classes in
order, with underscores for the spaces in their names.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.core.errors import UserError

MOST_WORDS = 3


def words_of(class_names: Sequence[str]) -> list[str]:
  """Returns the names as Kaggle writes them.

  Raises:
    UserError: two of them become the same.
  """
  words = [name.replace(" ", "_") for name in class_names]
  if len(set(words)) < len(words):
    text = "two names differ only by spaces and underscores"
    raise UserError("conflict", "classes", text)
  return words


def check_keys(key: np.ndarray, path: pathlib.Path) -> None:
  """Raises UserError if a key of a test file [n] is not unique."""
  values, count = np.unique(key, return_counts=True)
  repeated = values[count > 1]
  if len(repeated):
    raise UserError("data", path, f"the key_id {repeated[0]} is not unique")


def write(
  path: pathlib.Path, key: np.ndarray, best: np.ndarray, words: Sequence[str]
) -> None:
  """Writes a submission.

  Args:
    path: the file.
    key: [n] uint64, of the test drawings.
    best: [n, k] int, k <= MOST_WORDS different classes, the likeliest first.
    words: [V], as `words_of` returns them.

  Raises:
    ValueError: classes that Kaggle would refuse.
  """
  order = np.sort(best, axis=1)
  if best.shape[1] > MOST_WORDS or (order[:, 1:] == order[:, :-1]).any():
    raise ValueError(f"expected up to {MOST_WORDS} different classes a drawing")
  best_words = [" ".join(words[i] for i in row) for row in best.tolist()]
  table = pd.DataFrame({"key_id": key, "word": best_words})
  text = table.to_csv(index=False, lineterminator="\n")
  files.write_file(path, lambda file: file.write(text.encode()))
