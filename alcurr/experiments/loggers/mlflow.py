"""MLflow: an experiment with a run for each sampler and trial.

The figures and the report are a run of an experiment beside it, for a run
without curves is in the way of those that are compared.

    mlflow/experiment.json   what its runs are known by, on whatever server
    mlflow/mlflow.db         where no server is named
    mlflow/artifacts/        likewise

What a server has already is asked of it, and not sent again.
"""

import hashlib
import logging as std_logging
import os
import pathlib
import re
import shlex
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.experiments.loggers import Experiment, Row, pictures, scalars
from alcurr.report.gallery import read_gallery
from alcurr.report.style import styles

FOLDER = "mlflow"
# What MLflow takes at once, and of a parameter's value.
_MOST_METRICS = 1000
_MOST_PARAMS = 100
_MOST_TEXT = 6000
_KNOWN_BY = "alcurr.run"
# A line above the run table, unless the user has written another there.
_NOTE = "A step is an example seen"
_LINK = (
  _NOTE + "; the experiment's [report and figures](#/experiments/{}/runs/{}/"
  "artifacts/report.html?workflowType=machine_learning)."
)
_NOTE_TAG = "mlflow.note.content"
_FILES = ("config.json", "results.csv", "summary.csv", "report.html")


class MLflow:
  """A `Tracker`; the step of each point is its number of examples seen."""

  def __init__(self, experiment: Experiment) -> None:
    # Of a new database, how it is laid out table by table.
    for name in ("alembic", "mlflow.store.db"):
      std_logging.getLogger(name).setLevel(std_logging.WARNING)
    workdir, config = experiment.workdir.absolute(), experiment.config
    self._workdir, self._config = workdir, config
    baseline = config["baseline"]
    # As in the report, where the baseline is the first.
    names = sorted(config["samplers"], key=lambda name: name != baseline)
    self._looks = styles(names)
    folder = workdir / FOLDER
    folder.mkdir(exist_ok=True)
    uri = experiment.uri or os.environ.get("MLFLOW_TRACKING_URI")
    self._own = not uri
    uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
    self._artifacts = _artifacts(uri, folder)
    self._client = MlflowClient(tracking_uri=uri)
    self._id = self._experiment(workdir.name)
    path = folder / "experiment.json"
    if not path.exists():
      files.write_json(path, {"id": uuid.uuid4().hex})
    self._known_by = files.read_json(path)["id"]
    self._runs: dict[str, list[_Run]] = {}  # by sampler, by trial
    self.look = _look(uri, self._id)

  def _experiment(self, title: str) -> str:
    """The id of MLflow's experiment of that title, made if need be."""
    if found := self._client.get_experiment_by_name(title):
      self._check_place(found.artifact_location)
      return found.experiment_id
    # Or the page shows what is there for language models.
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return self._client.create_experiment(title, self._artifacts, kind)

  def _check_place(self, artifacts: str) -> None:
    """Refuses a database of the workdir's that writes elsewhere."""
    if self._own and not artifacts.startswith(self._artifacts):
      raise UserError(
        f"{self._workdir / FOLDER} has its artefacts in {artifacts}, as it "
        "was made in another place; delete it, and it is made anew."
      )

  def begin(self, name: str, rows: Sequence[Row]) -> None:
    gallery = read_gallery(self._workdir)
    self._runs[name] = []
    for trial in range(self._config["trials"]):
      # MLflow's own are by lot, and two samplers may look the same.
      color = {"mlflow.runColor": self._looks[name].color}
      found = self._find(self._id, f"{name} {trial}", color)
      run = _Run(
        self._client,
        found,
        pictures.PolicyMap(self._workdir, name, gallery),
      )
      run.params(scalars.run_settings(self._config, name, trial))
      self._runs[name].append(run)
    self.write(name, rows)

  def write(self, name: str, rows: Sequence[Row]) -> None:
    for trial, run in enumerate(self._runs[name]):
      run.rows([row for row in rows if row["trial"] == trial])

  def end(self, name: str, result: dict[str, Any]) -> None:
    runs = self._runs.pop(name)
    for run, trial in zip(runs, result["trials"], strict=True):
      run.end(result, trial)

  def report(self) -> None:
    title = f"{self._workdir.name} report"
    experiment = self._experiment(title)
    run = self._find(experiment, title).info.run_id
    for name in _FILES:
      if (self._workdir / name).exists():
        self._client.log_artifact(run, self._workdir / name)
    if (self._workdir / "figures").is_dir():
      self._client.log_artifacts(run, self._workdir / "figures", "figures")
    self._client.set_terminated(run)
    note = self._client.get_experiment(self._id).tags.get(_NOTE_TAG, _NOTE)
    if note.startswith(_NOTE):
      link = _LINK.format(experiment, run)
      self._client.set_experiment_tag(self._id, _NOTE_TAG, link)

  def close(self) -> None:
    for runs in self._runs.values():
      for run in runs:
        run.cut_off()

  def _find(
    self, experiment: str, title: str, tags: Mapping[str, str] | None = None
  ) -> Run:
    """The workdir's run of a title, made with these tags if need be."""
    content = f"{self._known_by}/{title}".encode()
    known_by = hashlib.blake2b(content, digest_size=16).hexdigest()
    found = self._client.search_runs(
      [experiment], f"tags.`{_KNOWN_BY}` = '{known_by}'", max_results=1
    )
    if found:
      self._check_place(found[0].info.artifact_uri)
      return found[0]
    tags = {_KNOWN_BY: known_by, **(tags or {})}
    return self._client.create_run(experiment, tags=tags, run_name=title)


class _Run:
  """A run of MLflow's: one trial of a sampler."""

  def __init__(
    self, client: MlflowClient, run: Run, policy: pictures.PolicyMap
  ) -> None:
    self._client, self._id, self._policy = client, run.info.run_id, policy
    self._start = run.info.start_time  # ms
    self._seconds = 0.0
    self._params = set(run.data.params)
    # The steps that it has, of any metric: a batch is stored whole or not.
    self._steps = {
      metric.step
      for tag in run.data.metrics
      if not tag.startswith("test/")
      for metric in client.get_metric_history(self._id, tag)
    }
    if run.info.status != "RUNNING":
      client.update_run(self._id, status="RUNNING")

  def params(self, settings: Mapping[str, Any]) -> None:
    missing = [
      Param(name, str(value)[:_MOST_TEXT])
      for name, value in settings.items()
      if name not in self._params
    ]
    for i in range(0, len(missing), _MOST_PARAMS):
      part = missing[i : i + _MOST_PARAMS]
      self._client.log_batch(self._id, params=part)

  def rows(self, rows: Sequence[Row]) -> None:
    for row in rows:
      self._policy.add(row)
      self._seconds = scalars.seconds(row)
    new = [row for row in rows if row["examples_seen"] not in self._steps]
    for metrics in _batches([self._metrics(row) for row in new]):
      self._client.log_batch(self._id, metrics=metrics)

  def _metrics(self, row: Row) -> list[Metric]:
    when = self._when(scalars.seconds(row))
    return [
      Metric(tag, value, when, row["examples_seen"])
      for tag, value in scalars.scalars(row).items()
    ]

  def _when(self, seconds: float) -> int:
    """So long after the run's beginning, in ms: the same whenever told."""
    return self._start + round(1000 * seconds)

  def end(self, result: Mapping[str, Any], trial: Mapping[str, Any]) -> None:
    known = self._client.get_run(self._id).data.metrics
    when, step = self._when(self._seconds), result["examples_seen"]
    metrics = [
      Metric(tag, value, when, step)
      for tag, value in scalars.test_scalars(trial).items()
      if tag not in known
    ]
    wrong = trial.get("diverged_step")
    tags = (
      [
        RunTag(
          "divergence_reason", f"step {wrong}: {trial['divergence_reason']}"
        )
      ]
      if wrong
      else []
    )
    self._client.log_batch(self._id, metrics=metrics, tags=tags)
    image = self._policy.picture()
    if image is not None:
      self._client.log_image(self._id, image, artifact_file="policy.png")
    self._terminate("FAILED" if wrong else "FINISHED")

  def cut_off(self) -> None:
    self._terminate("KILLED")

  def _terminate(self, status: str) -> None:
    self._client.set_terminated(self._id, status, self._when(self._seconds))


def _artifacts(uri: str, folder: pathlib.Path) -> str | None:
  """Where artefacts are; None: where the server says.

  Of a database alone MLflow has them wherever it is called from: let them be
  beside its file, or in the workdir.
  """
  if uri.startswith("sqlite:///"):
    folder = pathlib.Path(uri.removeprefix("sqlite:///")).absolute().parent
  elif uri.startswith(("http", "file", "databricks")):
    return None
  return (folder / "artifacts").as_uri()


def _look(uri: str, experiment: str) -> str:
  """How to see an experiment's curves side by side.

  MLflow's own first page is one for language models.
  """
  page = (
    f"#/experiments/{experiment}/runs?compareRunsMode=CHART"
    "&workflowType=machine_learning"
  )
  if uri.startswith("http"):
    return f"{_shown(uri).rstrip('/')}/{page}"
  command = f"mlflow ui --backend-store-uri {shlex.quote(_shown(uri))}"
  return f"{command}  # then http://127.0.0.1:5000/{page}"


def _shown(uri: str) -> str:
  """Without a password."""
  return re.sub(r"//[^/@]*@", "//...@", uri)


def _batches(groups: Sequence[list[Metric]]) -> Iterator[list[Metric]]:
  """As many whole groups as MLflow takes at once."""
  batch: list[Metric] = []
  for group in groups:
    if len(batch) + len(group) > _MOST_METRICS:
      yield batch
      batch = []
    batch = batch + group
  if batch:
    yield batch
