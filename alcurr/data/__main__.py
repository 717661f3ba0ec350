"""python -m alcurr.data prepare SOURCE OUT, and what else is done to files."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from alcurr.data import download, inspection, prepare
from alcurr.errors import FaultError, UserError

_COMMANDS = {
  "download": (download, "bring Google's files from its public bucket"),
  "prepare": (prepare, "pack a folder of files into arrays that are mapped"),
  "inspect": (inspection, "count and draw what is in such a folder"),
}


class _Parser(argparse.ArgumentParser):
  """Tells a mistake in the arguments as every other is told."""

  def error(self, message: str) -> NoReturn:
    raise UserError(f"{message}; see {self.prog} --help.")


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = _Parser(
    prog="python -m alcurr.data",
    description="Quick, Draw! files before an experiment reads them.",
  )
  commands = parser.add_subparsers(metavar="COMMAND", required=True)
  for name, (module, what) in _COMMANDS.items():
    command = commands.add_parser(name, help=what, description=module.__doc__)
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 1 after a fault, 2 after a user's mistake."""
  try:
    args = parse(argv)
    args.run(args)
  except UserError as error:
    return _told(str(error), 2)
  except (FaultError, MemoryError, OSError) as error:
    return _told(f"{error}; the same command goes on from what is there.", 1)
  except KeyboardInterrupt:
    return _told("stopped; the same command goes on from what is there.", 130)
  return 0


def _told(text: str, status: int) -> int:
  print(f"alcurr: {text}", file=sys.stderr)
  return status


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
