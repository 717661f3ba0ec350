"""python -m alcurr.data download: Google's files, from its public bucket.

Prints the size and asks before it downloads. A broken download resumes, and
every file is checked against the bucket's checksum. No other module of alcurr
opens connections.
"""

import argparse
import base64
import concurrent.futures
import functools
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from alcurr.core import files, lock, paths
from alcurr.core.errors import MachineError, UserError

_ENDINGS = {"simplified": "ndjson", "raw": "ndjson"}
_ENDINGS |= {"binary": "bin", "numpy_bitmap": "npy"}
_CONNECTIONS = 8  # at once, to ask for sizes
# Google's 345 names: packaged, or in a checkout.
_HERE = pathlib.Path(__file__).parent
_CATEGORIES = (
  _HERE / "categories.txt",
  _HERE.parents[2] / "third_party/quickdraw/categories.txt",
)
_TRIES = 6  # attempts in a row without progress
_TIMEOUT = 60  # seconds without a byte
_CHUNK = 2**20
_BUSY = (408, 429, 500, 502, 503, 504)  # status codes worth another try


class _Remote(NamedTuple):
  """A file as its server describes it."""

  url: str
  size: int  # bytes
  md5: str | None  # in base 64, if the server sends Google's x-goog-hash


class _BadContentError(Exception):
  """The server sent other content than it described."""


def run(args: argparse.Namespace) -> None:
  """Runs the command."""
  names = [f"{name}.{_ENDINGS[args.form]}" for name in _class_names(args)]
  paths.check_can_make(args.out, "OUT")
  base = args.base.rstrip("/")
  if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
    raise UserError("argument", "--base", f"expected http or https, got {base}")
  urls = [f"{base}/{args.form}/{urllib.parse.quote(name)}" for name in names]
  with concurrent.futures.ThreadPoolExecutor(_CONNECTIONS) as pool:
    remotes = dict(zip(names, pool.map(_look, urls), strict=True))
  total = sum(remote.size for remote in remotes.values())
  places = [args.out / name for name in names]
  missing = total - sum(_size(p) or _size(_partial(p)) for p in places)
  if missing > 0:
    _ask(args, len(names), total, missing)
  with (
    lock.locked(args.out, "OUT"),
    tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar,
  ):
    for name, remote in remotes.items():
      bar.set_description(name)
      _fetch(remote, args.out / name, bar)
  print(f"{args.out}: {len(names)} files")
  if unchecked := sum(remote.md5 is None for remote in remotes.values()):
    text = f"{unchecked} came without a checksum; only their length was checked"
    print(text, file=sys.stderr)


def _class_names(args: argparse.Namespace) -> list[str]:
  option, names = "--classes", (args.classes or "").split(",")
  if args.classes is None and args.categories is not None:
    option = "--categories"
    path = paths.absolute(args.categories, option)
    if args.categories == "all":
      path = next(path for path in _CATEGORIES if path.is_file())
    try:
      names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
      raise UserError("missing", option, f"cannot be read: {error}") from error
  names = list(dict.fromkeys(name.strip() for name in names if name.strip()))
  if not names:
    text = "expected --classes=cat,dog, --categories=FILE or --categories=all"
    raise UserError("missing", option, text)
  for name in names:
    paths.check_plain(name, "a class")
  return names


def _ask(args: argparse.Namespace, count: int, size: int, missing: int) -> None:
  """Prints the size; raises UserError unless the user agrees."""
  folders = (args.out, *args.out.parents)
  free = shutil.disk_usage(next(f for f in folders if f.exists())).free
  print(
    f"{count} files of {size / 1e6:,.1f} MB, {missing / 1e6:,.1f} MB of them "
    f"missing in {args.out}, with {free / 1e6:,.1f} MB free."
  )
  if missing > free:
    raise MachineError("disk", args.out, "there is not enough room")
  if args.yes:
    return
  if not sys.stdin.isatty():
    raise UserError("missing", "--yes", "needed to confirm the download")
  if input("Download them? [y/N] ").strip().lower() not in ("y", "yes"):
    raise UserError("argument", "download", "cancelled; nothing was downloaded")


def _look(url: str) -> _Remote:
  """Asks the server to describe a file."""
  with _retry(lambda: _open(url, method="HEAD"), url, lambda: 0) as response:
    size = response.headers.get("Content-Length", "")
    hashes = ",".join(response.headers.get_all("x-goog-hash", []))
  if not size.isdecimal():
    raise UserError("network", url, "the server does not say its length")
  md5 = re.search(r"\bmd5=([^,\s]+)", hashes)
  return _Remote(url, int(size), md5[1] if md5 else None)


def _fetch(remote: _Remote, path: pathlib.Path, bar: tqdm) -> None:
  """Writes the complete and checked file, or a part to `<path>.partial`."""
  if path.exists():
    if not _matches(remote, path):
      raise UserError("exists", path, f"it differs from {remote.url}")
    bar.update(remote.size)
    return
  partial = _partial(path)
  bar.update(_size(partial))

  def resume() -> None:
    try:
      _append(remote, partial, bar)
    except _BadContentError:
      bar.update(-_size(partial))
      partial.unlink(missing_ok=True)
      raise

  _retry(resume, remote.url, lambda: _size(partial))
  files.rename(partial, path)


def _retry(
  attempt: Callable[[], Any], url: str, progress: Callable[[], int]
) -> Any:
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
    size = progress()
    failed = 1 if size > most else failed + 1
    most = max(most, size)
    if failed == _TRIES:
      raise MachineError("network", url, f"{reason}, {_TRIES} times in a row")
    time.sleep(2.0 ** (failed - 1))


def _open(url: str, method: str = "GET", **headers: str):
  # Uncompressed, so that lengths and checksums are the file's.
  headers = {"Accept-Encoding": "identity", "User-Agent": "alcurr", **headers}
  request = urllib.request.Request(url, method=method, headers=headers)
  return urllib.request.urlopen(request, timeout=_TIMEOUT)


def _append(remote: _Remote, partial: pathlib.Path, bar: tqdm) -> None:
  """Fetches the missing bytes, and checks all."""
  start = _size(partial)
  if not start or start < remote.size:
    headers = {"Range": f"bytes={start}-"} if start else {}
    with _open(remote.url, **headers) as response:
      if response.status != 206:  # the server sends all of it again
        bar.update(-start)
        start = 0
      span = f"bytes {start}-{remote.size - 1}/{remote.size}"
      if start and response.headers.get("Content-Range") != span:
        raise _BadContentError("it has changed on the server")
      with partial.open("ab" if start else "wb") as file:
        while chunk := response.read1(_CHUNK):
          with files.naming(partial):
            file.write(chunk)
            file.flush()
          bar.update(len(chunk))
          if file.tell() > remote.size:
            raise _BadContentError("it is longer than announced")
        with files.naming(partial):
          os.fsync(file.fileno())
  size = _size(partial)
  if size < remote.size:
    raise ConnectionError(f"it broke off at {size} of {remote.size}")
  if not _matches(remote, partial):
    raise _BadContentError("its checksum is not the server's")


def _matches(remote: _Remote, path: pathlib.Path) -> bool:
  if _size(path) != remote.size or remote.md5 is None:
    return _size(path) == remote.size
  md5 = functools.partial(hashlib.md5, usedforsecurity=False)
  with path.open("rb") as file:
    digest = hashlib.file_digest(file, md5).digest()
  return base64.b64encode(digest).decode() == remote.md5


def _partial(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f"{path.name}.partial")


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0
