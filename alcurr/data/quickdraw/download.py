"""python -m alcurr.data download: Google's files, from its public bucket.

Prints the size and asks before it downloads. A broken download resumes, and
every file is checked against the bucket's checksum.
"""

import argparse
import concurrent.futures
import pathlib
import shutil
import sys
import urllib.parse

from tqdm.auto import tqdm

from alcurr.core import lock, paths
from alcurr.core.errors import MachineError, UserError
from alcurr.data.quickdraw import http

_ENDINGS = {"simplified": "ndjson", "raw": "ndjson"}
_ENDINGS |= {"binary": "bin", "numpy_bitmap": "npy"}
_CONNECTIONS = 8  # at once, to ask for sizes
# Google's 345 names: packaged, or in a checkout.
_HERE = pathlib.Path(__file__).parent
_CATEGORIES = (
  _HERE / "categories.txt",
  _HERE.parents[2] / "third_party/quickdraw/categories.txt",
)


def run(args: argparse.Namespace) -> None:
  """Runs the command."""
  names = [f"{name}.{_ENDINGS[args.form]}" for name in _class_names(args)]
  paths.check_can_make(args.out, "OUT")
  base = args.base.rstrip("/")
  if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
    raise UserError("argument", "--base", f"expected http or https, got {base}")
  urls = [f"{base}/{args.form}/{urllib.parse.quote(name)}" for name in names]
  with concurrent.futures.ThreadPoolExecutor(_CONNECTIONS) as pool:
    remotes = dict(zip(names, pool.map(http.look, urls), strict=True))
  total = sum(remote.size for remote in remotes.values())
  missing = total - sum(_present(args.out / name) for name in names)
  if missing > 0:
    _ask(args, len(names), total, missing)
  with (
    lock.locked(args.out, "OUT"),
    tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar,
  ):
    for name, remote in remotes.items():
      bar.set_description(name)
      http.fetch(remote, args.out / name, bar)
  print(f"{args.out}: {len(names)} files")
  if unchecked := sum(remote.md5 is None for remote in remotes.values()):
    text = f"{unchecked} came without a checksum; only their length was checked"
    print(text, file=sys.stderr)


def _class_names(args: argparse.Namespace) -> list[str]:
  if args.classes is not None:
    option, names = "--classes", args.classes.split(",")
  elif args.categories is not None:
    option, path = "--categories", pathlib.Path(args.categories)
    if args.categories == "all":
      path = next(path for path in _CATEGORIES if path.is_file())
    try:
      names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
      raise UserError("missing", option, f"cannot be read: {error}") from error
  else:
    option, names = "--classes", []
  names = list(dict.fromkeys(name.strip() for name in names if name.strip()))
  if not names:
    text = "expected --classes=cat,dog, --categories=FILE or --categories=all"
    raise UserError("missing", option, text)
  for name in names:
    paths.check_plain(name, "a class")
  return names


def _present(path: pathlib.Path) -> int:
  """Returns the number of bytes already downloaded."""
  for place in (path, path.with_name(f"{path.name}.partial")):
    if place.exists():
      return place.stat().st_size
  return 0


def _ask(args: argparse.Namespace, count: int, size: int, missing: int) -> None:
  """Prints the size; raises UserError unless the user agrees."""
  folders = (args.out, *args.out.absolute().parents)
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
