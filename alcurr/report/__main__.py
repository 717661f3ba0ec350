"""python -m alcurr.report DIR [DIR ...] [--out FILE]"""

import pathlib
import sys
from collections.abc import Sequence

from alcurr.core import cli
from alcurr.report import page


def _report(argv: Sequence[str]) -> None:
  parser = cli.Parser(
    prog="alcurr report",
    example="alcurr report runs/first runs/second --out=both.html",
    description="Rebuilds an experiment's figures and report.html from its "
    "files. Several experiments are compared on one page.",
  )
  parser.add_argument(
    "workdirs",
    metavar="DIR",
    nargs="+",
    type=pathlib.Path,
    help="an experiment's folder, the --workdir of alcurr run",
  )
  parser.add_argument(
    "--out",
    metavar="FILE",
    type=pathlib.Path,
    help="the page; by default DIR/report.html, or ./report.html for several",
  )
  args = parser.parse_args(argv)
  folder = args.workdirs[0] if len(args.workdirs) == 1 else pathlib.Path.cwd()
  out = args.out or folder / "report.html"
  page.write_report(args.workdirs, out, "--out")
  print(out)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _report(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
