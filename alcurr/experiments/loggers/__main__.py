"""python -m alcurr.experiments.loggers DIR [--to=NAME] [--uri=ADDRESS]"""

import contextlib
import pathlib
import sys
from collections.abc import Sequence

from alcurr.core import cli, lock, paths
from alcurr.core.errors import FaultError
from alcurr.experiments import loggers
from alcurr.experiments.workdir import read_record
from alcurr.report import tables


def send(workdir: pathlib.Path, to: str, uri: str = "") -> str:
  """Sends an experiment from its files; returns what shows it.

  Args:
    workdir: of the experiment, finished or interrupted.
    to: the tracker, a key of `loggers.LOGGERS`.
    uri: of MLflow's server or database; "": the environment's or the workdir's.

  Raises:
    UserError: no experiment, a running one, or a tracker that is not installed.
    FaultError: the tracker failed.
  """
  loggers.parse(to, uri, workdir)
  paths.check_can_make(workdir, "DIR")
  fields = ("samplers", "baseline", "trials")
  config = read_record(workdir / "config.json", *fields)
  names = tables.sampler_names(workdir)
  # A running experiment writes to its trackers itself.
  with contextlib.ExitStack() as stack:
    for name in ("", *names):
      stack.enter_context(lock.locked(workdir, "DIR", name))
    try:
      experiment = loggers.Experiment(workdir, config, uri)
      logger = loggers.LOGGERS[to].make(experiment)
      for name in names:
        logger.replay(workdir / "runs" / name)
      if (workdir / "report.html").exists():
        logger.report()
      logger.close()
      return logger.how_to_view
    except Exception as error:  # of any library
      raise FaultError("tracker", to, loggers.describe(error, uri)) from error


def _send(argv: Sequence[str]) -> None:
  parser = cli.Parser(
    prog="alcurr track",
    example="alcurr track runs/quickstart --to=tensorboard",
    description="Sends an experiment to a tracker, from its files. Points that "
    "the tracker already has are not repeated.",
  )
  parser.add_argument(
    "workdir",
    metavar="DIR",
    type=pathlib.Path,
    help="an experiment's folder, the --workdir of alcurr run",
  )
  parser.add_argument(
    "--to",
    choices=list(loggers.LOGGERS),
    default="tensorboard",
    help="the tracker; default %(default)s",
  )
  parser.add_argument(
    "--uri",
    metavar="ADDRESS",
    default="",
    help="MLflow's server or database; default $MLFLOW_TRACKING_URI, or "
    "DIR/mlflow",
  )
  args = parser.parse_args(argv)
  print(send(args.workdir, args.to, args.uri))


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _send(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
