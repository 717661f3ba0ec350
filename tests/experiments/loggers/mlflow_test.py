"""MLflow's own client finds every number of metrics.jsonl, once."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import saved

from alcurr.experiments import loggers
from alcurr.experiments.loggers import __main__ as command

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
  """An empty database, which takes seconds to create."""
  path = tmp_path_factory.mktemp("mlflow") / "empty.db"
  mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
  return path


@pytest.fixture
def workdir(tmp_path, database, monkeypatch):
  monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
  workdir = saved.write(tmp_path / "it")
  (workdir / "mlflow").mkdir()
  shutil.copy(database, workdir / "mlflow/mlflow.db")
  return workdir


def _client(workdir):
  return mlflow.MlflowClient(f"sqlite:///{workdir}/mlflow/mlflow.db")


def _runs(client, name="it"):
  """Returns the runs of an experiment by name; names are unique."""
  experiment = client.get_experiment_by_name(name)
  found = client.search_runs([experiment.experiment_id])
  by_name = {run.info.run_name: run for run in found}
  assert len(by_name) == len(found)
  return by_name


def _points(client, run):
  return {
    tag: sorted(
      (m.step, m.value) for m in client.get_metric_history(run.info.run_id, tag)
    )
    for tag in run.data.metrics
  }


def _assert_complete(client):
  runs = _runs(client)
  for name in saved.NAMES:
    for trial in (0, 1, saved.MEAN):
      run = runs[f"{name} {trial}"]
      found, expected = _points(client, run), saved.expected(name, trial)
      assert found.keys() == expected.keys()
      for tag, curve in expected.items():
        np.testing.assert_allclose(found[tag], curve, rtol=1e-9)
  return runs


def test_every_number_is_a_point_and_repeating_changes_nothing(workdir, capsys):
  client = _client(workdir)
  for _ in range(2):
    assert command.main([str(workdir), "--to=mlflow"]) == 0
    runs = _assert_complete(client)
  assert len(runs) == 6
  number = client.get_experiment_by_name("it").experiment_id
  assert capsys.readouterr().out == 2 * (
    f"mlflow ui --backend-store-uri sqlite:///{workdir}/mlflow/mlflow.db"
    f"  # then http://127.0.0.1:5000/#/experiments/{number}/runs?compareRunsMode=CHART"
    "&workflowType=machine_learning\n"
  )
  run = runs["bandit 1"]
  assert run.info.status == "FINISHED"
  # The duration is that of the training.
  assert run.info.end_time - run.info.start_time == 10_001
  colors = {name: r.data.tags["mlflow.runColor"] for name, r in runs.items()}
  assert len(set(colors.values())) == 2
  assert colors["bandit 0"] == colors["bandit 1"] == "#0072b2"  # as in reports
  mean = runs[f"bandit {saved.MEAN}"]
  assert mean.data.params["trial"] == saved.MEAN
  assert "seed" not in mean.data.params
  params = run.data.params
  assert params["sampler"] == "bandit" and params["trial"] == "1"
  assert params["seed"] == "8" and params["sampler.gain"] == "prediction_gain"
  assert params["model.name"] == "cnn" and params["batch_size"] == "32"
  assert not {"cache_dir", "checkpoint.steps", "tracking"} & params.keys()
  report = _runs(client, "it report")["it report"].info.run_id
  names = {file.path for file in client.list_artifacts(report)}
  assert names == {"config.json", "report.html", "figures"}
  page = client.download_artifacts(report, "report.html")
  assert pathlib.Path(page).read_text() == "<p>report</p>"
  number = client.get_experiment_by_name("it").experiment_id
  note = client.get_experiment(number).tags["mlflow.note.content"]
  assert f"runs/{report}/artifacts/report.html" in note
  policy = client.list_artifacts(run.info.run_id)
  assert [file.path for file in policy] == ["policy.png"]
  assert not client.list_artifacts(runs["uniform 1"].info.run_id)
  assert (workdir / "mlflow/artifacts").is_dir()


def _logger(workdir, uri=""):
  config = json.loads((workdir / "config.json").read_text())
  experiment = loggers.Experiment(workdir, config, uri)
  return loggers.LOGGERS["mlflow"].make(experiment)


def test_a_resumed_run_neither_loses_nor_repeats_points(workdir):
  rows = saved.rows("bandit")
  first = _logger(workdir)
  first.begin("bandit", [])
  for row in rows[:5]:
    first.write(row)
  first.close()
  client = _client(workdir)
  assert _runs(client)["bandit 0"].info.status == "KILLED"
  # Repeated steps give the same numbers, except for the seconds.
  again = [row | {"train_seconds": 99.0} for row in rows]
  second = _logger(workdir)
  second.begin("bandit", rows[:2])
  assert _runs(client)["bandit 0"].info.status == "RUNNING"
  for row in again[2:]:
    second.write(row)
  # Its end is lost, and read from the files.
  assert command.main([str(workdir), "--to=mlflow"]) == 0
  runs = _assert_complete(client)
  assert runs["bandit 0"].info.status == "FINISHED"


def test_a_diverged_trial_has_failed(workdir):
  saved.write_result(workdir, "bandit", diverged=True)
  assert command.main([str(workdir), "--to=mlflow"]) == 0
  runs = _runs(_client(workdir))
  assert runs["bandit 0"].info.status == "FINISHED"
  assert runs["bandit 1"].info.status == "FAILED"
  assert runs["bandit 1"].data.tags["divergence"] == "step 35: the loss"
  assert "test/top1" not in runs["bandit 1"].data.metrics


def test_two_experiments_in_one_database(workdir, tmp_path, monkeypatch):
  """Two of one name have their own runs; a copy has those of its original."""
  monkeypatch.chdir(tmp_path)
  uri = f"sqlite:///{tmp_path}/it/mlflow/mlflow.db"
  other = saved.write(tmp_path / "other" / "it")
  copy = tmp_path / "copy" / "it"
  assert command.main([str(other), "--to=mlflow", f"--uri={uri}"]) == 0
  shutil.copytree(other, copy)
  monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
  assert command.main([str(copy), "--to=mlflow"]) == 0
  client = mlflow.MlflowClient(uri)
  ids = [
    client.get_experiment_by_name(name).experiment_id
    for name in ("it", "it report")
  ]
  assert [len(client.search_runs([i])) for i in ids] == [6, 1]
  assert command.main([str(workdir), "--to=mlflow"]) == 0
  assert [len(client.search_runs([i])) for i in ids] == [12, 2]
  assert {p.name for p in (other / "mlflow").iterdir()} == {"experiment.json"}
  assert (workdir / "mlflow/artifacts").is_dir()
  assert not (tmp_path / "mlruns").exists()


def test_a_moved_database_writes_nowhere_else(workdir, capsys):
  assert command.main([str(workdir), "--to=mlflow"]) == 0
  place = workdir.parent / "elsewhere"
  place.mkdir()
  moved = workdir.rename(place / "it")
  assert command.main([str(moved), "--to=mlflow"]) == 1
  assert f"{moved}/mlflow: its artifacts are in" in capsys.readouterr().err
  assert not workdir.exists()


def test_many_numbers_are_sent_in_batches(workdir):
  logger = _logger(workdir)
  rows = [
    row | {"examples_seen": row["examples_seen"] + 2000 * turn}
    for turn in range(60)
    for row in saved.rows("bandit")
    if row["trial"] == 0
  ]
  logger.begin("bandit", rows)
  client = _client(workdir)
  points = _points(client, _runs(client)["bandit 0"])
  assert len(points["sampler/coverage"]) == 240
  assert sum(map(len, points.values())) > 1000


def test_an_absent_server_is_reported_in_one_line(workdir, capsys):
  # Nothing listens there.
  argv = [str(workdir), "--to=mlflow", "--uri=http://127.0.0.1:9"]
  assert command.main(argv) == 1
  lines = capsys.readouterr().err.splitlines()
  (line,) = [line for line in lines if "alcurr: " in line]
  assert line.startswith("alcurr: mlflow: MlflowExc")
