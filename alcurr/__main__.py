"""alcurr COMMAND: every command of the project; `python -m alcurr` likewise.

A command's modules are imported only when it is run.
"""

import importlib
import sys
from collections.abc import Sequence

from alcurr.core import startup, terminal
from alcurr.experiments import preemption

# The module of each command, which has `main(argv) -> status`, and a summary.
COMMANDS = {
  "run": ("alcurr.main", "train with each sampler of a config, and compare"),
  "report": ("alcurr.report.__main__", "rebuild a report, or join several"),
  "data": ("alcurr.data.__main__", "download, pack and look at drawings"),
  "tune": ("alcurr.experiments.tune.__main__", "find settings of a config"),
  "predict": ("alcurr.experiments.predict", "classify new drawings"),
  "track": ("alcurr.experiments.loggers.__main__", "send a run to a tracker"),
  "list": ("alcurr.experiments.listing", "name configs, samplers, models"),
}


def usage() -> str:
  """Returns the text of `alcurr --help`."""
  lines = terminal.columns({n: text for n, (_, text) in COMMANDS.items()})
  return "\n".join(
    [
      "usage: alcurr COMMAND [...]",
      "",
      "Which examples should my model train on next?",
      "",
      *lines,
      "",
      "`alcurr COMMAND --help` has the options of a command.",
      "To begin: alcurr run quickstart",
    ]
  )


def run(argv: Sequence[str]) -> int:
  """Runs the command that the arguments name; returns the exit status."""
  name = argv[0] if argv else "--help"
  if name in ("--help", "-h", "help"):
    print(usage())
    return 0
  if name == "--version":
    from alcurr import __version__

    print(f"alcurr {__version__}")
    return 0
  if name not in COMMANDS:
    from alcurr.core import cli, specs
    from alcurr.core.errors import UserError

    hint = specs.did_you_mean(name, COMMANDS)
    text = f"no such command{hint}; see alcurr --help"
    return cli.say(UserError("unknown", name, text), 2)
  module = importlib.import_module(COMMANDS[name][0])
  return _train(argv[1:]) if name == "run" else module.main(argv[1:])


def _train(argv: Sequence[str]) -> int:
  """Runs `alcurr.main` with a config that is named without --config."""
  from absl import app

  from alcurr import main
  from alcurr.experiments import command

  first, *others = argv or ["--help"]
  first = first if first.startswith("-") else f"--config={first}"
  options = ["alcurr run", first, *others]
  return app.run(main.main, options, flags_parser=command.parse_flags)


def main() -> None:
  """The console command `alcurr`."""
  # `python -m alcurr` has done all three, as the package was imported.
  if __name__ != "__main__":
    startup.prepare()
    preemption.watch_process()
    sys.path.append("")  # for the modules that a config of the user's imports
  sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
  main()
