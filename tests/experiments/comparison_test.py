"""alcurr.compare runs the experiment that its config describes."""

import contextlib
import json

import bright_rows
import flax.linen as nn
import numpy as np
import pytest
import toy
from ml_collections import ConfigDict
from refusal import refused

import alcurr
from alcurr import models, samplers
from alcurr.core.errors import UserError
from alcurr.data import array_files
from alcurr.experiments import comparison, experiment_runner
from alcurr.experiments.config import defaults
from alcurr.report import figures
from alcurr.report.gallery import read_gallery
from alcurr.samplers import uniform

SMALL = {
  "num_evals": 1,
  "data.valid_fraction": 0.1,
  "batch_size": 8,
  "tracking": "none",
}


def shuffled(*, batch_size):
  return uniform(batch_size=batch_size)


def _compare(workdir, page=False, **changes):
  arguments = {
    "samplers": ["uniform", "uniform(replacement=True)", shuffled],
    "model": bright_rows.linear,
    "budget": "40 steps",
    "trials": 2,
    "config": SMALL,
  }
  with contextlib.nullcontext() if page else toy.without_page():
    return alcurr.compare(
      *bright_rows.make_data(400), workdir=workdir, **arguments | changes
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("compare") / "experiment"


@pytest.fixture(scope="module")
def result(workdir):
  return _compare(workdir)


def _rows(workdir, name):
  lines = (workdir / "runs" / name / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return [{k: v for k, v in r.items() if k != "train_seconds"} for r in rows]


def test_tables_and_figures(result, tmp_path):
  summary = result.summary.set_index("sampler")
  assert set(summary.index) == {"uniform", "uniform_2", "shuffled"}
  assert set(summary["baseline"]) == {"uniform"}
  # The brightest row is the class.
  assert summary.loc["uniform", "top1"] > 0.9
  # A factory makes the same sampler as its name does.
  assert summary.loc["shuffled", "top1"] == summary.loc["uniform", "top1"]
  curve = result.curves
  assert set(curve["sampler"]) == set(summary.index)
  assert set(curve["examples_seen"]) == {320}
  titles = [axis.get_ylabel() for axis in result.plot_curves().axes]
  # Of three classes, all examples are right within the first three.
  assert titles == ["valid top-1", "valid loss"]
  assert "top3" not in result.summary
  assert result.report(tmp_path / "page.html") == tmp_path / "page.html"
  assert "uniform_2" in (tmp_path / "page.html").read_text(encoding="utf-8")
  assert "<table" in result._repr_html_()


@pytest.mark.slow
def test_the_command_line_takes_the_config_of_a_workdir(tmp_path):
  result = alcurr.compare(
    *bright_rows.make_data(400),
    samplers=["uniform"],
    model="cnn(width=0.1)",
    budget="10 steps",
    trials=1,
    config=SMALL,
    workdir=tmp_path / "x",
  )
  config = json.loads((tmp_path / "x/config.json").read_text(encoding="utf-8"))
  experiment_runner.run(ConfigDict(config), tmp_path / "again")
  rows = _rows(result.workdir, "uniform")
  assert rows and rows == _rows(tmp_path / "again", "uniform")


def test_the_same_call_skips_finished_runs(result, workdir):
  before = (workdir / "runs/uniform/result.json").stat().st_mtime_ns
  again = _compare(workdir)
  assert (workdir / "runs/uniform/result.json").stat().st_mtime_ns == before
  assert again.summary.equals(result.summary)


def test_progress_is_shown_unless_quiet(result, workdir, capsys):
  _compare(workdir)
  assert "uniform" in capsys.readouterr().err
  _compare(workdir, verbose=False)
  assert not capsys.readouterr().err


def test_another_function_is_another_experiment(result, workdir):
  def other(*, batch_size):
    return uniform(batch_size=batch_size, replacement=True)

  with pytest.raises(UserError) as raised:
    _compare(workdir, samplers={"uniform": "uniform", "shuffled": other})
  assert (raised.value.code, raised.value.place) == ("mismatch", "--workdir")


def test_records(tmp_path):
  """Samplers, models and arguments may be objects."""
  result = _compare(
    tmp_path / "x",
    samplers={
      "mine": uniform(batch_size=8),
      "bandit": {
        "name": "active_bandit",
        "gain": alcurr.bandits.gains.gradient_prediction_gain(),
        "epsilon": lambda step: 0.5,
        "partition": "label",
        "warmup": 2,
      },
    },
    model=bright_rows.linear(input_shape=(4, 4, 1), num_classes=3),
    budget="10 steps",
    trials=1,
  )
  assert set(result.summary["sampler"]) == {"mine", "bandit"}
  assert result.plot_policy("bandit").axes
  # Ten steps, each with a measurement of one of three classes.
  assert "bandit measured 10 times, few for 3 arms" in result.verdict
  assert result.policy("bandit")["arm"].tolist() == ["0", "1", "2"]
  assert set(result.summary["baseline"]) == {"mine"}


def test_groups_are_arms(tmp_path):
  sites = np.array(["web", "book"])[
    np.arange(len(bright_rows.make_data(400)[1])) % 2
  ]
  result = _compare(
    tmp_path / "experiment",
    groups=sites,
    samplers={
      "uniform": "uniform",
      "sites": "mixture(weights={'book': 3, 'web': 1})",
    },
    trials=1,
  )
  gallery = read_gallery(result.workdir)
  assert gallery.info["partitions"]["groups"]["names"] == ["book", "web"]
  arms = figures.arm_labels("groups", 2, gallery)
  assert (arms.names, arms.axis) == (["book", "web"], "group")
  record = json.loads(
    (result.workdir / "runs" / "sites" / "result.json").read_text()
  )
  assert len(record["trials"][0]["top1_by_arm"]["groups"]) == 2
  rows = _rows(result.workdir, "sites")
  np.testing.assert_allclose(rows[-1]["policy"], [0.75, 0.25])


@pytest.mark.slow
def test_clusters_of_the_reference_models_features_are_arms(tmp_path):
  """They are cached with the scores, and a second call reads them there."""
  samplers_of = {
    "clusters": {"name": "mixture", "power": 0, "partition": "clusters"},
    "excess": {"name": "doremi", "partition": "clusters"},
  }
  config = SMALL | {"difficulty.num_arms": 3, "difficulty.budget": "60 steps"}
  seen = []
  for name in ("first", "second"):
    result = _compare(
      tmp_path / name,
      samplers=samplers_of,
      model="cnn(width=0.1)",
      trials=1,
      budget="10 steps",
      config=config,
    )
    arms = read_gallery(result.workdir).info["partitions"]["clusters"]
    record = result.workdir / "runs" / "excess" / "result.json"
    seconds = json.loads(record.read_text())["scoring_seconds"]
    seen.append((arms["size"], arms["difficulty"], seconds))
  assert seen[0] == seen[1]
  sizes, difficulty, seconds = seen[0]
  assert min(sizes) > 0 and seconds > 0
  assert difficulty == sorted(difficulty)
  with refused("missing", "samplers.clusters"):
    _compare(tmp_path / "third", samplers=samplers_of)


def test_groups_that_nobody_gave(tmp_path):
  sampler = {"name": "active_bandit", "partition": "groups"}
  with refused("missing", "samplers.bandit"):
    _compare(tmp_path / "experiment", samplers={"bandit": sampler})
  assert not (tmp_path / "experiment" / "runs").exists()
  with refused("conflict", "groups"):
    alcurr.compare(groups=[0, 1], workdir=tmp_path / "experiment")


def test_scores_are_given_by_name(tmp_path):
  """The difficulty of an example is ten times its class."""
  _, labels = bright_rows.make_data(400)
  result = _compare(
    tmp_path / "experiment",
    page=True,
    samplers={
      "uniform": "uniform",
      "long": "curriculum(score='length')",
      "hard": "fixed_policy(policy='uniform', partition='difficulty_in_pool')",
    },
    trials=1,
    scores={"length": np.arange(len(labels)), "difficulty": 10.0 * labels},
    config=SMALL | {"difficulty.num_arms": 2},
  )
  classes = read_gallery(result.workdir).info["classes"]
  assert [c["difficulty"]["mean"] for c in classes] == [0, 10, 20]
  for name, score in (("long", "length"), ("hard", "difficulty")):
    path = result.workdir / "runs" / name / "result.json"
    record = json.loads(path.read_text())
    assert record["scores"] == {score: None}
    assert record["scores_flops"] == record["scoring_seconds"] == 0
    assert record["score_files"].keys() == {score}
  page = (result.workdir / "report.html").read_text()
  assert "Scores from files are not charged" in page
  with refused("data", "scores['length']"):
    _compare(tmp_path / "other", scores={"length": [1.0]})


def test_other_scores_in_the_same_file_are_refused(tmp_path):
  _, labels = bright_rows.make_data(400)
  path = tmp_path / "length.npy"

  def compare(sign):
    np.save(path, sign * np.arange(len(labels)))
    _compare(
      tmp_path / "experiment",
      samplers=["uniform", "curriculum(score='length')"],
      trials=1,
      config=SMALL | {"scores.length.file": path},
    )

  compare(1)
  compare(1)
  with refused("mismatch", tmp_path / "experiment/runs/curriculum"):
    compare(-1)


def test_nothing_stays_registered(result):
  assert not [name for name in samplers.SAMPLERS if name.startswith("shuffled")]
  assert not [name for name in models.MODELS if name.startswith("linear")]


def test_the_active_bandit_is_the_papers(tmp_path):
  """But for the arms of a batch, it is the one of the default config."""
  short = {"warmup": 2, "partition": "label"}
  for name, spec in (
    ("default", {"name": "active_bandit", "arms_per_batch": 1}),
    ("paper", defaults.bandit().to_dict()),
  ):
    _compare(tmp_path / name, samplers={"x": spec | short}, trials=1)
  rows = _rows(tmp_path / "default", "x")
  assert rows and rows == _rows(tmp_path / "paper", "x")


@pytest.mark.parametrize(
  ("changes", "code", "place"),
  [
    ({"samplers": ["unifrom"]}, "unknown", "samplers.unifrom"),
    ({"samplers": [3]}, "type", "samplers.int"),
    ({"samplers": []}, "missing", "samplers"),
    ({"samplers": {}}, "missing", "samplers"),
    ({"samplers": 3}, "type", "samplers"),
    ({"config": {"optimizer": "adam"}}, "type", "optimizer"),
    ({"samplers": {"x": {"partition": "label"}}}, "missing", "samplers.x.name"),
    ({"config": {"bach_size": 3}}, "unknown", "bach_size"),
    ({"budget": "soon"}, "syntax", "budget"),
    ({"samplers": [uniform(batch_size=16)]}, "conflict", "samplers.Sampler"),
    ({"value_range": (255, 0)}, "range", "value_range"),
    ({"value_range": (0, 100)}, "data", "inputs"),
    ({"config": {"data.value_range": "0"}}, "range", "value_range"),
  ],
)
def test_mistakes(tmp_path, changes, code, place):
  with pytest.raises(UserError) as raised:
    _compare(tmp_path / "x", **changes)
  assert (raised.value.code, raised.value.place) == (code, place)
  assert not (tmp_path / "x" / "config.json").exists()


def test_the_config_says_how_images_are_read(tmp_path, monkeypatch):
  """Options of `compare` are those of the command line."""
  configs = []
  run = lambda config, _: configs.append(config)  # noqa: E731
  monkeypatch.setattr(experiment_runner, "run", run)
  monkeypatch.setattr(comparison, "Comparison", lambda _: None)
  images, labels = bright_rows.make_data(400)
  expected = np.stack([images] * 3, -1) / 255
  signed = np.moveaxis(expected * 2 - 1, -1, 1)
  alcurr.compare(
    signed,
    labels + 1,
    workdir=tmp_path / "x",
    value_range=(-1, 1),
    channels_first=True,
  )
  data = configs[0].data
  assert (data.value_range, data.channels_first) == ("-1.0,1.0", True)
  dataset = array_files.load_npz(
    data.dir,
    value_range=data.value_range,
    channels_first=data.channels_first,
  )
  np.testing.assert_allclose(dataset.source.image, expected, atol=1e-6)
  assert dataset.class_names == ("1", "2", "3")


def test_images_without_labels(tmp_path):
  with pytest.raises(UserError) as raised:
    alcurr.compare(bright_rows.make_data(400)[0], workdir=tmp_path / "x")
  assert (raised.value.code, raised.value.place) == ("missing", "labels")


@pytest.mark.parametrize(
  ("name", "code"), [("x", "unknown"), ("shuffled", "unsupported")]
)
def test_a_policy_that_there_is_not(result, name, code):
  with pytest.raises(UserError) as raised:
    result.plot_policy(name)
  assert (raised.value.code, raised.value.place) == (code, "name")


def test_a_module_of_a_network_library_is_no_model():
  with refused("type", "model"):
    comparison.compare(
      np.zeros((40, 4, 4)), np.arange(40) % 2, model=nn.Dense(2)
    )
