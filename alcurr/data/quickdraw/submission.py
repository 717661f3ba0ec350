"""The file that Kaggle's Doodle Recognition challenge takes.

    key_id,word
    9000003627287624,traffic_light cactus The_Eiffel_Tower

A row for each drawing of the test file, three classes, the likeliest first,
with underscores for the spaces in their names.
"""

import csv
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from alcurr.core import files
from alcurr.core.errors import FaultError, UserError

HEADER = ["key_id", "word"]
MOST_WORDS = 3


def words_of(class_names: Sequence[str]) -> list[str]:
  """The names as Kaggle writes them.

  Raises:
    UserError: two of them become the same.
  """
  words = [name.replace(" ", "_") for name in class_names]
  if len(set(words)) < len(words):
    raise UserError(
      "two classes have the same name but for spaces and underscores; rename "
      "one."
    )
  return words


def check_keys(key: np.ndarray, path: pathlib.Path) -> None:
  """Refuses a test file [n] with a key that comes twice."""
  values, count = np.unique(key, return_counts=True)
  if (count > 1).any():
    raise UserError(
      f"{path}: the key_id {values[count > 1][0]} comes twice; each drawing "
      "needs its own."
    )


def write(
  path: pathlib.Path, key: np.ndarray, best: np.ndarray, words: Sequence[str]
) -> None:
  """Writes a submission, which is read again before it is put in place.

  Args:
    path: of the file.
    key: [n] uint64, of the test drawings.
    best: [n, k] int, the classes of each, the likeliest first.
    words: [V], of `words_of`.

  Raises:
    FaultError: what was written is not a row for each key.
  """

  def write_and_check(file) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    for one, classes in zip(key.tolist(), best.tolist(), strict=True):
      table.writerow([one, " ".join(words[i] for i in classes)])
    file.write(text.getvalue().encode())
    file.flush()
    check(pathlib.Path(file.name), key, words)

  files.write_file(path, write_and_check)


def check(path: pathlib.Path, key: np.ndarray, words: Sequence[str]) -> None:
  """Refuses a submission that Kaggle would, or that tells of other drawings.

  Args:
    path: of the file.
    key: [n] uint64, of the test drawings.
    words: the names that may stand in it.

  Raises:
    FaultError: a row that is missing, too much or not of this format.
  """
  with path.open(encoding="utf-8", newline="") as file:
    header, *rows = csv.reader(file)
  if header != HEADER or any(len(row) != len(HEADER) for row in rows):
    raise FaultError(f"{path} is no submission of rows {','.join(HEADER)}.")
  if sorted(int(row[0]) for row in rows) != sorted(key.tolist()):
    raise FaultError(f"{path} does not hold each drawing of the test once.")
  known = set(words)
  for one, text in rows:
    said = text.split(" ")
    good = len(said) <= MOST_WORDS and len(set(said)) == len(said)
    if not (good and known.issuperset(said)):
      raise FaultError(f"{path}: of {one} it says {text!r}.")
