"""MLflow: an experiment with a run for each sampler and trial.

The figures and the report are a run of a second experiment, since a run
without curves would clutter the comparison of the others.

    mlflow/experiment.json   identifies the runs of this workdir on any server
    mlflow/mlflow.db         the database, unless a server is named
    mlflow/artifacts/        its files, unless a server is named

Points that a server already has are not sent again.
"""

import itertools
import logging as std_logging
import os
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

# Defaults, which MLflow's import reads: notice an absent server soon, send no
# telemetry, and leave standard output to the table of the experiment.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from alcurr.core import files, paths
from alcurr.core.errors import UserError
from alcurr.core.redaction import redact, redact_record
from alcurr.experiments.loggers import (
  Experiment,
  Logger,
  pictures,
  points,
  run_id,
  workdir_id,
)
from alcurr.report.style import styles

FOLDER = "mlflow"
_SQLITE = "sqlite:///"
# MLflow's limits: 1000 metrics a request, parameters a request, their text.
_MAX_ROWS = 1000 // len(points.CURVES)
_MAX_PARAMS = 100
_MAX_TEXT = 6000
_ID_TAG = "alcurr.run"
# A line above the run table, unless the user has replaced it.
_NOTE_TAG = "mlflow.note.content"
_NOTE = "A step is an example seen"
_LINK = (
  "{}; the experiment's [report and figures](#/experiments/{}/runs/{}/"
  "artifacts/report.html?workflowType=machine_learning)."
)
_FILES = ("config.json", "results.csv", "summary.csv", "report.html")


class MLflow(Logger):
  """A `Logger`; the step of a point is its number of examples seen."""

  def __init__(self, experiment: Experiment) -> None:
    # They list each table of a new database.
    for name in ("alembic", "mlflow.store.db"):
      std_logging.getLogger(name).setLevel(std_logging.WARNING)
    for handler in std_logging.getLogger("mlflow").handlers:
      handler.addFilter(redact_record)
    super().__init__(experiment)
    folder = self._workdir / FOLDER
    uri = experiment.uri or os.environ.get("MLFLOW_TRACKING_URI")
    self._in_workdir = not uri
    if self._in_workdir:
      uri = paths.sqlite_url(folder / "mlflow.db", "tracking")
    elif uri.startswith(_SQLITE):
      path = uri.removeprefix(_SQLITE)
      uri = f"{_SQLITE}{paths.absolute(path, 'tracking_uri')}"
    files.make_folder(folder)
    self._artifacts = _artifact_uri(uri, folder)
    self._client = MlflowClient(tracking_uri=uri)
    self._workdir_id = workdir_id(folder)
    self._id = self._get_experiment(self._workdir.name)
    self.how_to_view = _how_to_view(uri, self._id)

  def _open(
    self, name: str, trial: int | str, policy: pictures.PolicyMap
  ) -> "_Run":
    # As in the report, where the baseline comes first.
    baseline, samplers = self._config["baseline"], self._config["samplers"]
    style = styles(sorted(samplers, key=lambda name: name != baseline))[name]
    # MLflow would choose a random colour for each trial.
    tags = {"mlflow.runColor": style.color}
    record = self._get_run(self._id, f"{name} {trial}", tags)
    run = _Run(self._client, record, policy)
    run.add_params(points.run_settings(self._config, name, trial))
    return run

  def report(self) -> None:
    title = f"{self._workdir.name} report"
    experiment = self._get_experiment(title)
    run = self._get_run(experiment, title, {}).info.run_id
    for name in _FILES:
      if (self._workdir / name).exists():
        self._client.log_artifact(run, self._workdir / name)
    if (self._workdir / "figures").is_dir():
      self._client.log_artifacts(run, self._workdir / "figures", "figures")
    self._client.set_terminated(run)
    tags = self._client.get_experiment(self._id).tags
    if tags.get(_NOTE_TAG, _NOTE).startswith(_NOTE):
      link = _LINK.format(_NOTE, experiment, run)
      self._client.set_experiment_tag(self._id, _NOTE_TAG, link)

  def _get_experiment(self, title: str) -> str:
    """Returns the id of a title's experiment, created if missing."""
    if experiment := self._client.get_experiment_by_name(title):
      self._check_moved(experiment.artifact_location)
      return experiment.experiment_id
    # Otherwise MLflow shows its pages for language models.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return self._client.create_experiment(title, self._artifacts, kind)

  def _get_run(
    self, experiment: str, title: str, tags: Mapping[str, str]
  ) -> Run:
    """Returns this workdir's run of a title, created if missing."""
    identity = run_id(self._workdir_id, title)
    query = f"tags.`{_ID_TAG}` = '{identity}'"
    for run in self._client.search_runs([experiment], query, max_results=1):
      self._check_moved(run.info.artifact_uri)
      return run
    return self._client.create_run(
      experiment, tags={_ID_TAG: identity, **tags}, run_name=title
    )

  def _check_moved(self, artifacts: str) -> None:
    """Refuses a database in the workdir that would write elsewhere."""
    if self._in_workdir and not artifacts.startswith(self._artifacts):
      text = f"its artifacts are in {artifacts}; delete it to create a new one"
      raise UserError("mismatch", str(self._workdir / FOLDER), text)


class _Run:
  """A run of MLflow: a trial of a sampler, or their mean."""

  def __init__(
    self, client: MlflowClient, run: Run, policy: pictures.PolicyMap
  ) -> None:
    self._client, self._id, self._policy = client, run.info.run_id, policy
    self._start = self._time = run.info.start_time  # ms
    # Steps on the server, of any metric: batches are stored as a whole.
    self._steps = {
      metric.step
      for tag in run.data.metrics
      if "test/" not in tag
      for metric in client.get_metric_history(self._id, tag)
    }
    if run.info.status != "RUNNING":
      client.update_run(self._id, status="RUNNING")

  def add_params(self, settings: Mapping[str, Any]) -> None:
    params = [Param(k, str(v)[:_MAX_TEXT]) for k, v in settings.items()]
    for i in range(0, len(params), _MAX_PARAMS):
      self._client.log_batch(self._id, params=params[i : i + _MAX_PARAMS])

  def add_rows(self, rows: Sequence[dict[str, Any]]) -> None:
    """Sends rows in few batches, none across two batches."""
    new: list[list[Metric]] = []  # by row
    for row in rows:
      self._policy.add(row)
      self._time = self._start + round(1000 * row["train_seconds"])
      if row["examples_seen"] not in self._steps:
        values = points.row_points(row)
        new.append(self._metrics(values, row["examples_seen"]))
    for i in range(0, len(new), _MAX_ROWS):
      batch = list(itertools.chain(*new[i : i + _MAX_ROWS]))
      self._client.log_batch(self._id, metrics=batch)

  def _metrics(self, values: Mapping[str, float], step: int) -> list[Metric]:
    # The time since the run's start, so that replaying repeats it.
    return [Metric(tag, v, self._time, step) for tag, v in values.items()]

  def end(
    self, step: int, values: Mapping[str, float], divergence: str | None
  ) -> None:
    old = self._client.get_run(self._id).data.metrics
    missing = {tag: v for tag, v in values.items() if tag not in old}
    metrics = self._metrics(missing, step)
    tags = [RunTag("divergence", divergence)] if divergence else []
    self._client.log_batch(self._id, metrics=metrics, tags=tags)
    image = self._policy.draw()
    if image is not None:
      self._client.log_image(self._id, image, artifact_file="policy.png")
    self.close("FAILED" if divergence else "FINISHED")

  def close(self, status: str = "KILLED") -> None:
    self._client.set_terminated(self._id, status, self._time)


def _artifact_uri(uri: str, folder: pathlib.Path) -> str | None:
  """Returns where artifacts are stored; None if the server decides.

  With a database, MLflow would store them in the current folder. They go next
  to its file instead, or to the workdir.
  """
  if uri.startswith(_SQLITE):
    folder = pathlib.Path(uri.removeprefix(_SQLITE)).parent
  elif uri.startswith(("http", "file", "databricks")):
    return None
  return (folder / "artifacts").as_uri()


def _how_to_view(uri: str, experiment: str) -> str:
  """Returns how to view the curves of an experiment, without any password.

  The first page of MLflow is one for language models.
  """
  uri = redact(uri)
  page = (
    f"#/experiments/{experiment}/runs?compareRunsMode=CHART"
    "&workflowType=machine_learning"
  )
  if uri.startswith("http"):
    return f"{uri.rstrip('/')}/{page}"
  command = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
  return f"{command}  # then http://127.0.0.1:5000/{page}"
