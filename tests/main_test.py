"""The command line: one tiny experiment whole, and every mistake in words."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pandas as pd
import pytest

from alcurr import main as cli

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT}/configs/quickstart.py"
TINY = (
  "--config.data.num_examples=1200",
  "--config.data.classes=4",
  "--config.data.image_size=16",
  "--config.data.render=ahead",
  "--config.trials=2",
  "--config.batch_size=8",
  "--config.evaluations=2",
  "--config.budget=24 steps",
  "--config.difficulty.budget=24 steps",
  "--config.difficulty.num_arms=3",
  "--config.samplers.bandit.warmup=4",
)


# Even the smallest program is kept for the next process.
ENVIRONMENT = {
  name: value
  for name, value in os.environ.items()
  if name != "JAX_COMPILATION_CACHE_DIR"
} | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def _run(*args):
  return subprocess.run(
    [sys.executable, "-m", "alcurr.main", *args],
    cwd=ROOT,
    env=ENVIRONMENT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A tiny experiment that ran to the end: its workdir and its output."""
  workdir = tmp_path_factory.mktemp("runs") / "tiny"
  done = _run(QUICKSTART, f"--workdir={workdir}", *TINY)
  assert done.returncode == 0, done.stderr
  return workdir, done


def test_it_prints_the_table_and_leaves_the_files(finished):
  workdir, done = finished
  for word in ("sampler", "top-1", "uniform", "bandit_mean", "baseline"):
    assert word in done.stdout
  files = {str(p.relative_to(workdir)) for p in workdir.rglob("*.*")}
  assert files >= {
    "config.json",
    "results.csv",
    "summary.csv",
    "report.html",
    "gallery.json",
    "gallery.npz",
    "figures/learning_curves.png",
    "figures/policy_bandit.png",
    "figures/difficulty_by_class.png",
    *(
      f"runs/{name}/{file}"
      for name in ("uniform", "bandit", "bandit_mean")
      for file in ("metrics.jsonl", "result.json", "test.npz")
    ),
  }
  # Its warm-up is longer than this run.
  assert "figures/policy_bandit_mean.png" not in files
  # Every figure has its data beside it.
  assert all(f.replace(".png", ".csv") in files for f in files if "png" in f)


def test_results_have_a_row_per_sampler_and_trial(finished):
  results = pd.read_csv(finished[0] / "results.csv")
  assert list(results.columns) == [
    *("sampler", "batch_size", "trial", "top1", "top3", "map3", "loss"),
    *("examples_seen", "steps", "train_seconds", "scoring_seconds"),
    *("flops_per_step", "coverage", "effective_sample_size"),
    *("skipped_updates", "wrong_step", "wrong"),
  ]
  assert len(results) == 3 * 2
  assert (results.examples_seen == 24 * 8).all()
  assert (results.top1 <= results.map3).all()
  assert (results.map3 <= results.top3).all()
  scored = results.set_index("sampler").scoring_seconds
  assert (scored["uniform"] == 0).all() and (scored["bandit"] > 0).all()
  # One pass over more than 192 examples, in which none comes twice.
  uniform = results[results["sampler"] == "uniform"]
  assert uniform.effective_sample_size.tolist() == [192, 192]
  assert uniform.coverage.nunique() == 1 and 0.2 < uniform.coverage.max() < 0.3
  assert (results.skipped_updates == 0).all()
  assert results[["wrong_step", "wrong"]].isna().all(axis=None)


def test_metrics_tell_of_every_trial(finished):
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


def test_the_same_command_again_keeps_what_is_finished(finished):
  workdir, done = finished
  before = (workdir / "runs/bandit/result.json").stat().st_mtime_ns
  again = _run(QUICKSTART, f"--workdir={workdir}", *TINY, "--profile")
  assert again.returncode == 0
  assert "bandit: finished before, kept; nothing is left to profile" in (
    again.stderr
  )
  assert again.stdout == done.stdout
  assert (workdir / "runs/bandit/result.json").stat().st_mtime_ns == before


def _programs(workdir):
  """The compiled programs that lie beside a workdir."""
  return {path.name for path in (workdir.parent / "cache/programs").glob("*")}


def test_a_second_experiment_reuses_what_is_cached_and_agrees(finished):
  """Another workdir: the scores and the programs from the cache, and the same
  accuracies."""
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


def test_a_sampler_whose_trials_all_diverge_is_told_after_the_others(tmp_path):
  config = tmp_path / "wild.py"
  config.write_text(
    "from ml_collections import ConfigDict\n"
    "from configs import quickstart\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    "  del config.samplers.bandit, config.samplers.bandit_mean\n"
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
  said = [x for x in done.stderr.splitlines() if x.startswith("alcurr: ")]
  assert len(said) == 1 and "Every trial of wild ended with a loss" in said[0]
  assert "wild: trial 1 went wrong at step" in done.stderr
  assert "Traceback" not in done.stderr
  assert "0 of 2" in done.stdout and "baseline" in done.stdout
  results = pd.read_csv(workdir / "results.csv").set_index("sampler")
  assert results.loc["uniform", "top1"].notna().all()
  wild = results.loc["wild"]
  assert wild[["top1", "loss", "coverage"]].isna().all(axis=None)
  assert (wild.wrong_step >= 1).all() and (wild.wrong_step <= 4).all()
  assert wild.wrong.str.contains("loss|update").all()
  assert (workdir / "report.html").exists()
  # The experiment is finished all the same, and says so again.
  assert _run(*command).returncode == 1


def test_programs_are_kept_only_if_asked(tmp_path):
  config = tmp_path / "one.py"
  config.write_text(
    "from configs import quickstart\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    "  del config.samplers.bandit, config.samplers.bandit_mean\n"
    "  return config\n"
  )
  options = [o for o in TINY if "bandit" not in o]
  workdir = tmp_path / "runs" / "one"
  done = _run(
    *(f"--config={config}", f"--workdir={workdir}", "--nocompilation_cache"),
    *("--profile", *options),
  )
  assert done.returncode == 0, done.stderr
  assert (workdir / "results.csv").exists()
  assert not _programs(workdir)
  # It asks for a profile too, to spare an experiment of its own.
  profile = workdir / "runs" / "uniform" / "profile"
  assert {file.name for file in profile.iterdir()} == {
    *("summary.json", "parts.csv", "operations.csv", "cost.csv"),
    *("program.hlo.txt", "plugins"),
  }
  assert "Profile of uniform: 12 steps of 2 trials" in done.stderr


def test_a_folder_of_programs_that_the_user_named_stays():
  before = jax.config.jax_compilation_cache_dir
  try:
    jax.config.update("jax_compilation_cache_dir", "/mine")
    cli.keep_programs(pathlib.Path("runs/cache/programs"))
    assert jax.config.jax_compilation_cache_dir == "/mine"
  finally:
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_workdir_of_another_config_is_refused(finished):
  done = _run(QUICKSTART, f"--workdir={finished[0]}", *TINY, "--config.seed=5")
  assert done.returncode == 2
  assert "another config (seed is 0 there, 5 here)" in done.stderr
  assert "Traceback" not in done.stderr


MISTAKES = [
  (["--config=configs/none.py"], "No such file"),
  ([], "Name an experiment: --config=configs/quickstart.py"),
  ([QUICKSTART, "stray"], "Unknown argument 'stray'"),
  ([QUICKSTART, "--workdr=x"], "Unknown command line flag 'workdr'"),
  ([QUICKSTART, "--config.trails=3"], 'Did you mean "trials"'),
  ([QUICKSTART, "--config.samplers.bandit.epsilom=1"], "epsilon"),
  ([QUICKSTART, "--config.seed=1.5"], "invalid literal for int"),
  ([QUICKSTART, "--config.trials=0"], "trials must be at least 1, got 0."),
  ([QUICKSTART, "--config.batch_size=-1"], "batch_size must be at least 1"),
  ([QUICKSTART, "--config.trials_by=pmap"], "trials_by must be vmap or map"),
  (
    [QUICKSTART, "--config.on_nonfinite=ignore"],
    "on_nonfinite must be stop or skip_update, got 'ignore'.",
  ),
  ([QUICKSTART, "--config.budget=fast"], "write a positive number of epochs"),
  ([QUICKSTART, "--config.budget=0 steps"], "write a positive number"),
  ([QUICKSTART, "--config.budget=3 examples"], "less than one batch of 32"),
  ([QUICKSTART, "--config.baseline=unifrom"], "Did you mean uniform?"),
  ([QUICKSTART, "--config.difficulty.seed=1"], "is also a trial's"),
  ([QUICKSTART, "--config.model.name=resnet"], "Did you mean resnet50?"),
  (
    [QUICKSTART, "--config.model.name=resnet50(weights='none.h5')"],
    "model: resnet50: there is no file none.h5",
  ),
  (
    [
      QUICKSTART,
      "--config.model.name=mobilenet",
      "--config.model.weights=none.h5",
    ],
    "model: mobilenet: there is no file none.h5",
  ),
  ([QUICKSTART, "--config.model.weights=x.h5"], "cnn takes no 'weights'."),
  ([QUICKSTART, "--config.model.name=cnn(width=-1)"], "width must be"),
  ([QUICKSTART, "--config.optimizer.name=adma"], "Did you mean adam?"),
  ([QUICKSTART, "--config.optimizer.learning_rate=0"], "must be positive"),
  ([QUICKSTART, "--config.optimizer.schedule=step"], "Known: constant"),
  (
    [QUICKSTART, "--config.samplers.bandit.name=bandit"],
    "Known: active_bandit",
  ),
  ([QUICKSTART, "--config.samplers.bandit.epsilon=2"], "epsilon must be in"),
  ([QUICKSTART, "--config.samplers.bandit.epsilon=lots"], "Known: constant"),
  ([QUICKSTART, "--config.samplers.bandit.gain=pg"], "prediction_gain"),
  ([QUICKSTART, "--config.samplers.bandit.arms=dificulty"], "mean difficulty"),
  ([QUICKSTART, "--config.samplers.bandit.rescale=rank(window=1)"], "window"),
  ([QUICKSTART, "--config.samplers.bandit.arms_per_batch=5"], "must divide"),
  ([QUICKSTART, "--config.data.source=web"], "Known: files, npz, synthetic."),
  ([QUICKSTART, "--config.data.source=files"], "say where the data is"),
  ([QUICKSTART, "--config.data.render=never"], "in_step or ahead"),
  ([QUICKSTART, "--config.data.image_size=0"], "size must be at least 1"),
  ([QUICKSTART, "--config.data.stroke_decay=2"], "stroke_decay must be in"),
  ([QUICKSTART, "--config.data.classes=99"], "from 2 to 30, got 99"),
  ([QUICKSTART, "--config.data.classes=cat"], "chosen by their number"),
  ([QUICKSTART, "--config.data.valid_fraction=1.0"], "must be positive, probe"),
  ([QUICKSTART, "--config.data.scribble_fraction=2.0"], "must be in"),
  ([QUICKSTART, "--config.equal=seconds"], "equal must be examples or flops"),
  ([QUICKSTART, "--config.train_on=test"], "train_on must be one of train, "),
  ([QUICKSTART, "--config.train_on=train_and_probe"], "data.probe_fraction"),
  ([QUICKSTART, "--config.thresholds=high"], "write accuracies between 0"),
  ([QUICKSTART, "--config.data.planted_noise=1.0"], "planted_noise must be"),
  ([QUICKSTART, "--config.data.planted_in=test"], "no 'test' to plant"),
  ([QUICKSTART, "--config.data.train_examples=-1"], "must not be negative"),
  ([QUICKSTART, "--config.data.probe_fraction=-0.1"], "probe_fraction not"),
  ([QUICKSTART, "--config.samplers.bandit.every=0"], "every must be at"),
  (
    [QUICKSTART, "--config.samplers.bandit.gain=influence(probe_size=0)"],
    "probe_size must be at least 1",
  ),
  (
    [QUICKSTART, "--config.samplers.bandit.gain=influence(refresh=0)"],
    "refresh must be at least 1",
  ),
  (["--config=configs/paper.py:part=three"], "part must be table1, table2"),
  (["--config=configs/paper.py:scale=0"], "scale must be positive"),
  (["--config=configs/paper.py:scale=big"], "scale is of type float"),
  (["--config=configs/paper.py:scales=1"], "write part, scale, image"),
  (["--config=configs/influence.py:part=some"], "part must be one of"),
  # What only the data can tell, and still before anything is trained.
  ([QUICKSTART, "--config.difficulty.num_arms=5000"], "the smallest class"),
  ([QUICKSTART, "--config.batch_size=2000"], "smallest of the 10 arms"),
  (
    [QUICKSTART, "--config.batch_size=20000", *TINY[:2]],
    "less than one batch of 20000",
  ),
]


@pytest.mark.parametrize(("args", "message"), MISTAKES)
def test_a_mistake_is_one_sentence(args, message, tmp_path, monkeypatch, capfd):
  """In this process, for speed: what the module's last line does."""
  from absl import app, flags

  workdir = tmp_path / "run"
  monkeypatch.chdir(ROOT)
  # A folder of programs would stay this process's.
  own = [f"--workdir={workdir}", "--nocompilation_cache"]
  monkeypatch.setattr(sys, "argv", ["alcurr", *own, *args])
  for name in list(flags.FLAGS):  # what the case before has set
    if name.startswith("config."):
      delattr(flags.FLAGS, name)
    elif name in ("config", "workdir"):
      flags.FLAGS[name].unparse()
  with pytest.raises(SystemExit) as stopped:
    app.run(cli.main, flags_parser=cli.parse)
  assert stopped.value.code == 2
  lines = capfd.readouterr().err.strip().splitlines()
  said = [line for line in lines if line.startswith("alcurr: ")]
  assert len(said) == 1 and message in said[0]
  assert not any("Traceback" in line for line in lines)
  assert not workdir.exists()
