"""Experiment trackers that show metrics.jsonl: TensorBoard, MLflow and W&B.

Each is a `Logger`, which gets every row while an experiment runs.
`python -m alcurr.experiments.loggers` sends the same rows later, from the files
of the experiment. No result depends on a logger.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import pkgutil
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from absl import logging

from alcurr.core import files, lock, paths, specs
from alcurr.core.errors import FaultError, UserError
from alcurr.core.redaction import redact
from alcurr.experiments.loggers import pictures, points
from alcurr.report import tables
from alcurr.report.gallery import read_gallery

__all__ = [
  "LOGGERS",
  "Experiment",
  "Logger",
  "LoggerGroup",
  "parse",
  "run_id",
  "workdir_id",
]

# A line of metrics.jsonl, with JSON's types: step, examples_seen, trial, ...
Row = dict[str, Any]

# A server, a database or a folder.
_URI = re.compile(
  r"(https?|file|(sqlite|postgresql|mysql|mssql)(\+\w+)?)://.+|databricks.*"
)


class Experiment(NamedTuple):
  """The experiment that a logger is created for."""

  workdir: pathlib.Path
  config: dict[str, Any]  # the content of config.json
  uri: str = ""  # of a server; "": the logger's default


class Logger:
  """Receives the rows and results of an experiment; any method may raise.

  One sampler is trained at a time, and each of its trials is a run of the
  tracker. The mean over the trials that did not diverge is another run, once
  all have finished. A repeated event changes nothing, so an experiment can be
  replayed.
  """

  how_to_view: str  # a command or an address

  def __init__(self, experiment: Experiment) -> None:
    self._workdir, self._config = experiment.workdir, experiment.config
    self._runs: list[Any] = []  # by trial

  def _open(
    self, name: str, trial: int | str, policy: pictures.PolicyMap
  ) -> Any:
    """Opens a run, with `add_rows`, `end` and `close`.

    The trial is a number, or a label such as "mean of 3".
    """
    raise NotImplementedError  # each tracker has its own

  def begin(self, name: str, rows: Sequence[Row]) -> None:
    """Starts a sampler's run, or resumes it after exactly these rows."""
    self.close()
    gallery = read_gallery(self._workdir)
    for trial in range(self._config["trials"]):
      policy = pictures.PolicyMap(self._workdir, name, gallery)
      self._runs.append(self._open(name, trial, policy))
      own = [row for row in rows if row["trial"] == trial]
      self._runs[trial].add_rows(own)
    self._name = name

  def write(self, row: Row) -> None:
    """Adds a row to the run that has begun."""
    self._runs[row["trial"]].add_rows([row])

  def end(self, result: dict[str, Any]) -> None:
    """Finishes the run, given its result.json."""
    # Trials that are added to the run may be missing yet.
    for run, trial in zip(self._runs, result["trials"], strict=False):
      step = trial.get("diverged_step")
      reason = f"step {step}: {trial['divergence_reason']}" if step else None
      values = points.row_points(trial, test=True)
      run.end(result["examples_seen"], values, reason)
    del self._runs[: len(result["trials"])]
    self.close()
    self._add_mean(result)

  def _add_mean(self, result: dict[str, Any]) -> None:
    """Adds the mean of the trials that did not diverge, if there are two."""
    diverged = tables.diverged_trials(result)
    trials = {
      i: trial for i, trial in enumerate(result["trials"]) if i not in diverged
    }
    if len(trials) < 2:
      return
    rows = read_rows(self._workdir / "runs" / self._name / "metrics.jsonl")
    gallery = read_gallery(self._workdir)
    policy = pictures.PolicyMap(self._workdir, self._name, gallery)
    run = self._open(self._name, f"mean of {len(trials)}", policy)
    run.add_rows(points.mean_rows(rows, trials.keys()))
    mean = points.mean_row(list(trials.values()))
    values = points.row_points(mean, test=True)
    run.end(result["examples_seen"], values, None)

  def replay(self, folder: pathlib.Path) -> None:
    """Sends what is in the folder of a run, finished or interrupted."""
    metrics, result = folder / "metrics.jsonl", folder / "result.json"
    if metrics.exists():
      self.begin(folder.name, read_rows(metrics))
      if result.exists():
        self.end(files.read_json(result))

  def report(self) -> None:
    """Adds the figures and the page of a finished experiment."""

  def close(self) -> None:
    """Ends the logging; a run without an `end` was interrupted."""
    for run in self._runs:
      run.close()
    self._runs = []


class LoggerKind(NamedTuple):
  """A logger that a config can name."""

  make: Callable[[Experiment], Logger]
  package: str  # that it imports
  install: str = ""  # what pip installs for it


def _make(name: str, experiment: Experiment) -> Logger:
  # A module is imported when it is used, which may take seconds.
  return pkgutil.resolve_name(f"{__name__}.{name}")(experiment)


_TENSORBOARD = functools.partial(_make, "tensorboard:TensorBoard")
_MLFLOW = functools.partial(_make, "mlflow:MLflow")
_WANDB = functools.partial(_make, "wandb:Wandb")
LOGGERS = {
  "tensorboard": LoggerKind(_TENSORBOARD, "tensorboardX", "tensorboardX"),
  "mlflow": LoggerKind(_MLFLOW, "mlflow", "alcurr[mlflow]"),
  "wandb": LoggerKind(_WANDB, "wandb", "alcurr[wandb]"),
}


class LoggerGroup(contextlib.AbstractContextManager):
  """A logger that forwards to several, and never raises.

  If one of them raises, a single warning is logged and nothing more is sent to
  it. They are created at the first event, so that a refused experiment leaves
  nothing behind.
  """

  def __init__(self, experiment: Experiment, names: Sequence[str]) -> None:
    self._experiment = experiment
    self._loggers: dict[str, Logger | None] = dict.fromkeys(names)

  def _send(self, event: str, *args: Any) -> None:
    args = files.plain(args)
    for name in list(self._loggers):
      # Whatever a tracker or its library raises, the training continues.
      try:
        if self._loggers[name] is None:
          # Two processes would create the same files.
          with lock.locked(self._experiment.workdir, wait=True):
            logger = LOGGERS[name].make(self._experiment)
          logging.info("%s: %s", name, logger.how_to_view)
          self._loggers[name] = logger
        getattr(self._loggers[name], event)(*args)
      except Exception as error:
        del self._loggers[name]
        logging.warning(
          "%s: %s. Nothing more is sent to it; to send everything later: "
          "python -m alcurr.experiments.loggers %s --to=%s",
          *(name, describe(error, self._experiment.uri)),
          *(self._experiment.workdir, name),
        )

  begin = functools.partialmethod(_send, "begin")
  write = functools.partialmethod(_send, "write")
  end = functools.partialmethod(_send, "end")
  replay = functools.partialmethod(_send, "replay")
  report = functools.partialmethod(_send, "report")

  def __exit__(self, *_) -> None:
    self._loggers = {n: logger for n, logger in self._loggers.items() if logger}
    self._send("close")


def describe(error: Exception, uri: str = "") -> str:
  """Returns an error in one line, with its type if another library raised.

  Without a password, which libraries repeat from the tracker's `uri`.
  """
  lines = redact(str(error), uri).strip().splitlines() or [""]
  ours = isinstance(error, UserError | FaultError)
  kind = "" if ours else f"{type(error).__name__}: "
  return f"{kind}{lines[0].rstrip('.')}".rstrip(": ")


def workdir_id(folder: pathlib.Path) -> str:
  """Returns the workdir's id, made at the first call.

  It is kept in `folder`, a tracker's own in the workdir.
  """
  path = folder / "experiment.json"
  if not path.exists():
    files.write_json(path, {"id": uuid.uuid4().hex})
  return files.read_json(path)["id"]


def run_id(workdir_id: str, title: str) -> str:
  """Returns the id of a workdir's run of a title, the same at each call."""
  content = f"{workdir_id}/{title}".encode()
  return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_rows(path: pathlib.Path) -> list[Row]:
  """Reads the complete lines of a metrics.jsonl."""
  content = files.read_bytes(path)
  # A killed run may have written half a line.
  complete = content[: content.rfind(b"\n") + 1]
  return [json.loads(line) for line in complete.splitlines()]


def parse(
  text: str, uri: str = "", workdir: pathlib.Path | None = None
) -> list[str]:
  """Returns the loggers of `config.tracking`: "none", or names with commas.

  Raises:
    UserError: a logger is unknown, repeated or not installed, cannot write to
      the workdir, or the `config.tracking_uri` is none or of no use.
  """
  names = [name.strip() for name in text.split(",")]
  for name in names:
    specs.check_choice("tracking", name, ["none", *LOGGERS])
  if len(set(names)) < len(names) or (len(names) > 1 and "none" in names):
    problem = f"expected different names, or none, got {specs.quoted(text)}"
    raise UserError("conflict", "tracking", problem)
  names = [name for name in names if name != "none"]
  for name in names:
    _, package, install = LOGGERS[name]
    if importlib.util.find_spec(package) is None:
      problem = f"{name} needs {package}: pip install '{install}'"
      raise UserError("package", "tracking", problem)
  uses_server = uri or os.environ.get("MLFLOW_TRACKING_URI")
  if workdir and "mlflow" in names and not uses_server:
    paths.sqlite_url(workdir, "tracking")
  if uri and "mlflow" not in names:
    problem = "only mlflow uses it; add --config.tracking=mlflow, or clear it"
    raise UserError("conflict", "tracking_uri", problem)
  if uri and not _URI.fullmatch(uri):
    example = "http://127.0.0.1:5000 or sqlite:///mlflow.db"
    problem = f"expected an address such as {example}, got {specs.quoted(uri)}"
    raise UserError("syntax", "tracking_uri", problem)
  return names
