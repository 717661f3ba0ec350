"""Where the rows of metrics.jsonl go as well: TensorBoard, MLflow.

A tracker is fed while an experiment runs (`beside.py`), or later from what it
has left (`python -m alcurr.experiments.loggers`): the same calls with the same rows. What
an experiment finds does not depend on it, nor whether it finds it.
"""

import importlib.util
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from alcurr.core import specs
from alcurr.core.errors import UserError

# A line of metrics.jsonl, of JSON's types: step, examples_seen, trial, ...
Row = dict[str, Any]

NONE = "none"
# MLflow's own settings, where the user has none: a server that is away is to
# be known of soon, and nothing is told to MLflow's makers.
_MLFLOW = {
  "MLFLOW_DISABLE_TELEMETRY": "true",
  "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
  "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
  # Standard output has the table of the experiment.
  "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# What MLflow speaks to: a server, a database, or a folder.
_URI = re.compile(
  r"(https?|file|(sqlite|postgresql|mysql|mssql)(\+\w+)?)://.+|databricks.*"
)


class Experiment(NamedTuple):
  workdir: pathlib.Path
  config: dict[str, Any]  # of config.json
  uri: str = ""  # of a server; "": the tracker's own choice


class Tracker(Protocol):
  """What shows the runs of an experiment; all of it may raise.

  It is made and called by one thread, and may be told what it has been told
  before: that changes nothing.
  """

  look: str  # the command or the address that shows it

  def begin(self, name: str, rows: Sequence[Row]) -> None:
    """A sampler's run begins, or goes on after these rows and no others."""

  def write(self, name: str, rows: Sequence[Row]) -> None:
    """More rows of a run that has begun."""

  def end(self, name: str, result: dict[str, Any]) -> None:
    """A run is finished; `result` is its result.json."""

  def report(self) -> None:
    """The experiment is finished: its figures and its page are there."""

  def close(self) -> None:
    """No more is to come; runs that did not end were cut off."""


class Kind(NamedTuple):
  # Imports what it takes, which can take seconds, and gives what makes it.
  load: Callable[[], Callable[[Experiment], Tracker]]
  package: str  # that it is made of
  extra: str  # of this project, which brings the package; "": always there


def _tensorboard() -> Callable[[Experiment], Tracker]:
  # Where there is PyTorch, tensorboardX imports it.
  from alcurr.experiments.loggers.tensorboard import TensorBoard

  return TensorBoard


def _mlflow() -> Callable[[Experiment], Tracker]:
  for name, value in _MLFLOW.items():
    os.environ.setdefault(name, value)
  from alcurr.experiments.loggers.mlflow import MLflow

  return MLflow


TRACKERS = {
  "tensorboard": Kind(_tensorboard, "tensorboardX", ""),
  "mlflow": Kind(_mlflow, "mlflow", "mlflow"),
}


def parse(text: str) -> list[str]:
  """The trackers of `config.tracking`: "none", or names with commas.

  Raises:
    UserError: one that there is not, or that is not installed.
  """
  names = [name.strip() for name in text.split(",")]
  if names == [NONE]:
    return []
  for name in names:
    if name not in (NONE, *TRACKERS):
      raise UserError(
        f"tracking: no {specs.quoted(name)}. "
        f"{specs.nearest(name, [NONE, *TRACKERS])}"
      )
  if NONE in names or len(set(names)) < len(names):
    raise UserError(
      f"tracking={specs.quoted(text)}: name each tracker once, with commas "
      "between them, or none alone."
    )
  for name in names:
    _check_installed(name)
  return names


def _check_installed(name: str) -> None:
  """Refuses a tracker whose package is missing; it is not imported."""
  kind = TRACKERS[name]
  if importlib.util.find_spec(kind.package) is None:
    wanted = f"alcurr[{kind.extra}]" if kind.extra else kind.package
    raise UserError(
      f"tracking={name} needs the package {kind.package}: pip install "
      f"'{wanted}', or choose another."
    )


def check(text: str, uri: str) -> None:
  """Refuses what is wrong in `config.tracking` and `config.tracking_uri`."""
  names = parse(text)
  if uri and "mlflow" not in names:
    raise UserError(
      f"tracking_uri={specs.quoted(uri)} is MLflow's; add "
      "--config.tracking=mlflow, or leave it out."
    )
  if uri and not _URI.fullmatch(uri):
    raise UserError(
      f"tracking_uri={specs.quoted(uri)}: write an address such as "
      "http://127.0.0.1:5000 or sqlite:///mlflow.db."
    )
