"""python -m alcurr.report DIR [DIR ...] [--out FILE]"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from alcurr.core import cli
from alcurr.core.errors import UserError
from alcurr.report import page


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = cli.Parser(
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


def _report(argv: Sequence[str]) -> None:
  args = parse(argv)
  alone = len(args.workdirs) == 1
  folder = args.workdirs[0] if alone else pathlib.Path()
  out = args.out or folder / "report.html"
  if out.is_dir():
    raise UserError(f"--out {out} is a folder; name a file.")
  page.write_report(args.workdirs, out)
  print(out)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _report(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
