"""The file that Kaggle's Doodle Recognition challenge takes.

    key_id,word
    9000003627287624,traffic_light cactus The_Eiffel_Tower

It has a row for each drawing of the test file, with three classes, likeliest
first, and underscores for the spaces in their names.
"""

import csv
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from alcurr.core import files
from alcurr.core.errors import UserError

HEADER = ["key_id", "word"]
MOST_WORDS = 3


def words_of(class_names: Sequence[str]) -> list[str]:
  """Returns the names as Kaggle writes them.

  Raises:
    UserError: two of them become the same.
  """
  words = [name.replace(" ", "_") for name in class_names]
  if len(set(words)) < len(words):
    raise UserError(
      "conflict", "classes", "two names differ only by spaces and underscores"
    )
  return words


def check_keys(key: np.ndarray, path: pathlib.Path) -> None:
  """Raises UserError if a key of a test file [n] is not unique."""
  values, count = np.unique(key, return_counts=True)
  if (count > 1).any():
    twice = values[count > 1][0]
    raise UserError("data", path, f"the key_id {twice} is not unique")


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
  text = io.StringIO()
  table = csv.writer(text, lineterminator="\n")
  table.writerow(HEADER)
  for key_id, classes in zip(key.tolist(), best.tolist(), strict=True):
    table.writerow([key_id, " ".join(words[i] for i in classes)])
  files.write_file(path, lambda file: file.write(text.getvalue().encode()))
