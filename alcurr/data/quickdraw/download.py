"""python -m alcurr.data download: Google's files, from its public bucket.

Prints the size and asks before it downloads. A broken download resumes, and
every file is checked against the bucket's checksum. Redirects are followed only
on the same server. No other module of alcurr opens connections.
"""

import argparse
import base64
import binascii
import concurrent.futures
import functools
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import stat
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
_MAX_REASON = 200  # characters of a server's text that are shown
_BASE = re.compile(
  r"(?i)https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?(/[!\"$->@-~]*)?"
)


class _Remote(NamedTuple):
  """A file as its server describes it."""

  url: str
  size: int  # bytes
  md5: bytes | None  # [16], if the server sends Google's x-goog-hash


class _BadContentError(Exception):
  """The server sent other content than it described."""


def run(args: argparse.Namespace) -> None:
  """Runs the command."""
  names = [f"{name}.{_ENDINGS[args.form]}" for name in _class_names(args)]
  paths.check_can_make(args.out, "OUT")
  base = args.base.rstrip("/")
  _check_base(base)
  urls = [f"{base}/{args.form}/{urllib.parse.quote(name)}" for name in names]
  with concurrent.futures.ThreadPoolExecutor(_CONNECTIONS) as pool:
    remotes = dict(zip(names, pool.map(_look, urls), strict=True))
  total = sum(remote.size for remote in remotes.values())
  places = [args.out / name for name in names]
  for path in places:
    _check_own(_partial(path))
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


def _check_base(base: str) -> None:
  try:
    is_usable = _BASE.fullmatch(base) and urllib.parse.urlsplit(base).port != 0
  except ValueError:  # such as a port beyond 65535
    is_usable = False
  if not is_usable:
    text = f"expected http://host/path or https://host/path, got {base!r}"
    raise UserError("argument", "--base", text)


def _check_own(partial: pathlib.Path) -> None:
  """Refuses a link or a device: what is written there would be elsewhere."""
  if not os.path.lexists(partial):
    return
  status = partial.lstat()
  if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
    text = "expected a part of a download, got a link, a folder or a device"
    raise UserError("exists", partial, f"{text}; remove it")


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
  # At most an exabyte: Python refuses to parse thousands of digits.
  if not re.fullmatch("[0-9]{1,18}", size):
    raise UserError("network", url, "the server does not say its length")
  md5 = re.search(r"\bmd5=([^,\s]*)", hashes)
  return _Remote(url, int(size), _parse_md5(md5[1], url) if md5 else None)


def _parse_md5(text: str, url: str) -> bytes:
  try:
    # As bytes: of a str, a non-ASCII character is another kind of error.
    md5 = base64.b64decode(text.encode(), validate=True)
  except binascii.Error:
    md5 = b""
  if len(md5) != hashlib.md5(usedforsecurity=False).digest_size:
    raise UserError("network", url, "the server's MD5 checksum is malformed")
  return md5


def _fetch(remote: _Remote, path: pathlib.Path, bar: tqdm) -> None:
  """Writes the complete and checked file, or a part to `<path>.partial`."""
  if os.path.lexists(path):
    if not path.is_file() or not _matches(remote, path):
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
      reason = f"{error.code} {str(error.reason)[:_MAX_REASON]}"
      if error.code not in _BUSY:
        text = f"the server answers {reason}"
        raise UserError("network", url, text) from error
    except (OSError, http.client.HTTPException, _BadContentError) as error:
      if getattr(error, "filename", None):  # of the disk, not of the network
        raise
      reason = str(getattr(error, "reason", error)) or type(error).__name__
      reason = reason[:_MAX_REASON]
    size = progress()
    failed = 1 if size > most else failed + 1
    most = max(most, size)
    if failed == _TRIES:
      raise MachineError("network", url, f"{reason}, {_TRIES} times in a row")
    time.sleep(2.0 ** (failed - 1))  # a busy server needs a pause


class _SameServer(urllib.request.HTTPRedirectHandler):
  """Refuses to be redirected to a server that the user has not named."""

  def redirect_request(self, req, fp, code, msg, headers, newurl):
    urls = (req.full_url.lower(), newurl.lower())
    old, new = (urllib.parse.urlsplit(url) for url in urls)
    if old[:2] != new[:2]:
      text = f"and redirects to a server that --base does not name: {newurl}"
      raise urllib.error.HTTPError(req.full_url, code, text, headers, fp)
    return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SameServer)


def _open(url: str, method: str = "GET", **headers: str):
  # Uncompressed, so that lengths and checksums are the file's.
  headers = {"Accept-Encoding": "identity", "User-Agent": "alcurr", **headers}
  request = urllib.request.Request(url, method=method, headers=headers)
  try:
    return _OPENER.open(request, timeout=_TIMEOUT)
  except ValueError as error:  # such as a redirect to http://[
    reason = str(error)[:_MAX_REASON]
    text = f"the server cannot be asked, or understood: {reason}"
    raise UserError("network", url, text) from error


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
      with open(partial, "ab" if start else "wb", opener=_open_own) as file:
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


def _open_own(path: str, flags: int) -> int:
  """Opens a file, but never through a link that has come meanwhile."""
  return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _matches(remote: _Remote, path: pathlib.Path) -> bool:
  if _size(path) != remote.size or remote.md5 is None:
    return _size(path) == remote.size
  md5 = functools.partial(hashlib.md5, usedforsecurity=False)
  with path.open("rb") as file:
    return hashlib.file_digest(file, md5).digest() == remote.md5


def _partial(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f"{path.name}.partial")


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0
