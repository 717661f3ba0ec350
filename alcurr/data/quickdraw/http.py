"""One file from an HTTP server: gone on with where it broke, and checked.

The only module that speaks to others, at the user's command alone: see
`python -m alcurr.data download`.
"""

import base64
import binascii
import hashlib
import http.client
import os
import pathlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError

_TRIES = 6  # in a row that bring nothing new
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 2**20
_LATER = (408, 429, 500, 502, 503, 504)  # what a server says that is busy
# What a broken connection raises, by where it breaks.
_BROKEN = (OSError, http.client.HTTPException)


class Remote(NamedTuple):
  """A file as its server describes it."""

  url: str
  size: int  # bytes
  md5: bytes | None  # of Google's x-goog-hash; None where there is none


class _BadContentError(Exception):
  """What came is not what was described."""


def look(url: str) -> Remote:
  """Asks for a file's description.

  Raises:
    UserError: there is no such file, or one of unknown length.
    MachineError: the server cannot be reached.
  """

  def ask() -> Remote:
    with _open(url, method="HEAD") as response:
      size = response.headers.get("Content-Length", "")
      if not size.isdecimal():
        raise UserError(f"{url}: the server does not tell its length.")
      hashes = response.headers.get_all("x-goog-hash", [])
      return Remote(url, int(size), _md5(hashes))

  return _persist(ask, url, lambda: 0)


def fetch(
  remote: Remote, path: pathlib.Path, report: Callable[[int], None]
) -> None:
  """Leaves the file at `path`, whole and checked, or `<path>.partial`.

  Args:
    remote: from `look`.
    path: of the file.
    report: called with the bytes that came since it was called last, which
      are negative where some had to be thrown away.

  Raises:
    UserError: another file is there, or the server no longer has it.
    MachineError: the server cannot be reached, or sends something else.
  """
  if path.exists():
    if not _is(remote, path):
      raise UserError(
        f"{path} is there and not what {remote.url} is; delete or move it."
      )
    report(remote.size)
    return
  partial = path.with_name(f"{path.name}.partial")
  counted = 0

  def go_on() -> None:
    nonlocal counted
    try:
      _append(remote, partial, tell)
      if not _is(remote, partial):
        raise _BadContentError("its checksum is not that of the server")
    except _BadContentError:
      partial.unlink(missing_ok=True)
      raise
    finally:
      tell(_size(partial))

  def tell(size: int) -> None:
    nonlocal counted
    report(size - counted)
    counted = size

  tell(_size(partial))
  _persist(go_on, remote.url, lambda: _size(partial))
  files.rename(partial, path)


def _persist(
  attempt: Callable[[], object], url: str, size: Callable[[], int]
) -> object:
  """Tries until it goes well, or nothing new has come for some tries."""
  most, failed = size(), 0
  while True:
    try:
      return attempt()
    except urllib.error.HTTPError as error:
      if error.code not in _LATER:
        raise UserError(
          f"{url}: the server says {error.code} {error.reason}; see whether "
          "there is such a file."
        ) from error
      reason = f"{error.code} {error.reason}"
    except urllib.error.URLError as error:
      reason = str(error.reason)
    except _BROKEN as error:
      if getattr(error, "filename", None):  # of the disk, not of the net
        raise
      reason = str(error) or type(error).__name__
    except _BadContentError as error:
      reason = str(error)
    failed = 1 if size() > most else failed + 1
    most = max(most, size())
    if failed == _TRIES:
      raise MachineError(f"{url}: {reason}, {_TRIES} times in a row")
    _wait(2.0 ** (failed - 1))


def _wait(seconds: float) -> None:
  time.sleep(seconds)


def _open(url: str, method: str = "GET", **headers: str):
  # As it is: a server that compresses would make lengths and sums others.
  headers = {"Accept-Encoding": "identity", "User-Agent": "alcurr", **headers}
  request = urllib.request.Request(url, method=method, headers=headers)
  return urllib.request.urlopen(request, timeout=_TIMEOUT)


def _append(
  remote: Remote, partial: pathlib.Path, tell: Callable[[int], None]
) -> None:
  """Brings what is missing."""
  there = _size(partial)
  if there > remote.size:
    raise _BadContentError("more has come than there is")
  if there == remote.size:
    partial.touch()
    return
  headers = {"Range": f"bytes={there}-"} if there else {}
  with _open(remote.url, **headers) as response:
    if response.status == 206:
      wanted = f"bytes {there}-{remote.size - 1}/{remote.size}"
      if response.headers.get("Content-Range") != wanted:
        raise _BadContentError("it has changed on the server")
    else:  # it sends all of it again
      there = 0
    with partial.open("r+b" if there else "wb") as file:
      file.seek(there)
      while chunk := response.read1(_CHUNK):
        there += len(chunk)
        if there > remote.size:
          raise _BadContentError("more has come than there is")
        with files.naming(partial):
          file.write(chunk)
        tell(there)
      with files.naming(partial):
        file.flush()
        os.fsync(file.fileno())
  if there < remote.size:
    raise ConnectionError(f"it broke off at {there} of {remote.size} bytes")


def _is(remote: Remote, path: pathlib.Path) -> bool:
  if _size(path) != remote.size:
    return False
  if remote.md5 is None:
    return True
  with path.open("rb") as file:
    found = hashlib.file_digest(
      file, lambda: hashlib.md5(usedforsecurity=False)
    )
  return found.digest() == remote.md5


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0


def _md5(headers: list[str]) -> bytes | None:
  """Of `crc32c=...,md5=...`, in one header or in several."""
  for part in ",".join(headers).split(","):
    name, _, value = part.strip().partition("=")
    if name == "md5":
      try:
        return base64.b64decode(value, validate=True)
      except binascii.Error:
        return None
  return None
