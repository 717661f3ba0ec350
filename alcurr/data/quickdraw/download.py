"""python -m alcurr.data download: Google's files, from its public bucket.

The size is told and asked for before anything comes; what was cut off goes on,
and every file is checked against the bucket's own checksum.
"""

import argparse
import concurrent.futures
import pathlib
import shutil
import sys
import urllib.parse
from collections.abc import Sequence

from tqdm.auto import tqdm

from alcurr.core import lock, paths
from alcurr.core.errors import MachineError, UserError
from alcurr.data.quickdraw import http

_BASE = "https://storage.googleapis.com/quickdraw_dataset/full"
_ENDS = {
  "simplified": "ndjson",
  "raw": "ndjson",
  "binary": "bin",
  "numpy_bitmap": "npy",
}
_ASKED_AT_ONCE = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "form", metavar="NAME", choices=_ENDS, help=", ".join(_ENDS)
  )
  parser.add_argument(
    "out",
    metavar="OUT",
    type=pathlib.Path,
    help="a folder; the same command goes on where one was cut off",
  )
  which = parser.add_mutually_exclusive_group(required=True)
  which.add_argument(
    "--classes", metavar="NAMES", help="with commas, such as cat,dog"
  )
  which.add_argument(
    "--categories",
    metavar="FILE",
    type=pathlib.Path,
    help="a name a line, such as categories.txt of "
    "github.com/googlecreativelab/quickdraw-dataset",
  )
  parser.add_argument(
    "--yes", action="store_true", help="do not ask whether the size is right"
  )
  parser.add_argument(
    "--base",
    metavar="URL",
    default=_BASE,
    help="of a mirror, which has <NAME>/<class>.<end>; default %(default)s",
  )


def run(args: argparse.Namespace) -> None:
  names = _names(args)
  paths.check_can_make(args.out, "OUT")
  base = args.base.rstrip("/")
  if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
    raise UserError(f"--base {args.base}: name an http or https address.")
  files = {
    f"{name}.{_ENDS[args.form]}": "/".join(
      [base, args.form, urllib.parse.quote(f"{name}.{_ENDS[args.form]}")]
    )
    for name in names
  }
  with concurrent.futures.ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
    remotes = list(pool.map(http.look, files.values()))
  missing = sum(
    remote.size - _there(args.out / name)
    for name, remote in zip(files, remotes, strict=True)
  )
  if missing > 0:
    _ask(args, len(files), sum(remote.size for remote in remotes), missing)
  with lock.locked(args.out, "OUT"):
    fetch_all(args.out, list(files), remotes)
  print(f"{args.out}: {len(files)} files")
  if unchecked := sum(remote.md5 is None for remote in remotes):
    print(
      f"{unchecked} of them came without a checksum: their length alone is "
      "known to be right.",
      file=sys.stderr,
    )


def fetch_all(
  out: pathlib.Path, names: Sequence[str], remotes: Sequence[http.Remote]
) -> None:
  """Brings files, one after the other, under a progress bar.

  Raises:
    UserError, MachineError: as `transfer.fetch`.
  """
  with tqdm(
    total=sum(remote.size for remote in remotes),
    unit="B",
    unit_scale=True,
    disable=not sys.stderr.isatty(),
  ) as bar:
    for name, remote in zip(names, remotes, strict=True):
      bar.set_description(name)
      http.fetch(remote, out / name, bar.update)


def _names(args: argparse.Namespace) -> list[str]:
  """The classes that were asked for, each of which names a file."""
  if args.categories is None:
    names = args.classes.split(",")
  else:
    try:
      names = args.categories.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
      raise UserError(
        f"--categories {args.categories}: cannot be read ({error}); name a "
        "file with a name a line."
      ) from error
  names = list(dict.fromkeys(name.strip() for name in names if name.strip()))
  if not names:
    raise UserError("no class is named; write such as --classes=cat,dog.")
  for name in names:
    paths.check_plain(name, "a class")
  return names


def _there(path: pathlib.Path) -> int:
  """Bytes that came before."""
  for place in (path, path.with_name(f"{path.name}.partial")):
    if place.exists():
      return place.stat().st_size
  return 0


def _ask(args: argparse.Namespace, count: int, size: int, missing: int) -> None:
  """Tells the size, and goes on if the user wants it."""
  place = next(
    p for p in (args.out, *args.out.absolute().parents) if p.exists()
  )
  free = shutil.disk_usage(place).free
  print(
    f"{count} files of {size / 1e6:,.1f} MB, {missing / 1e6:,.1f} MB of them "
    f"missing in {args.out}, where {free / 1e6:,.1f} MB are free."
  )
  if missing > free:
    raise MachineError(f"{args.out}: there is not the room for them")
  if args.yes:
    return
  if not sys.stdin.isatty():
    raise UserError("add --yes to say that this is to be downloaded.")
  if input("Download them? [y/N] ").strip().lower() not in ("y", "yes"):
    raise UserError("nothing was downloaded, as you said.")
