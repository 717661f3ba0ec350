"""python -m alcurr.data prepare SOURCE OUT, and what else is done to files."""

import argparse
import sys
from collections.abc import Sequence

from alcurr.core import cli
from alcurr.core.errors import FaultError, UserError
from alcurr.data.quickdraw import (
  download,
  inspection,
  preparation,
  tfds_builder,
)

# What a fault leaves.
_GOES_ON = "the same command goes on from what is there."
_BEGINS_AGAIN = "the same command begins again."

_COMMANDS = {
  "download": (
    download,
    "bring Google's files from its public bucket",
    _GOES_ON,
  ),
  "prepare": (
    preparation,
    "pack a folder of files into arrays that are mapped",
    _GOES_ON,
  ),
  "tfds": (
    tfds_builder,
    "make a set of TensorFlow Datasets of such a folder",
    _BEGINS_AGAIN,
  ),
  "inspect": (
    inspection,
    "count and draw what is in such a folder",
    _BEGINS_AGAIN,
  ),
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = cli.Parser(
    prog="python -m alcurr.data",
    description="Quick, Draw! files before an experiment reads them.",
  )
  commands = parser.add_subparsers(metavar="COMMAND", required=True)
  for name, (module, what, again) in _COMMANDS.items():
    command = commands.add_parser(name, help=what, description=module.__doc__)
    module.add_arguments(command)
    command.set_defaults(run=module.run, again=again)
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 1 after a fault, 2 after a user's mistake."""
  try:
    args = parse(argv)
    args.run(args)
  except UserError as error:
    return cli.say(error, 2)
  except (FaultError, MemoryError, OSError) as error:
    return cli.say(f"{error}; {args.again}", 1)
  except KeyboardInterrupt:
    return cli.say(f"stopped; {args.again}", 130)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
