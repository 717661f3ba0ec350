"""python -m alcurr.main --config=configs/<x>.py [--workdir=DIR] [...]"""

from absl import app, flags

from alcurr.core import cli, log_lines
from alcurr.experiments import command, preemption
from alcurr.training import processes

_FLAGS = (
  flags.DEFINE_string(
    "config", None, "The experiment's config; --config.x=1 sets its field x."
  ),
  flags.DEFINE_string(
    "workdir", None, "The experiment's folder; default runs/<config's name>."
  ),
  flags.DEFINE_boolean(
    "compilation_cache", True, "Save compiled programs next to the workdir."
  ),
  flags.DEFINE_list(
    "runs", None, "Samplers to run here, with commas; default all."
  ),
  flags.DEFINE_string(
    "launch", None, "Runs in processes of their own: local, local:2 or slurm."
  ),
  flags.DEFINE_boolean(
    "distributed", False, "Run on many hosts, see docs/parallel.md."
  ),
  flags.DEFINE_boolean(
    "profile", False, "Trace a chunk of each run: runs/<sampler>/profile."
  ),
)


def main(argv: list[str]) -> int:
  log_lines.show()
  given = command.Command(**{flag.name: flag.value for flag in _FLAGS})
  try:
    status = cli.status(lambda: command.run(given, argv[1:]))
    processes.leave(status)
    return status
  except preemption.Stopped as stopped:
    return cli.say(stopped, stopped.status)


if __name__ == "__main__":
  app.run(main, flags_parser=command.parse_flags)
