"""Which samplers the paper's figures are about."""

import json

import pandas as pd
import pytest

from alcurr.report import paper_figures
from alcurr.report.gallery import read_gallery

UNIFORM = {"name": "uniform"}


def _bandit(epsilon, gain="prediction_gain"):
  return {"name": "active_bandit", "epsilon": epsilon, "gain": gain}


@pytest.fixture
def workdir(tmp_path):
  def write(samplers):
    config = {"samplers": samplers, "baseline": next(iter(samplers))}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path

  return write


def _means(sizes):
  rows = {"sampler": list(sizes), "batch_size": list(sizes.values())}
  return pd.DataFrame(rows)


def test_a_figure_for_each_batch_size_and_one_of_exploration(workdir):
  samplers = {
    "u": UNIFORM,
    "u_32": UNIFORM,
    "mean": _bandit("0.2", "mean_prediction_gain"),
    "b": _bandit("0.2"),
    "decay": _bandit("exponential(value=1.0, end=0.01)"),
    "full": _bandit(1.0),
  }
  sizes = dict.fromkeys(samplers, 512) | {"u_32": 32}
  assert paper_figures.curve_groups(workdir(samplers), _means(sizes)) == {
    "learning_curves_32": ["u_32"],
    "learning_curves_512": ["u", "mean", "b", "decay", "full"],
    "full_exploration": ["u", "full", "b"],
  }


def test_arguments_may_stand_in_the_name(workdir):
  call = "active_bandit(epsilon=1, gain='prediction_gain')"
  samplers = {"u": UNIFORM, "full": {"name": call}}
  configs = paper_figures.samplers(workdir(samplers))
  assert paper_figures.exploration(configs, ["u", "full"]) == ["u", "full"]


def test_figures_whose_samplers_are_absent_are_left_out(workdir):
  samplers = {"u": UNIFORM, "b": _bandit("0.2")}
  groups = paper_figures.curve_groups(
    workdir(samplers), _means(dict.fromkeys(samplers, 64))
  )
  assert groups == {"learning_curves": ["u", "b"]}
  assert paper_figures.exploration({"f": _bandit("1")}, ["f"]) is None


def test_losses_are_of_the_curricula_if_there_are_any(workdir):
  samplers = {"u": UNIFORM, "c": {"name": "curriculum"}}
  logs = pd.DataFrame(
    {
      "sampler": ["u", "u", "c", "c"],
      "examples_seen": [32] * 4,
      "train_loss": [1.0, 2.0, 3.0, 4.0],
      "loss": [5.0, 6.0, 7.0, 9.0],
    }
  )
  table = paper_figures.losses(workdir(samplers), logs)
  assert table.to_dict("records") == [
    {
      "sampler": "c",
      "examples_seen": 32,
      "train_loss": 3.5,
      "valid_loss": 8.0,
    }
  ]
  everyone = paper_figures.losses(workdir({"u": UNIFORM}), logs[:2])
  assert everyone["train_loss"].tolist() == [1.5]


def test_arms_are_those_of_the_samplers_partition(workdir, experiment):
  """The gallery has 4 classes and 4 arms of "difficulty"."""
  samplers = {
    "bandit": {"name": "active_bandit"},
    "of_class": {"name": "active_bandit", "partition": "label"},
    "reweighting": {"name": "class_reweighting"},
    "curriculum": {"name": "curriculum"},
    "lots": {"name": "active_bandit", "partition": "shuffled"},
  }
  folder, gallery = workdir(samplers), read_gallery(experiment)
  looks = {n: paper_figures.arms_of(folder, n, 4, gallery) for n in samplers}
  assert len(looks["bandit"].strips) == 4
  assert looks["bandit"].axis == "arm (1: easiest)"
  for name in ("of_class", "reweighting"):
    assert looks[name].axis == "class"
    assert looks[name].names[3] == "plain"
  # The gallery does not have these two partitions.
  assert looks["curriculum"] == (None, None, "arm (1: easiest)")
  assert looks["lots"] == (None, None, "arm")
  assert paper_figures.arms_of(folder, "bandit", 5, gallery).strips is None
