"""Runs in processes of their own end like those of one process."""

import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import six_runs
from main_test import ROOT
from many_runs import assert_same, command, content, environment, run
from refusal import refused

from alcurr.experiments import launch, predict, slurm


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
  """The workdir of the experiment in one process."""
  workdir = tmp_path_factory.mktemp("launch") / "whole"
  done = run(workdir)
  assert done.returncode == 0, done.stderr
  return workdir


@pytest.mark.slow
def test_two_processes_share_a_workdir(whole):
  workdir = whole.parent / "shared"
  half = ["uniform", "bandit_1,bandit_2"]
  processes = [
    subprocess.Popen(
      command(workdir, f"--runs={runs}"),
      cwd=ROOT,
      env=environment(workdir.parent),
      stderr=subprocess.PIPE,
      text=True,
    )
    for runs in half
  ]
  logs = [process.communicate(timeout=600)[1] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], logs
  assert_same(whole, workdir)
  assert not [*workdir.rglob(".*")]


@pytest.mark.slow
def test_a_local_launch_that_is_stopped_resumes(whole):
  workdir = whole.parent / "local"
  with subprocess.Popen(
    command(workdir, "--launch=local:1"),
    cwd=ROOT,
    env=environment(workdir.parent),
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    # While it compiles, or trains.
    while not (workdir / ".lock-bandit_2").exists():
      assert process.poll() is None, process.communicate()[1]
      time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=120)[1]
  assert process.returncode == 128 + signal.SIGTERM, err
  # Each process says so, and no other is left.
  assert "stopped by SIGTERM" in err.splitlines()[-1]
  assert not (workdir / "results.csv").exists()
  done = run(workdir, "--launch=local:1")
  assert done.returncode == 0, done.stderr
  assert_same(whole, workdir)
  assert str(workdir) in done.stdout and "uniform" in done.stdout


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(whole):
  workdir = whole.parent / "broken"
  done = run(workdir, "--runs=bandit_1")
  assert done.returncode == 0, done.stderr
  # The results of a run of another sampler.
  result = workdir / "runs/bandit_1/result.json"
  (workdir / "runs/bandit_2").mkdir()
  (workdir / "runs/bandit_2/metrics.jsonl").mkdir()
  done = run(workdir, "--launch=local:1", "--config.trials=2")
  assert done.returncode == 1, done.stderr
  last = done.stderr.splitlines()[-1]
  assert last.startswith("alcurr: bandit_2: ") and "Traceback" not in last
  finished = {path.parent.name for path in workdir.glob("runs/*/result.json")}
  assert finished == {"uniform", "bandit_1"}
  assert result.exists() and (workdir / "report.html").exists()


@pytest.mark.slow
def test_trials_and_samplers_are_added(whole):
  """To a finished experiment, whose runs stay as they were."""
  workdir = whole.parent / "grown"
  fewer = ["--runs=uniform,bandit_1", "--config.trials=1"]
  done = run(workdir, *fewer)
  assert done.returncode == 0, done.stderr
  before = content(workdir)
  done = run(workdir, "--config.trials=2")
  assert done.returncode == 0, done.stderr
  after = content(workdir, trials=1)
  assert {name: after[name] for name in before} == before
  # The program of a single trial has no loop over trials, whose own FLOPs are
  # counted too.
  assert_same(whole, workdir, flops=1e-3)
  image = np.random.default_rng(0).integers(256, size=(5, 8, 8), dtype=np.uint8)
  predicted, expected = (
    predict.predict_probabilities(folder / "runs/bandit_1", image).probability
    for folder in (workdir, whole)
  )
  np.testing.assert_array_equal(predicted, expected)
  done = run(workdir, "--config.trials=1")
  assert done.returncode == 2
  assert "trials is 2 there, 1 here" in done.stderr


@pytest.mark.slow
def test_a_name_that_is_no_run(tmp_path):
  done = run(tmp_path / "it", "--runs=bandit1")
  assert done.returncode == 2
  (line,) = [x for x in done.stderr.splitlines() if x.startswith("alcurr: ")]
  assert "--runs" in line and "bandit_1" in line
  assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("text", ["local:0", "local:x", "slurm:2", "local:"])
def test_a_launch_that_cannot_be_parsed(text, tmp_path):
  with refused("syntax", "--launch"):
    launch.start(text, six_runs.get_config(), tmp_path, [], None, None)


def test_an_unknown_launcher(tmp_path):
  with refused("unknown", "--launch"):
    launch.start("k8s", six_runs.get_config(), tmp_path, [], None, None)


def test_slurm_needs_submitit(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "submitit", None)
  with refused("package", "--launch=slurm"):
    slurm.submit(six_runs.get_config(), tmp_path, [], ["uniform"])
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
  ("found", "count", "most", "expected"),
  [
    # One a core, but no more than there are runs.
    (("cpu", 1), 0, 9, [{0}, {1}, {2}, {3}, {4}]),
    (("cpu", 1), 0, 2, [{0, 1}, {2, 3, 4}]),
    (("cpu", 1), 3, 9, [{0}, {1, 2}, {3, 4}]),
    (("gpu", 2), 0, 9, ["4", "6"]),
    (("gpu", 2), 1, 9, ["4"]),
    (("tpu", 4), 1, 9, [None]),
  ],
)
def test_the_machine_is_divided(monkeypatch, found, count, most, expected):
  monkeypatch.setattr(launch, "_find_devices", lambda: found)
  monkeypatch.setattr(launch, "_cores", lambda: {0, 1, 2, 3, 4})
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
  monkeypatch.setenv("NPROC", "5")
  shares = launch.make_shares(count, most)
  if found[0] == "cpu":
    assert [share.cores for share in shares] == expected
    assert {share.variables["NPROC"] for share in shares} == {"5"}
  else:
    gpus = [share.variables.get("CUDA_VISIBLE_DEVICES") for share in shares]
    assert gpus == expected
  with refused("range", "--launch"):
    launch.make_shares(6, 9)
