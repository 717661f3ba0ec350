"""Groups of examples: arms of the user's own, such as sources or domains.

They are an array [N] as the labels are, or a table `key,group` whose keys are
those of a source's examples.
"""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.labels import read_labels, require
from alcurr.data.pool import Dataset
from alcurr.types import Images

_COLUMNS = ["key", "group"]


def with_groups(
  dataset: Dataset, groups: np.ndarray, names: Sequence[str]
) -> Dataset:
  """Returns the dataset with the groups [N] int32, indices into `names`."""
  content = dataset.content
  if content:
    added = hashlib.blake2b(groups.tobytes(), digest_size=16).hexdigest()
    content = cache.digest({"of": content, "groups": added, "names": [*names]})
  return dataset._replace(
    groups=groups, group_names=tuple(names), content=content
  )


def add(dataset: Dataset, config: Mapping[str, Any]) -> Dataset:
  """Returns the dataset with the groups of the table `data.groups`, if any.

  The config is that of one source, with absolute paths.
  """
  path, source = config["groups"], config["source"]
  if not path or source == "folder":  # which needs the paths of its images
    return dataset
  if dataset.groups is not None:
    text = f"{config['dir']} has an array of groups too"
    raise UserError("conflict", "groups", text)
  if source == "npz":
    keys = np.arange(len(dataset.label)).astype(str)
    return from_table(dataset, path, keys, "their numbers from 0")
  if source == "synthetic" or isinstance(dataset.source, Images):
    text = f"the examples of {source!r} have no keys; expected drawings, a "
    raise UserError("unsupported", "groups", f"{text}folder or a .npz")
  return from_table(dataset, path, dataset.key, "their key_id")


def from_table(
  dataset: Dataset, path: str | pathlib.Path, keys: np.ndarray, what: str
) -> Dataset:
  """Returns the dataset with the groups of a CSV of `key,group`.

  Groups are sorted by name, or by number if all are whole numbers.

  Args:
    dataset: N examples.
    path: the file. Keys that are of no example are ignored, and counted in the
      log.
    keys: [N], the examples' keys: texts, or uint64 as `hash_keys` makes them.
    what: the meaning of a key, for errors.

  Raises:
    UserError: no such file, a damaged one, a key twice, or an example without a
      group.
  """
  known, group = _read(pathlib.Path(path))
  hashed = keys.dtype == np.uint64
  table = hash_keys(known) if hashed else np.array(known)
  order = np.argsort(table, kind="stable")
  table = table[order]
  repeated = order[1:][table[1:] == table[:-1]]
  got = [known[i] for i in repeated[:3]]
  require(not len(repeated), path, "each key once", f"{got} again")
  place = np.searchsorted(table, keys).clip(max=len(table) - 1)
  missing = np.flatnonzero(table[place] != keys)
  few = "" if hashed else f", such as {keys[missing[:3]].tolist()}"
  expected = f"a group of each of the {len(keys)} examples by {what}"
  require(not len(missing), path, expected, f"none of {len(missing)}{few}")
  unused = len(table) - len(np.unique(place))
  if unused:
    logging.warning("%s: %d keys are of no example read.", path, unused)
  chosen = [group[i] for i in order[place]]
  if all(name.isdecimal() for name in chosen):
    chosen = [int(name) for name in chosen]
  try:
    groups, names = read_labels(
      chosen, len(keys), place="groups", names_place="group_names"
    )
  except UserError as error:
    raise UserError(error.code, path, error.text) from error
  return with_groups(dataset, groups, names)


def hash_keys(keys: Sequence[str]) -> np.ndarray:
  """Returns the 64 bits of each key that drawings have: [n] uint64."""
  digests = [
    hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys
  ]
  return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _read(path: pathlib.Path) -> tuple[list[str], list[str]]:
  """Returns the columns of the table."""
  import pandas as pd

  try:
    files.check_regular(path)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
  except FileNotFoundError as error:
    raise UserError("missing", path, "no such file") from error
  except UserError:
    raise
  except cache.UNREADABLE as error:
    text = f"expected a CSV of key,group ({error})"
    raise UserError("damaged", path, text) from error
  columns = [*map(str, table.columns)]
  require(columns == _COLUMNS, path, f"a header {','.join(_COLUMNS)}", columns)
  require(len(table) > 0, path, "a row for each example", "none")
  return [table[name].tolist() for name in _COLUMNS]
