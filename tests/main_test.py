"""The command line: one tiny experiment, run and rerun."""

import json
import os
import pathlib
import subprocess
import sys

import pandas as pd
import pytest

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT}/configs/quickstart.py"
TINY = (
  "--config.data.num_examples=1200",
  "--config.data.classes=4",
  "--config.data.image_size=16",
  "--config.data.render=precompute",
  "--config.trials=2",
  "--config.batch_size=8",
  "--config.num_evals=2",
  "--config.budget=24 steps",
  "--config.difficulty.budget=24 steps",
  "--config.difficulty.num_arms=3",
  "--config.samplers.bandit.warmup=4",
)


# Even the smallest program is cached for the next process.
ENVIRONMENT = {
  name: value
  for name, value in os.environ.items()
  if name != "JAX_COMPILATION_CACHE_DIR"
} | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def _guarded(log):
  """Returns the environment of a process that tests/guard watches."""
  paths = [str(ROOT / "tests/guard"), ENVIRONMENT.get("PYTHONPATH", "")]
  return ENVIRONMENT | {
    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    "GUARD_LOG": str(log),
  }


def _run(*args, env=ENVIRONMENT):
  return subprocess.run(
    [sys.executable, "-m", "alcurr.main", *args],
    cwd=ROOT,
    env=env,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Runs a tiny experiment: its workdir and its output."""
  workdir = tmp_path_factory.mktemp("runs") / "tiny"
  env = _guarded(workdir.parent / "guard.log")
  done = _run(QUICKSTART, f"--workdir={workdir}", *TINY, env=env)
  assert done.returncode == 0, done.stderr
  return workdir, done


def test_it_prints_the_table_and_writes_the_files(finished):
  workdir, done = finished
  for word in ("sampler", "top-1", "uniform", "label_trust", "baseline"):
    assert word in done.stdout
  files = {str(p.relative_to(workdir)) for p in workdir.rglob("*.*")}
  assert files >= {
    "config.json",
    "results.csv",
    "summary.csv",
    "report.html",
    "gallery.json",
    "gallery.npz",
    "figures/accuracy_against_cost.png",
    "figures/policy_bandit.png",
    "runs/label_trust/suspects.csv",
    "figures/difficulty_by_class.png",
    *(
      f"runs/{name}/{file}"
      for name in ("uniform", "bandit", "label_trust")
      for file in ("metrics.jsonl", "result.json", "test.npz")
    ),
  }
  # Every figure has its data next to it.
  assert all(f.replace(".png", ".csv") in files for f in files if "png" in f)


def test_it_keeps_to_itself(finished):
  """It uses no network and no pickle, and opens only its own files."""
  parent = finished[0].parent
  log = (parent / "guard.log").read_text().splitlines()
  assert not [line for line in log if line.startswith("forbidden")]
  paths = {pathlib.Path(line.split(" ", 1)[1]) for line in log}
  assert parent / "tiny/results.csv" in paths
  elsewhere = [
    path
    for path in paths
    if not path.is_relative_to(parent)
    # Python's own compiled modules, and matplotlib's list of fonts.
    and not {"__pycache__", "matplotlib"} & {*path.parts}
  ]
  # JAX writes the names of its threads, and a run records its CPU.
  kernel = (os.devnull, "/proc/self/comm", "/proc/cpuinfo")
  assert set(elsewhere) <= {*map(pathlib.Path, kernel)}


@pytest.mark.parametrize(
  "program",
  [
    "import socket; socket.create_connection(('127.0.0.1', 9))",
    "import pickle, pathlib; pickle.loads(pickle.dumps(pathlib.Path()))",
  ],
)
def test_the_guard_sees(program, tmp_path):
  log = tmp_path / "guard.log"
  done = subprocess.run(
    [sys.executable, "-c", program], env=_guarded(log), capture_output=True
  )
  assert done.returncode == 1 and b"forbidden here" in done.stderr
  assert log.read_text().startswith("forbidden")


def test_results_have_a_row_per_sampler_and_trial(finished):
  results = pd.read_csv(finished[0] / "results.csv")
  assert list(results.columns) == [
    *("sampler", "batch_size", "trial", "top1", "top3", "map3", "loss"),
    *("balanced_accuracy", "auc"),
    *("examples_seen", "examples_scored", "steps"),
    *("train_seconds", "scoring_seconds"),
    *("flops_per_step", "scores_flops", "flops"),
    *("coverage", "effective_sample_size"),
    *("skipped_updates", "diverged_step", "divergence_reason"),
  ]
  assert len(results) == 3 * 2
  assert (results.examples_seen == 24 * 8).all()
  assert (results.top1 <= results.map3).all()
  assert (results.map3 <= results.top3).all()
  scored = results.set_index("sampler").scoring_seconds
  assert (scored["uniform"] == 0).all() and (scored["bandit"] > 0).all()
  # 192 examples of one pass over more, without a duplicate.
  uniform = results[results["sampler"] == "uniform"]
  assert uniform.effective_sample_size.tolist() == [192, 192]
  assert uniform.coverage.nunique() == 1 and 0.2 < uniform.coverage.max() < 0.3
  assert (results.skipped_updates == 0).all()
  assert results[["diverged_step", "divergence_reason"]].isna().all(axis=None)


def test_metrics_have_every_trial(finished):
  path = finished[0] / "runs" / "bandit" / "metrics.jsonl"
  rows = [json.loads(line) for line in path.open()]
  assert [(r["step"], r["trial"]) for r in rows] == [
    *((12, 0), (12, 1), (24, 0), (24, 1))
  ]
  for row in rows:
    assert row["examples_seen"] == 8 * row["step"]
    assert sum(row["policy"]) == pytest.approx(1, abs=1e-5)
    assert len(row["policy"]) == 3 and "gain" in row
    assert 0 < row["coverage"] < 1
    assert 1 < row["effective_sample_size"] <= row["examples_seen"]
    assert len(row["valid"]["top1_by_class"]) == 4
    assert len(row["valid"]["top1_by_arm"]["difficulty"]) == 3


@pytest.mark.slow  # comparison_test.py skips finished runs, too
def test_the_same_command_skips_finished_runs(finished):
  workdir, done = finished
  before = (workdir / "runs/bandit/result.json").stat().st_mtime_ns
  again = _run(QUICKSTART, f"--workdir={workdir}", *TINY, "--profile")
  assert again.returncode == 0
  assert "bandit: already finished; not profiled" in again.stderr
  assert again.stdout == done.stdout
  assert (workdir / "runs/bandit/result.json").stat().st_mtime_ns == before


def _programs(workdir):
  """Returns the names of the cached programs."""
  return {path.name for path in (workdir.parent / "cache/programs").glob("*")}


@pytest.mark.slow
def test_a_second_experiment_reuses_what_is_cached_and_agrees(finished):
  """Scores and programs come from the cache, and results are the same."""
  workdir, _ = finished
  other = workdir.parent / "other"
  before = _programs(workdir)
  assert before
  done = _run(QUICKSTART, f"--workdir={other}", *TINY)
  assert "Difficulty scores from" in done.stderr
  assert _programs(workdir) == before
  columns = ["sampler", "trial", "top1", "loss", "scoring_seconds"]
  pd.testing.assert_frame_equal(
    pd.read_csv(workdir / "results.csv")[columns],
    pd.read_csv(other / "results.csv")[columns],
  )


@pytest.mark.slow
def test_a_sampler_whose_trials_all_diverge_is_reported_last(tmp_path):
  config = tmp_path / "wild.py"
  config.write_text(
    "from ml_collections import ConfigDict\n"
    "from configs import quickstart\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    "  del config.samplers.bandit, config.samplers.label_trust\n"
    "  wild = {'name': 'sgd', 'learning_rate': 1e38}\n"
    "  config.samplers.wild = ConfigDict(\n"
    "    {'name': 'uniform', 'run': {'optimizer': wild}}\n"
    "  )\n"
    "  return config\n"
  )
  options = [o for o in TINY if "bandit" not in o]
  workdir = tmp_path / "runs" / "wild"
  command = (f"--config={config}", f"--workdir={workdir}", *options)
  done = _run(*command)
  assert done.returncode == 1, done.stderr
  lines = [x for x in done.stderr.splitlines() if x.startswith("alcurr: ")]
  assert len(lines) == 1 and lines[0].startswith("alcurr: wild: ")
  assert "wild: trial 1 " in done.stderr
  assert "Traceback" not in done.stderr
  assert "0 of 2" in done.stdout and "baseline" in done.stdout
  results = pd.read_csv(workdir / "results.csv").set_index("sampler")
  assert results.loc["uniform", "top1"].notna().all()
  wild = results.loc["wild"]
  assert wild[["top1", "loss", "coverage"]].isna().all(axis=None)
  assert (wild.diverged_step >= 1).all() and (wild.diverged_step <= 4).all()
  assert wild.divergence_reason.str.contains("loss|update").all()
  assert (workdir / "report.html").exists()
  # The experiment is finished, and a rerun has the same exit status.
  assert _run(*command).returncode == 1


@pytest.mark.slow
def test_without_a_compilation_cache(tmp_path):
  config = tmp_path / "one.py"
  config.write_text(
    "from configs import quickstart\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    "  del config.samplers.bandit, config.samplers.label_trust\n"
    "  return config\n"
  )
  options = [o for o in TINY if "bandit" not in o]
  workdir = tmp_path / "runs" / "one"
  done = _run(
    f"--config={config}",
    f"--workdir={workdir}",
    "--nocompilation_cache",
    "--profile",
    *options,
  )
  assert done.returncode == 0, done.stderr
  assert (workdir / "results.csv").exists()
  assert not _programs(workdir)
  # The profile is tested here too: it needs an experiment of its own.
  profile = workdir / "runs" / "uniform" / "profile"
  assert {file.name for file in profile.iterdir()} == {
    *("summary.json", "cost.csv", "plugins"),
  }


@pytest.mark.slow
def test_the_users_own_compilation_cache_is_used(tmp_path):
  cache = tmp_path / "mine"
  env = ENVIRONMENT | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
  workdir = tmp_path / "runs" / "tiny"
  done = _run(QUICKSTART, f"--workdir={workdir}", *TINY, env=env)
  assert done.returncode == 0, done.stderr
  assert [*cache.iterdir()] and not _programs(workdir)


@pytest.mark.slow  # comparison_test.py refuses it too
def test_a_workdir_of_another_config_is_refused(finished):
  done = _run(QUICKSTART, f"--workdir={finished[0]}", *TINY, "--config.seed=5")
  assert done.returncode == 2
  assert "seed is 0 there, 5 here" in done.stderr
  assert "Traceback" not in done.stderr
