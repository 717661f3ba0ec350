"""alcurr.compare is the experiment that its config describes."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import alcurr
from alcurr import models, samplers
from alcurr.core.errors import UserError
from alcurr.experiments import runner
from alcurr.samplers._uniform import uniform

SMALL = {
  "num_evals": 1,
  "data.valid_fraction": 0.1,
  "batch_size": 8,
  "tracking": "none",
}


def _data(num_examples=400):
  """Images of one bright row, which is their class."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, num_examples)
  images = rng.integers(0, 100, (num_examples, 4, 4)).astype(np.uint8)
  images[np.arange(num_examples), labels] += 120
  return images, labels


def _linear(*, image_shape, num_classes):
  """A factory that is nothing but its code."""
  size = int(np.prod(image_shape))
  return models.from_functions(
    lambda key: jnp.zeros((size, num_classes)),
    lambda params, image: image.reshape(len(image), -1) @ params,
  )


def shuffled(*, batch_size):
  return uniform(batch_size=batch_size)


def _compare(workdir, **changes):
  arguments = {
    "samplers": ["uniform", "uniform(replacement=True)", shuffled],
    "model": _linear,
    "budget": "40 steps",
    "trials": 2,
    "config": SMALL,
  }
  return alcurr.compare(*_data(), workdir=workdir, **arguments | changes)


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
  # A row brighter than all others tells the class.
  assert summary.loc["uniform", "top1"] > 0.9
  # Of a factory the same sampler comes as by its name.
  assert summary.loc["shuffled", "top1"] == summary.loc["uniform", "top1"]
  curve = result.curves
  assert set(curve["sampler"]) == set(summary.index)
  assert set(curve["examples_seen"]) == {320}
  titles = [axis.get_ylabel() for axis in result.plot_curves().axes]
  assert titles == [
    f"{m} on valid" for m in ("top-1 accuracy", "top-3 accuracy", "loss")
  ]
  assert result.plot_policy("shuffled").axes
  result.report(tmp_path / "page.html")
  assert "uniform_2" in (tmp_path / "page.html").read_text(encoding="utf-8")
  assert "<table" in result._repr_html_()


@pytest.mark.slow
def test_a_config_is_left_that_the_command_line_takes(tmp_path):
  result = alcurr.compare(
    *_data(),
    samplers=["uniform"],
    model="cnn(width=0.1)",
    budget="10 steps",
    trials=1,
    config=SMALL,
    workdir=tmp_path / "x",
  )
  config = json.loads((tmp_path / "x/config.json").read_text(encoding="utf-8"))
  runner.run(ConfigDict(config), tmp_path / "again")
  rows = _rows(result.workdir, "uniform")
  assert rows and rows == _rows(tmp_path / "again", "uniform")


def test_the_same_call_keeps_what_is_finished(result, workdir):
  kept = (workdir / "runs/uniform/result.json").stat().st_mtime_ns
  again = _compare(workdir)
  assert (workdir / "runs/uniform/result.json").stat().st_mtime_ns == kept
  assert again.summary.equals(result.summary)


def test_another_function_is_another_experiment(result, workdir):
  def other(*, batch_size):
    return uniform(batch_size=batch_size, replacement=True)

  with pytest.raises(UserError, match="experiment of another config"):
    _compare(workdir, samplers=["uniform", "uniform(replacement=True)", other])


def test_records(tmp_path):
  """A sampler, a model and a gain that are objects."""
  images, labels = _data()
  model = _linear(image_shape=(4, 4, 1), num_classes=3)
  result = alcurr.compare(
    *(images, labels),
    samplers={
      "mine": uniform(batch_size=8),
      "bandit": {
        "name": "active_bandit",
        "gain": samplers.PARTS["gain"]["gradient_prediction_gain"](),
        "partition": "label",
        "warmup": 2,
      },
    },
    model=model,
    budget="10 steps",
    trials=1,
    config=SMALL,
    workdir=tmp_path / "x",
  )
  assert set(result.summary["sampler"]) == {"mine", "bandit"}
  assert set(result.summary["baseline"]) == {"mine"}


def test_nothing_stays_registered(result):
  assert not [name for name in samplers.SAMPLERS if name.startswith("shuffled")]
  assert not [name for name in models.MODELS if name.startswith("_linear")]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"samplers": ["unifrom"]}, "no 'unifrom'.*Did you mean uniform"),
    ({"samplers": [3]}, "3 is no name, config, factory or record"),
    ({"samplers": [{"partition": "label"}]}, "has no name; give it one"),
    ({"config": {"bach_size": 3}}, "config.bach_size: there is no such field"),
    ({"budget": "soon"}, "budget='soon': write a positive number"),
    (
      {"samplers": [uniform(batch_size=16)]},
      r"draws \[16\] examples a step, and batch_size is 8",
    ),
  ],
)
def test_mistakes(tmp_path, changes, message):
  with pytest.raises(UserError, match=message):
    _compare(tmp_path / "x", **changes)
  assert not (tmp_path / "x" / "config.json").exists()


def test_images_without_labels(tmp_path):
  with pytest.raises(UserError, match="images and labels, or neither"):
    alcurr.compare(_data()[0], workdir=tmp_path / "x")


def test_a_policy_of_no_sampler(result):
  with pytest.raises(UserError, match=r"no sampler 'x'.*name one of uniform,"):
    result.plot_policy("x")
