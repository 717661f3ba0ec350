"""Experiment trackers that show metrics.jsonl: TensorBoard and MLflow.

Each is a `Logger`. The runner sends it every row while an experiment runs, and
`python -m alcurr.experiments.loggers` sends the same rows later, from the files
of the experiment. No result depends on a logger.
"""

import importlib.util
import json
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from absl import logging

from alcurr.core import files, specs
from alcurr.core.errors import FaultError, UserError

__all__ = [
  "LOGGERS",
  "Experiment",
  "Logger",
  "LoggerGroup",
  "LoggerKind",
  "Row",
  "check",
  "describe",
  "parse",
  "read_rows",
  "replay",
]

# A line of metrics.jsonl, with JSON's types: step, examples_seen, trial, ...
Row = dict[str, Any]

NONE = "none"
# Defaults for MLflow: notice an absent server soon, send no telemetry.
_MLFLOW_ENVIRONMENT = {
  "MLFLOW_DISABLE_TELEMETRY": "true",
  "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
  "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
  # Standard output is for the table of the experiment.
  "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# A server, a database or a folder.
_URI = re.compile(
  r"(https?|file|(sqlite|postgresql|mysql|mssql)(\+\w+)?)://.+|databricks.*"
)


class Experiment(NamedTuple):
  """The experiment that a logger is created for."""

  workdir: pathlib.Path
  config: dict[str, Any]  # the content of config.json
  uri: str = ""  # of a server; "": the logger's default


class Logger(Protocol):
  """Receives the rows and results of an experiment; any method may raise.

  A repeated event changes nothing, so an experiment can be replayed.
  """

  how_to_view: str  # a command or an address

  def begin(self, name: str, rows: Sequence[Row]) -> None:
    """Starts a sampler's run, or resumes it after exactly these rows."""

  def write(self, name: str, row: Row) -> None:
    """Adds a row to a run that has begun."""

  def end(self, name: str, result: dict[str, Any]) -> None:
    """Finishes a run, given its result.json."""

  def report(self) -> None:
    """Adds the figures and the page of a finished experiment."""

  def close(self) -> None:
    """Ends the logging; runs without an `end` were interrupted."""


class LoggerKind(NamedTuple):
  """A logger that a config can name."""

  make: Callable[[Experiment], Logger]
  package: str  # that it imports
  extra: str = ""  # of this project that installs the package, if any


def _tensorboard(experiment: Experiment) -> Logger:
  from alcurr.experiments.loggers import tensorboard  # may import PyTorch

  return tensorboard.TensorBoard(experiment)


def _mlflow(experiment: Experiment) -> Logger:
  for name, value in _MLFLOW_ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  from alcurr.experiments.loggers import mlflow  # seconds, and reads them

  return mlflow.MLflow(experiment)


LOGGERS = {
  "tensorboard": LoggerKind(_tensorboard, "tensorboardX"),
  "mlflow": LoggerKind(_mlflow, "mlflow", "mlflow"),
}


class LoggerGroup:
  """A logger that forwards to several, and never raises.

  If one of them raises, a single warning is logged and nothing more is sent to
  it. They are created at the first event, so that a refused experiment leaves
  nothing behind.
  """

  def __init__(self, experiment: Experiment, names: Sequence[str]) -> None:
    self._experiment = experiment
    self._loggers: dict[str, Logger | None] = dict.fromkeys(names)

  def __enter__(self) -> "LoggerGroup":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def begin(self, name: str, rows: Sequence[Row]) -> None:
    self._send(lambda logger: logger.begin(name, rows))

  def write(self, name: str, row: Row) -> None:
    row = files.plain(row)
    self._send(lambda logger: logger.write(name, row))

  def end(self, name: str, result: dict[str, Any]) -> None:
    self._send(lambda logger: logger.end(name, result))

  def replay(self, name: str) -> None:
    """Sends what is on disk of a finished run."""
    folder = self._experiment.workdir / "runs" / name
    self._send(lambda logger: replay(logger, folder))

  def report(self) -> None:
    self._send(lambda logger: logger.report())

  def close(self) -> None:
    created = [name for name, logger in self._loggers.items() if logger]
    self._loggers = {name: self._loggers[name] for name in created}
    self._send(lambda logger: logger.close())

  def _send(self, event: Callable[[Logger], None]) -> None:
    for name in list(self._loggers):
      # Whatever a tracker or its library raises, the training continues.
      try:
        event(self._loggers[name] or self._make(name))
      except Exception as error:
        del self._loggers[name]
        logging.warning(
          "%s: %s. Nothing more is sent to it; to send everything later: "
          "python -m alcurr.experiments.loggers %s --to=%s",
          *(name, describe(error), self._experiment.workdir, name),
        )

  def _make(self, name: str) -> Logger:
    logger = LOGGERS[name].make(self._experiment)
    logging.info("%s: %s", name, logger.how_to_view)
    self._loggers[name] = logger
    return logger


def describe(error: Exception) -> str:
  """Returns an error in one line, with its type if another library raised."""
  lines = str(error).strip().splitlines() or [""]
  ours = isinstance(error, UserError | FaultError)
  kind = "" if ours else f"{type(error).__name__}: "
  return f"{kind}{lines[0].rstrip('.')}".rstrip(": ")


def read_rows(path: pathlib.Path) -> list[Row]:
  """Reads the complete lines of a metrics.jsonl."""
  content = path.read_bytes()
  # A killed run may have written half a line.
  complete = content[: content.rfind(b"\n") + 1]
  return [json.loads(line) for line in complete.splitlines()]


def replay(logger: Logger, folder: pathlib.Path) -> None:
  """Sends the rows of a run and, if it has finished, its result.

  Args:
    logger: to send to.
    folder: of the run; without a metrics.jsonl nothing is sent.
  """
  metrics, result = folder / "metrics.jsonl", folder / "result.json"
  if metrics.exists():
    logger.begin(folder.name, read_rows(metrics))
    if result.exists():
      logger.end(folder.name, files.read_json(result))


def parse(text: str) -> list[str]:
  """Returns the loggers of `config.tracking`: "none", or names with commas.

  Raises:
    UserError: a logger is unknown, repeated or not installed.
  """
  names = [name.strip() for name in text.split(",")]
  if names == [NONE]:
    return []
  for name in names:
    specs.check_choice("tracking", name, [NONE, *LOGGERS])
  if NONE in names or len(set(names)) < len(names):
    problem = f"expected different names, or none, got {specs.quoted(text)}"
    raise UserError("conflict", "tracking", problem)
  for name in names:
    kind = LOGGERS[name]
    if importlib.util.find_spec(kind.package) is None:
      wanted = f"alcurr[{kind.extra}]" if kind.extra else kind.package
      problem = f"{name} needs {kind.package}: pip install '{wanted}'"
      raise UserError("package", "tracking", problem)
  return names


def check(text: str, uri: str) -> None:
  """Refuses wrong values of `config.tracking` and `config.tracking_uri`."""
  names = parse(text)
  if uri and "mlflow" not in names:
    problem = "only mlflow uses it; add --config.tracking=mlflow, or clear it"
    raise UserError("conflict", "tracking_uri", problem)
  if uri and not _URI.fullmatch(uri):
    example = "http://127.0.0.1:5000 or sqlite:///mlflow.db"
    problem = f"expected an address such as {example}, got {specs.quoted(uri)}"
    raise UserError("syntax", "tracking_uri", problem)
