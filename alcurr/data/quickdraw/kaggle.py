"""The files of Kaggle's Quick, Draw! Doodle Recognition Challenge.

train_simplified/<word>.csv and train_raw/<word>.csv have the columns
countrycode, drawing, key_id, recognized, timestamp and word; the test files
lack the last three. `drawing` is JSON, and each row is one line. A submission
has the likeliest three classes of each drawing of the test file, in order:

    key_id,word
    9000003627287624,traffic_light cactus The_Eiffel_Tower

Kaggle used 340 of Google's 345 classes; they are read from the user's folder.
"""

import csv
import functools
import io
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from alcurr.core import files, paths
from alcurr.core.errors import UserError
from alcurr.data import strokes
from alcurr.data.quickdraw import records, stroke_forms
from alcurr.types import Strokes

MOST_WORDS = 3


def read_test(
  path: str | pathlib.Path, stroke_form: str = ""
) -> tuple[Strokes, np.ndarray]:
  """Reads test_simplified.csv or test_raw.csv in its own order.

  For `stroke_form` see `reader.load`.

  Memory: 2 bytes a point, 4 a stroke and 12 a drawing, three times, and that of
  `records.read_file`.

  Returns:
    The n drawings, and their unique `key_id` for a submission: [n] uint64. It
    is not the hash in `Dataset.key`.

  Raises:
    UserError: no such file, another format, or a bad row.
  """
  stroke_forms.check(stroke_form)
  path, keys = paths.absolute(path), []
  options = records.Options(stroke_form=stroke_form)
  read = functools.partial(records.read_csv, test=True)

  def drawings() -> Iterator[strokes.Drawing]:
    for record in records.read_file(path, options, read, one_word=False):
      keys.append(int(record.key_id))
      yield record.drawing

  source = strokes.pack(drawings())
  if not keys:
    raise UserError("data", path, "it holds no drawing")
  key = np.array(keys, np.uint64)
  values, count = np.unique(key, return_counts=True)
  if count.max() > 1:
    text = f"the key_id {values[count.argmax()]} is not unique"
    raise UserError("data", path, text)
  return source, key


def words_of(class_names: Sequence[str]) -> list[str]:
  """Returns the names as Kaggle writes them, with underscores for spaces.

  Raises:
    UserError: two of them become the same.
  """
  words = [name.replace(" ", "_") for name in class_names]
  if len(set(words)) < len(words):
    text = "two names differ only by spaces and underscores"
    raise UserError("conflict", "classes", text)
  return words


def write_submission(
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
  best_words = (
    files.escape_formula(" ".join(words[i] for i in row))
    for row in best.tolist()
  )
  text = io.StringIO()
  rows = [("key_id", "word"), *zip(key.tolist(), best_words, strict=True)]
  csv.writer(text, lineterminator="\n").writerows(rows)
  files.write_file(path, lambda file: file.write(text.getvalue().encode()))
