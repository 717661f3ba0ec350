"""Fetches a file from an HTTP server, resumes after a break, and checks it.

It is the only module that opens connections, for the command
`python -m alcurr.data download`.
"""

import base64
import binascii
import hashlib
import http.client
import os
import pathlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tqdm.auto import tqdm

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError

Result = TypeVar("Result")
_wait = time.sleep

_TRIES = 6  # attempts in a row without progress
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 2**20
_BUSY = (408, 429, 500, 502, 503, 504)  # status codes worth another try


class Remote(NamedTuple):
  """A file as its server describes it."""

  url: str
  size: int  # bytes
  md5: bytes | None  # from Google's x-goog-hash, if the server sends it


class _BadContentError(Exception):
  """The server sent other content than it described."""


def look(url: str) -> Remote:
  """Asks the server to describe a file.

  Raises:
    UserError: no such file, or the server does not say its length.
    MachineError: the server cannot be reached.
  """

  def ask() -> Remote:
    with _open(url, method="HEAD") as response:
      size = response.headers.get("Content-Length", "")
      if not size.isdecimal():
        raise UserError("network", url, "the server does not say its length")
      hashes = response.headers.get_all("x-goog-hash", [])
      return Remote(url, int(size), _md5(hashes))

  return _retry(ask, url, lambda: 0)


def fetch(remote: Remote, path: pathlib.Path, bar: tqdm) -> None:
  """Writes the complete and checked file, or a part to `<path>.partial`.

  Args:
    remote: from `look`.
    path: the file.
    bar: updated by the bytes of the file on disk.

  Raises:
    UserError: another file is there, or the server no longer has it.
    MachineError: the server cannot be reached, or sends other content.
  """
  if path.exists():
    if not _matches(remote, path):
      raise UserError("exists", path, f"it differs from {remote.url}")
    bar.update(remote.size)
    return
  partial = path.with_name(f"{path.name}.partial")
  start = bar.n

  def show() -> None:
    bar.update(start + _size(partial) - bar.n)

  def resume() -> None:
    try:
      _append(remote, partial, show)
      if not _matches(remote, partial):
        raise _BadContentError("its checksum is not the server's")
    except _BadContentError:
      partial.unlink(missing_ok=True)
      raise
    finally:
      show()

  show()
  _retry(resume, remote.url, lambda: _size(partial))
  files.rename(partial, path)


def _retry(
  attempt: Callable[[], Result], url: str, progress: Callable[[], int]
) -> Result:
  """Repeats a call until it succeeds, or _TRIES calls made no progress."""
  most, failed = progress(), 0
  while True:
    try:
      return attempt()
    except urllib.error.HTTPError as error:
      if error.code not in _BUSY:
        text = f"the server answers {error.code} {error.reason}"
        raise UserError("network", url, text) from error
      reason = f"{error.code} {error.reason}"
    except (OSError, http.client.HTTPException, _BadContentError) as error:
      if getattr(error, "filename", None):  # of the disk, not of the network
        raise
      reason = str(getattr(error, "reason", error)) or type(error).__name__
    failed = 1 if progress() > most else failed + 1
    most = max(most, progress())
    if failed == _TRIES:
      raise MachineError("network", url, f"{reason}, {_TRIES} times in a row")
    _wait(2.0 ** (failed - 1))


def _open(url: str, method: str = "GET", **headers: str):
  # Uncompressed, so that lengths and checksums are the file's.
  headers = {"Accept-Encoding": "identity", "User-Agent": "alcurr", **headers}
  request = urllib.request.Request(url, method=method, headers=headers)
  return urllib.request.urlopen(request, timeout=_TIMEOUT)


def _append(
  remote: Remote, partial: pathlib.Path, show: Callable[[], None]
) -> None:
  """Fetches the missing bytes."""
  start = _size(partial)
  if start and start >= remote.size:
    return  # the checksum decides
  headers = {"Range": f"bytes={start}-"} if start else {}
  with _open(remote.url, **headers) as response:
    if response.status != 206:  # the server sends all of it again
      start = 0
    else:
      span = f"bytes {start}-{remote.size - 1}/{remote.size}"
      if response.headers.get("Content-Range") != span:
        raise _BadContentError("it has changed on the server")
    with partial.open("ab" if start else "wb") as file:
      while chunk := response.read1(_CHUNK):
        with files.naming(partial):
          file.write(chunk)
          file.flush()
        show()
        if file.tell() > remote.size:
          raise _BadContentError("it is longer than announced")
      with files.naming(partial):
        os.fsync(file.fileno())
  if _size(partial) < remote.size:
    raise ConnectionError(f"it broke off at {_size(partial)} of {remote.size}")


def _matches(remote: Remote, path: pathlib.Path) -> bool:
  if _size(path) != remote.size or remote.md5 is None:
    return _size(path) == remote.size
  md5 = hashlib.md5(usedforsecurity=False)
  with path.open("rb") as file:
    return hashlib.file_digest(file, lambda: md5).digest() == remote.md5


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0


def _md5(headers: list[str]) -> bytes | None:
  """Parses `crc32c=...,md5=...`, in one header or in several."""
  match = re.search(r"(?:^|[,\s])md5=([^,\s]*)", ",".join(headers))
  try:
    return base64.b64decode(match[1], validate=True) if match else None
  except binascii.Error:
    return None
