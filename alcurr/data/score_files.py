"""The user's own scores of examples, from an array or a table by key."""

import csv
import hashlib
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from alcurr.core import files, paths
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.pool import Dataset
from alcurr.types import Strokes

_COLUMNS = ["key", "score"]


def check_scores(
  values: Any, num_examples: int | None, place: str
) -> np.ndarray:
  """Returns scores as [N] float32; None: N is not known.

  Raises:
    UserError: another shape, or numbers that are missing or not finite.
  """
  try:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or np.ma.is_masked(values):
      raise TypeError(array.dtype)
    with np.errstate(over="ignore"):
      array = array.astype(np.float32)
  except (TypeError, ValueError) as error:
    text = "expected a number for each example, all of them given"
    raise UserError("type", place, text) from error
  if array.ndim != 1 or num_examples not in (None, len(array)):
    size = "all" if num_examples is None else num_examples
    text = f"expected a score for each of {size} examples, got shape "
    raise UserError("data", place, f"{text}{list(array.shape)}")
  if bad := np.flatnonzero(~np.isfinite(array)).tolist():
    text = f"expected finite scores, got {array[bad[0]]} for example {bad[0]}"
    raise UserError("data", place, f"{text} and {len(bad)} such in all")
  return array


def save_scores(
  values: Any, num_examples: int | None, folder: pathlib.Path, place: str
) -> pathlib.Path:
  """Writes scores for `read_scores`, named by content, and returns the path.

  Creates the folder if necessary. The arguments and errors are those of
  `check_scores`.
  """
  array = check_scores(values, num_examples, place)
  content = hashlib.blake2b(array.tobytes(), digest_size=8).hexdigest()
  path = folder / f"scores_{content}.npy"
  if not path.exists():
    folder.mkdir(parents=True, exist_ok=True)
    files.write_file(path, lambda file: np.save(file, array))
  return path


def with_scores(dataset: Dataset, paths_by_field: Mapping[str, str]) -> Dataset:
  """Returns the dataset with scores from files, by the fields that name them.

  For the errors see `read_scores`.
  """
  scores = {
    field: read_scores(paths.absolute(path, field), dataset, field)
    for field, path in paths_by_field.items()
  }
  return dataset._replace(scores=scores)


def read_scores(
  path: str | pathlib.Path, dataset: Dataset, place: str
) -> np.ndarray:
  """Returns the scores in a file for the N examples of a dataset.

  Args:
    path: a .npy file of [N] numbers, in the order in which the dataset is read;
      or a .csv file with the columns `key` and `score`. The key of a drawing is
      its key_id; that of an image its path in the folder of classes, such as
      cat/1.png, or else its number from 0. Keys that the dataset lacks are
      ignored.
    dataset: before it is split.
    place: for messages.

  Returns:
    [N] float32.

  Raises:
    UserError: a file that cannot be read, an example without a score or with
      two, or a score that is not finite.
  """
  path, size = pathlib.Path(path), len(dataset.key)
  if path.suffix not in (".npy", ".csv"):
    text = f"expected a .npy or a .csv file, got {path.name!r}"
    raise UserError("unsupported", place, text)
  try:
    files.check_regular(path)
    if path.suffix == ".npy":
      return check_scores(np.load(path, allow_pickle=False), size, place)
    by_key = _read_table(path, place)
  except FileNotFoundError as error:
    raise UserError("missing", place, f"no such file: {path}") from error
  except UserError:
    raise
  except (*cache.UNREADABLE, csv.Error) as error:
    text = f"{path} cannot be read ({error})"
    raise UserError("damaged", place, text) from error
  keys = [str(number) for number in range(size)]
  if dataset.paths is not None:
    keys = dataset.paths.tolist()
  if isinstance(dataset.source, Strokes):
    by_key = {_hash(key): score for key, score in by_key.items()}
    keys = dataset.key.tolist()
  if lacking := [i for i, key in enumerate(keys) if key not in by_key]:
    text = f"no score for {len(lacking)} of {size} examples, the first of them "
    raise UserError("data", place, f"{text}example {lacking[0]}")
  return check_scores([by_key[key] for key in keys], size, place)


def _hash(key: str) -> int:
  """Returns the 64 bits of a drawing's key_id that are in `Dataset.key`."""
  digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little")


def _read_table(path: pathlib.Path, place: str) -> dict[str, float]:
  """Returns the scores of a table by key."""
  by_key: dict[str, float] = {}
  # A byte order mark, as of spreadsheets, is skipped.
  with path.open(newline="", encoding="utf-8-sig") as file:
    rows = csv.reader(file)
    header = [name.strip() for name in next(rows, [])]
    if header != _COLUMNS:
      text = f"expected the columns key,score, got {','.join(header)!r:.80}"
      raise UserError("data", place, text)
    for row in filter(None, rows):
      line = f"line {rows.line_num}"
      try:
        key, score = row[0].strip(), float(row[1])
      except (IndexError, ValueError) as error:
        text = f"expected a key and a number in {line}, got {row!r:.80}"
        raise UserError("data", place, text) from error
      if not math.isfinite(score):
        text = f"expected finite scores, got {score} in {line}"
        raise UserError("data", place, text)
      if key in by_key:
        text = f"expected each key once, got {key!r:.80} again in {line}"
        raise UserError("data", place, text)
      by_key[key] = score
  return by_key
