"""python -m alcurr.data COMMAND: Quick, Draw! files before an experiment."""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

from alcurr.core import cli
from alcurr.core.errors import FaultError, UserError

_BUCKET = "https://storage.googleapis.com/quickdraw_dataset/full"


def _download(args: argparse.Namespace) -> None:
  from alcurr.data.quickdraw import download

  download.run(args)


def _prepare(args: argparse.Namespace) -> None:
  from alcurr.data.quickdraw import preparation

  preparation.run(args)


def _tfds(args: argparse.Namespace) -> None:
  from alcurr.data.quickdraw import tfds_builder

  tfds_builder.run(args)


def _inspect(args: argparse.Namespace) -> None:
  from alcurr.data.quickdraw import inspection

  inspection.run(args)


def parse(argv: Sequence[str]) -> argparse.Namespace:
  """Parses the command line; `run` of the result is the command."""
  parser = cli.Parser(
    prog="python -m alcurr.data",
    description="Quick, Draw! files before an experiment reads them.",
  )
  commands = parser.add_subparsers(metavar="COMMAND", required=True)

  def add(
    run: Callable[[argparse.Namespace], None], text: str, resumes: bool
  ) -> tuple[Callable, Callable]:
    name = run.__name__.removeprefix("_")
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run, rerun="resumes" if resumes else "starts over")

    def path(name: str, text: str) -> None:
      command.add_argument(name, type=pathlib.Path, help=text)

    return command.add_argument, path

  option, path = add(_download, "download Google's files", resumes=True)
  forms = ("simplified", "raw", "binary", "numpy_bitmap")
  option("form", metavar="NAME", choices=forms, help=", ".join(forms))
  path("out", "a folder; the same command resumes a broken download")
  option("--classes", metavar="NAMES", help="with commas, such as cat,dog")
  option(
    "--categories",
    metavar="FILE",
    help="a file with a name on each line; all: Google's 345 names",
  )
  option("--yes", action="store_true", help="do not ask about the size")
  option(
    "--base",
    metavar="URL",
    default=_BUCKET,
    help="a mirror with <NAME>/<class>.<ending>; default %(default)s",
  )

  option, path = add(_prepare, "pack files into mapped arrays", resumes=True)
  path("source", "a folder of <class>.ndjson, .bin, .csv or bitmap .npy files")
  path("out", "a new folder; the same command resumes a killed one")
  option(
    "--on-error",
    choices=("raise", "skip"),
    default="raise",
    help="stop at the first bad drawing, or skip and count them",
  )

  option, path = add(_tfds, "make a set of TensorFlow Datasets", resumes=False)
  path("source", "a folder of <class>.ndjson, .bin or .csv files")
  path("out", "a folder of sets, such as ~/tensorflow_datasets")

  option, path = add(_inspect, "count and draw drawings", resumes=False)
  path("folder", "files, or what prepare made of them")
  option(
    "--out",
    metavar="FILE",
    type=pathlib.Path,
    help="a picture (.png) of some drawings of each class",
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 1 after a fault, 2 after a user's mistake."""
  rerun = "starts over"
  try:
    args = parse(argv)
    rerun = args.rerun
    args.run(args)
  except UserError as error:
    return cli.say(error, 2)
  except (FaultError, MemoryError, OSError) as error:
    return cli.say(f"{error}; the same command {rerun}", 1)
  except KeyboardInterrupt:
    return cli.say(f"stopped; the same command {rerun}", 130)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
