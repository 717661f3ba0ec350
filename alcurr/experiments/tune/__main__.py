"""python -m alcurr.experiments.tune lr|grid|search --config=FILE [...]"""

import pathlib
import sys
from collections.abc import Sequence

from alcurr.core import cli
from alcurr.experiments.tune import grid, lr, search, trials

# The module of each command, and the arguments of its example.
_COMMANDS = {
  "lr": (lr, "--steps=100"),
  "grid": (grid, "batch_size=32,64"),
  "search": (search, f"{trials.RATE}=1e-4..1e-1:log --count=20"),
}


def _example(name: str) -> str:
  return f"alcurr tune {name} --config=quickstart {_COMMANDS[name][-1]}"


def tune(argv: Sequence[str]) -> None:
  """Runs a command and prints its results; a mistake is a UserError."""
  parser = cli.Parser(
    prog="alcurr tune",
    example=_example("grid"),
    description="Finds settings of an experiment before it is run. Any field "
    "of its config can be set too, as in --config.data.dir=DIR.",
  )
  commands = parser.add_subparsers(required=True, metavar="lr|grid|search")
  for name, (module, _) in _COMMANDS.items():
    text = module.run.__doc__.splitlines()[0]
    command = commands.add_parser(
      name, help=text, description=text, example=_example(name)
    )
    for argument, options in {
      "--config": {"required": True, "help": "as for alcurr run"},
      "--sampler": {"help": "one of the config's; default its baseline"},
      "--out": {
        "type": pathlib.Path,
        "default": f"runs/tune_{name}",
        "help": "the folder of table and plot; default %(default)s",
      },
      **module.ARGUMENTS,
    }.items():
      command.add_argument(argument, **options)
    resumes = getattr(module, "STUDY", None)
    command.set_defaults(run=module.run, resumes=resumes)
  # argparse takes an option with a blank in its value for an argument.
  options = [arg for arg in argv if arg.startswith("--config.")]
  rest = [arg for arg in argv if arg not in options]
  args, unknown = parser.parse_known_args(rest)
  print(args.run(trials.load_config(args, [*options, *unknown]), args))
  print(f"\nTable and plot: {args.out}")


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: tune(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
