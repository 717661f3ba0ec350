"""Arrays kept on disk between experiments, with a manifest that vouches.

An entry is a folder of .npy files and `manifest.json`. It is made under
another name and renamed when whole, and checked when read: an entry that is
not what its manifest says is made again, never trusted.
"""

import hashlib
import json
import pathlib
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from alcurr import writer


def digest(request: Mapping[str, Any]) -> str:
  """A short name for a request: equal requests, equal names."""
  text = json.dumps(request, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _checksum(array: np.ndarray) -> int:
  return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def write_arrays(
  folder: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  manifest: Mapping[str, Any],
) -> None:
  """Writes an entry whole, in place of what was there.

  Args:
    folder: the entry.
    arrays: by name.
    manifest: what else to remember of them, of JSON's types.
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(
    tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
  )
  for name, array in arrays.items():
    np.save(temporary / f"{name}.npy", array, allow_pickle=False)
  sums = {name: _checksum(array) for name, array in arrays.items()}
  writer.write_json(
    temporary / "manifest.json", {**manifest, "checksums": sums}
  )
  if folder.exists():
    shutil.rmtree(folder)
  temporary.rename(folder)


def read_arrays(
  folder: pathlib.Path,
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
  """The arrays and the manifest of an entry; None where there is no good one.

  Args:
    folder: the entry.
  """
  if not folder.exists():
    return None
  try:
    manifest = writer.read_json(folder / "manifest.json")
    arrays = {
      name: np.load(folder / f"{name}.npy", allow_pickle=False)
      for name in manifest["checksums"]
    }
    sums = {name: _checksum(array) for name, array in arrays.items()}
    if sums == manifest["checksums"]:
      return arrays, manifest
    reason = "its checksums differ"
  except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
    reason = str(error)
  logging.warning("%s is damaged (%s) and is made again.", folder, reason)
  return None
