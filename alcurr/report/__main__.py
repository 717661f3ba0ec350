"""python -m alcurr.report DIR [DIR ...] [--out FILE]"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from alcurr.errors import UserError
from alcurr.report import page


class _Parser(argparse.ArgumentParser):
  """Tells a mistake in the arguments as every other is told."""

  def error(self, message: str) -> NoReturn:
    raise UserError(f"{message}; see python -m alcurr.report --help.")


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = _Parser(
    prog="python -m alcurr.report",
    description="Rebuilds an experiment's figures and report.html from its "
    "files alone; of several experiments, one page that compares them.",
  )
  parser.add_argument(
    "workdirs",
    metavar="DIR",
    nargs="+",
    type=pathlib.Path,
    help="an experiment's folder, the --workdir of alcurr.main",
  )
  parser.add_argument(
    "--out",
    metavar="FILE",
    type=pathlib.Path,
    help="the page; default DIR/report.html, ./report.html of several",
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, or 2 after a user's mistake."""
  try:
    args = parse(argv)
    alone = len(args.workdirs) == 1
    folder = args.workdirs[0] if alone else pathlib.Path()
    out = args.out or folder / "report.html"
    if out.is_dir():
      raise UserError(f"--out {out} is a folder; name a file.")
    page.write_report(args.workdirs, out)
  except UserError as error:
    print(f"alcurr: {error}", file=sys.stderr)
    return 2
  print(out)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
