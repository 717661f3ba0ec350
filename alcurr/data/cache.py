"""Arrays kept on disk between experiments, with a manifest that vouches.

An entry is a folder of .npy files and `manifest.json`. It is made under
another name and renamed when whole, and checked when read: an entry that is
not what its manifest says is made again, never trusted.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError

# What np.load raises for a damaged file, by where the damage is; memory runs
# out where a header claims more than there is.
UNREADABLE = (
  OSError,
  ValueError,
  TypeError,
  KeyError,
  EOFError,
  SyntaxError,
  NotImplementedError,
  RuntimeError,  # an encrypted entry, or a header nested too deep
  OverflowError,
  MemoryError,
  tokenize.TokenError,
  zipfile.BadZipFile,
  zlib.error,
  struct.error,
)


MANIFEST = "manifest.json"
# A disk that is full or fails, which no other setting mends.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
# Seconds in which a process that makes a folder surely locks it.
_FRESH = 60


def digest(request: Mapping[str, Any]) -> str:
  """A short name for a request: equal requests, equal names."""
  text = json.dumps(request, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def vouch(paths: Mapping[str, pathlib.Path]) -> dict[str, dict[str, Any]]:
  """What says later that files, by name, are still the same.

  Take it before they are read: a file that changes meanwhile is not what was
  read.
  """
  return {
    name: _facts(path) | {"path": str(path), "blake2b": _content_hash(path)}
    for name, path in paths.items()
  }


def unchanged(
  paths: Mapping[str, pathlib.Path], vouched: Mapping[str, Mapping[str, Any]]
) -> bool:
  """Whether the files are those that `vouch` saw."""
  if paths.keys() != vouched.keys():
    return False
  for name, path in paths.items():
    then, now = vouched[name], _facts(path)
    if then["size"] != now["size"]:
      return False
    # A copied file has another time and may still be the same.
    if then["mtime_ns"] != now["mtime_ns"] and then["blake2b"] != _content_hash(
      path
    ):
      return False
  return True


def _facts(path: pathlib.Path) -> dict[str, int]:
  stat = path.stat()
  return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _content_hash(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "blake2b").hexdigest()


def header_checksum(dtype: np.dtype, shape: Sequence[int]) -> int:
  """What the checksum of an array begins with; CRC-32 goes on over its bytes.

  A damaged header can give the same bytes another type or shape.
  """
  return zlib.crc32(f"{dtype.str} {tuple(shape)}".encode())


def _checksum(array: np.ndarray) -> int:
  content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
  return zlib.crc32(content, header_checksum(array.dtype, array.shape))


def seal(
  folder: pathlib.Path, manifest: Mapping[str, Any], sums: Mapping[str, int]
) -> None:
  """Writes the manifest of an entry whose arrays have these checksums."""
  whole = {**manifest, "checksums": dict(sums)}
  # As JSON will have it: that is what a reader will see.
  whole = json.loads(json.dumps(files.plain(whole)))
  files.write_json(folder / MANIFEST, {**whole, "digest": digest(whole)})


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

  Raises:
    UserError: the folder cannot be written.
    MachineError: the disk is full or broken.
  """
  sums = {name: _checksum(array) for name, array in arrays.items()}
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(folder) as temporary:
      for name, array in arrays.items():
        np.save(temporary / f"{name}.npy", array, allow_pickle=False)
      seal(temporary, manifest, sums)
      _put(temporary, folder)
  except OSError as error:
    if error.errno in DISK:
      raise MachineError(f"{folder}: {error.strerror}") from error
    raise UserError(
      f"{folder}: the cache cannot be written ({error.strerror}); set "
      "cache_dir to a folder that can."
    ) from error


@contextlib.contextmanager
def _temporary(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder beside an entry; those that killed processes left there go."""
  pattern = f".{folder.name}."
  for left in folder.parent.glob(f"{pattern}*"):
    with contextlib.suppress(FileNotFoundError):  # another was faster
      if time.time() - left.stat().st_mtime > _FRESH:
        _remove_if_left(left)
  path = pathlib.Path(tempfile.mkdtemp(prefix=pattern, dir=folder.parent))
  owner = os.open(path, os.O_RDONLY)
  try:
    # The system gives it back when this process dies.
    fcntl.flock(owner, fcntl.LOCK_SH)
    yield path
  finally:
    shutil.rmtree(path, ignore_errors=True)
    os.close(owner)


def _remove_if_left(path: pathlib.Path) -> None:
  file = os.open(path, os.O_RDONLY)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    shutil.rmtree(path)
  except BlockingIOError:
    pass  # someone is at work in it
  finally:
    os.close(file)


def _put(temporary: pathlib.Path, folder: pathlib.Path) -> None:
  """Renames a whole entry into its place."""
  shutil.rmtree(folder, ignore_errors=True)
  try:
    temporary.rename(folder)
  except OSError as error:
    # Another process made the same entry meanwhile: one is enough.
    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
      raise


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
    return read_sealed(folder)
  except (*UNREADABLE, AttributeError) as error:
    logging.warning("%s is damaged (%s) and is made again.", folder, error)
    return None


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """The manifest of an entry, without the digest that it was checked by.

  Raises:
    UNREADABLE, AttributeError: there is none, or not as it was written.
  """
  manifest = files.read_json(folder / MANIFEST)
  if manifest.pop("digest") != digest(manifest):
    raise ValueError("its manifest was changed")
  return manifest


def read_sealed(
  folder: pathlib.Path, mmap_mode: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """The arrays and the manifest of an entry, each checked.

  Args:
    folder: the entry.
    mmap_mode: of `np.load`; None to read the arrays into memory.

  Raises:
    UNREADABLE, AttributeError: an array or the manifest is not as written.
  """
  manifest = read_manifest(folder)
  arrays = {
    name: np.load(
      folder / f"{name}.npy", allow_pickle=False, mmap_mode=mmap_mode
    )
    for name in manifest["checksums"]
  }
  sums = {name: _checksum(array) for name, array in arrays.items()}
  if sums != manifest["checksums"]:
    raise ValueError("its checksums differ")
  return arrays, manifest
