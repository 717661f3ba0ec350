"""Arrays saved on disk between experiments, with a checked manifest.

An entry is a folder of .npy files and `manifest.json`. It is written under a
temporary name and renamed when it is complete. Every read verifies its
checksums; a damaged entry is made again, never trusted.
"""

import contextlib
import errno
import hashlib
import json
import pathlib
import shutil
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError

# Errors that NumPy and JSON raise for damaged files. Memory runs out where a
# header claims more than there is. A RuntimeError comes from an encrypted entry
# of an archive, or from a header that is nested too deep.
_BUILTIN = (OSError, ValueError, TypeError, LookupError, AttributeError)
_RARE = (SyntaxError, RuntimeError, OverflowError, MemoryError, EOFError)
_FORMATS = (tokenize.TokenError, zipfile.BadZipFile, zlib.error, struct.error)
UNREADABLE = (*_BUILTIN, *_RARE, *_FORMATS)
MANIFEST = "manifest.json"
# A full or broken disk, which no setting fixes.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# Seconds after which an unfinished folder must be of a killed process.
_STALE = 24 * 3600


def digest(request: Mapping[str, Any]) -> str:
  """Returns a short name for a request; equal requests have equal names."""
  text = json.dumps(request, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def fingerprint(paths: Mapping[str, pathlib.Path]) -> dict[str, dict[str, Any]]:
  """Returns a record of each file, by name, for `unchanged`.

  Take it before reading the files, in case one changes meanwhile.
  """
  return {
    name: _stat(path) | {"path": str(path), "blake2b": _content_hash(path)}
    for name, path in paths.items()
  }


def unchanged(
  paths: Mapping[str, pathlib.Path], before: Mapping[str, Mapping[str, Any]]
) -> bool:
  """Returns whether files still have the fingerprints `before`."""
  return paths.keys() == before.keys() and all(
    _stat(path).items() <= before[name].items()
    # A copied file has another time and may still be the same.
    or _content_hash(path) == before[name]["blake2b"]
    for name, path in paths.items()
  )


def _stat(path: pathlib.Path) -> dict[str, int]:
  stat = path.stat()
  return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _content_hash(path: pathlib.Path) -> str:
  files.check_regular(path)
  with path.open("rb") as file:
    return hashlib.file_digest(file, "blake2b").hexdigest()


def _checksum(array: np.ndarray) -> int:
  """Returns the CRC-32 of an array, and of what its header must say."""
  start = zlib.crc32(f"{array.dtype.str} {array.shape}".encode())
  return zlib.crc32(np.ascontiguousarray(array), start)


def write_stream(
  path: pathlib.Path,
  dtype: np.typing.DTypeLike,
  shape: tuple[int, ...],
  chunks: Iterable[np.ndarray],
) -> int:
  """Writes a .npy file from chunks of its first axis, completely or not at all.

  Returns its checksum for `write_manifest`. Memory: one chunk.
  """
  dtype = np.dtype(dtype)
  descr = np.lib.format.dtype_to_descr(dtype)
  header = {"descr": descr, "fortran_order": False, "shape": shape}
  checksum = zlib.crc32(f"{dtype.str} {shape}".encode())  # as `_checksum`

  def write(file: Any) -> None:
    nonlocal checksum
    np.lib.format.write_array_header_1_0(file, header)
    for chunk in chunks:
      content = np.ascontiguousarray(chunk, dtype)
      file.write(content)
      checksum = zlib.crc32(content, checksum)

  files.write_file(path, write)
  return checksum


def write_manifest(
  folder: pathlib.Path, manifest: Mapping[str, Any], checksums: dict[str, int]
) -> None:
  """Completes an entry, given the checksums of its arrays by name."""
  # As a reader sees it, who hashes it too.
  content = files.plain({**manifest, "checksums": checksums})
  files.write_json(folder / MANIFEST, {**content, "digest": digest(content)})


def write_arrays(
  folder: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  manifest: Mapping[str, Any],
) -> None:
  """Writes an entry of arrays, by name, in place of an older one.

  Raises:
    UserError: the folder cannot be written.
    MachineError: the disk is full or broken.
  """
  checksums = {name: _checksum(array) for name, array in arrays.items()}
  prefix = f".{folder.name}."
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent, prefix)
    with tempfile.TemporaryDirectory(
      prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True
    ) as temporary:
      for name, array in arrays.items():
        np.save(f"{temporary}/{name}.npy", array, allow_pickle=False)
      write_manifest(pathlib.Path(temporary), manifest, checksums)
      shutil.rmtree(folder, ignore_errors=True)
      try:
        pathlib.Path(temporary).rename(folder)
      except OSError as error:
        # Another process may have just written the same.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
          raise
  except OSError as error:
    kind = MachineError if error.errno in _DISK else UserError
    text = f"cannot be written: {error.strerror}"
    raise kind("disk", folder, text) from error


def _remove_stale(parent: pathlib.Path, prefix: str) -> None:
  """Removes the folders that killed processes were writing."""
  for path in parent.glob(f"{prefix}*"):
    with contextlib.suppress(FileNotFoundError):  # removed by another process
      if time.time() - path.stat().st_mtime > _STALE:
        shutil.rmtree(path)


def read_arrays(
  folder: pathlib.Path, mmap_mode: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
  """Returns the arrays and the manifest, or None without a good entry.

  Logs a warning if the entry is damaged.
  """
  if folder.exists():
    try:
      return read_checked(folder, mmap_mode)
    except UNREADABLE as error:
      logging.warning("%s is damaged (%s) and is made again.", folder, error)
  return None


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the manifest of an entry; raises UNREADABLE if it was changed."""
  manifest = files.read_json(folder / MANIFEST)
  if manifest.pop("digest") != digest(manifest):
    raise ValueError("its manifest was changed")
  return manifest


def read_checked(
  folder: pathlib.Path, mmap_mode: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns the arrays, read as `np.load` does, and the manifest of an entry.

  Raises:
    UNREADABLE: an array or the manifest is missing or was changed.
  """
  manifest, arrays = read_manifest(folder), {}
  for name, checksum in manifest["checksums"].items():
    path = folder / f"{name}.npy"
    files.check_regular(path)
    arrays[name] = np.load(path, mmap_mode, allow_pickle=False)
    if _checksum(arrays[name]) != checksum:
      raise ValueError(f"the checksum of {name} differs")
  return arrays, manifest
