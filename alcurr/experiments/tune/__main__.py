"""python -m alcurr.experiments.tune lr|grid|search --config=FILE [...]"""

import sys
from collections.abc import Sequence

from alcurr.core import cli
from alcurr.experiments.tune import grid, lr, search


def _tune(argv: Sequence[str]) -> None:
  parser = cli.Parser(
    prog="python -m alcurr.experiments.tune",
    description="Finds settings of an experiment before it is run. Any field "
    "of its config can be set too, as in --config.data.dir=DIR.",
  )
  commands = parser.add_subparsers(required=True, metavar="lr|grid|search")
  for command in (lr, grid, search):
    command.add_command(commands)
  # argparse takes an option with a blank in its value for an argument.
  options = [arg for arg in argv if arg.startswith("--config.")]
  rest = [arg for arg in argv if arg not in options]
  args, unknown = parser.parse_known_args(rest)
  args.run(args, [*options, *unknown])


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _tune(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
