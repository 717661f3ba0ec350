"""python -m alcurr.data COMMAND: Quick, Draw! files before an experiment."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from alcurr.core import cli
from alcurr.core.extras import import_extra

_BUCKET = "https://storage.googleapis.com/quickdraw_dataset/full"
_FORMS = ("simplified", "raw", "binary", "numpy_bitmap")
# The module of each command, imported only when it is run, its summary, and the
# arguments of its example.
_COMMANDS = {
  "download": (
    *("download", "download Google's files"),
    "simplified drawings --classes=cat,dog",
  ),
  "prepare": ("packed", "pack files into mapped arrays", "drawings packed"),
  "tfds": (
    *("tfds_builder", "make a set of TensorFlow Datasets"),
    "drawings ~/tensorflow_datasets",
  ),
  "inspect": (
    *("inspection", "count and draw drawings"),
    "drawings --out=drawings.png",
  ),
}


def _example(name: str) -> str:
  return f"alcurr data {name} {_COMMANDS[name][-1]}"


def parse(argv: Sequence[str]) -> argparse.Namespace:
  """Parses the command line."""
  parser = cli.Parser(
    prog="alcurr data",
    example=_example("download"),
    description="Quick, Draw! files before an experiment reads them.",
  )
  sub = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
  download, prepare, tfds, inspect = (
    sub.add_parser(name, help=text, description=text, example=_example(name))
    for name, (_, text, _) in _COMMANDS.items()
  )

  add = download.add_argument
  add("form", metavar="NAME", choices=_FORMS, help=", ".join(_FORMS))
  add("out", type=pathlib.Path, help="a folder; a broken download resumes")
  add("--classes", metavar="NAMES", help="with commas, such as cat,dog")
  categories = "a file with a name on each line; all: Google's 345 names"
  add("--categories", metavar="FILE", help=categories)
  add("--yes", action="store_true", help="do not ask about the size")
  mirror = "a mirror with <NAME>/<class>.<ending>; default %(default)s"
  add("--base", metavar="URL", default=_BUCKET, help=mirror)

  for command in (prepare, tfds, inspect):
    add = command.add_argument
    form = "rows, [[x, ...], [y, ...]], or points, [[x, y], ...], if no stroke "
    form += "of a file says which"
    add("--stroke-form", choices=("rows", "points"), default="", help=form)
    limit = "most bytes of a .gz file's content; default %(default)s"
    add("--max-bytes", metavar="N", type=int, default=2**31, help=limit)

  source = "a folder of <class>.ndjson, .bin or .csv files, or one of all words"
  add = prepare.add_argument
  add("source", type=pathlib.Path, help=f"{source}, or .npy bitmaps")
  add("out", type=pathlib.Path, help="a new folder; a killed command resumes")
  on_error = "stop at the first bad drawing, or skip and count them"
  add("--on-error", choices=("raise", "skip"), default="raise", help=on_error)

  add = tfds.add_argument
  add("source", type=pathlib.Path, help=source)
  out = "a folder of sets, such as ~/tensorflow_datasets"
  add("out", type=pathlib.Path, help=out)

  add = inspect.add_argument
  add("folder", type=pathlib.Path, help="of files, or of prepared data")
  out = "a picture (.png) of some drawings of each class"
  add("--out", metavar="FILE", type=pathlib.Path, help=out)
  return parser.parse_args(argv)


def _run(argv: Sequence[str]) -> None:
  args = parse(argv)
  module = f"alcurr.data.quickdraw.{_COMMANDS[args.command][0]}"
  import_extra(module, extra="tfds", place=args.command).run(args)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 1 after a fault, 2 after a user's mistake."""
  return cli.status(lambda: _run(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
