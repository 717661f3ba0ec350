"""python -m alcurr.experiments.loggers DIR [--to=NAME] [--uri=ADDRESS]"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from alcurr.core import cli, files, lock
from alcurr.core.errors import FaultError, UserError
from alcurr.experiments import loggers
from alcurr.experiments.loggers import background
from alcurr.report import tables


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = cli.Parser(
    prog="python -m alcurr.experiments.loggers",
    description="Shows an experiment in a tracker, from the files alone that "
    "it has left; what the tracker has already is not shown twice.",
  )
  parser.add_argument(
    "workdir",
    metavar="DIR",
    type=pathlib.Path,
    help="an experiment's folder, the --workdir of alcurr.main",
  )
  parser.add_argument(
    "--to",
    choices=list(loggers.TRACKERS),
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
  return parser.parse_args(argv)


def track(workdir: pathlib.Path, to: str, uri: str = "") -> str:
  """Tells a tracker all that an experiment has left.

  Args:
    workdir: of the experiment, finished or cut off.
    to: name of the tracker.
    uri: MLflow's server or database; "": the environment's, or the workdir's.

  Returns:
    The command or the address that shows it.

  Raises:
    UserError: no experiment, one that runs, or a tracker that is not there.
    FaultError: the tracker failed.
  """
  loggers.check(to, uri)
  record = workdir / "config.json"
  config = files.read_record(record) if record.exists() else None
  if not config or not {"samplers", "baseline", "trials"} <= config.keys():
    raise UserError(
      f"{workdir} is no experiment: it has no config.json of one."
    )
  names = tables.sampler_names(workdir)
  experiment = loggers.Experiment(workdir, config, uri)
  # While it runs it tells its trackers itself.
  with lock.locked(workdir, "DIR"):
    try:
      tracker = loggers.TRACKERS[to].load()(experiment)
      background.replay(tracker, workdir, names)
      return tracker.look
    # Of whosever library: the user asked for this tracker alone.
    except Exception as error:
      raise FaultError(
        f"{to}: {background.in_words(error)}; mend that and run it again."
      ) from error


def _track(argv: Sequence[str]) -> None:
  args = parse(argv)
  print(track(args.workdir, args.to, args.uri))


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _track(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
