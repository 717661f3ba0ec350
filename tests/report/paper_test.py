"""The samplers of the paper's figures are those that the config names."""

import pandas as pd

from alcurr.report import figures, paper
from alcurr.report.gallery import read_gallery


def _means(sizes):
  rows = {"sampler": list(sizes), "batch_size": list(sizes.values())}
  return pd.DataFrame(rows)


def test_a_figure_for_each_batch_size_and_one_of_exploration():
  config = {"paper": {"exploration": ["u", "full"]}}
  means = _means({"u": 512, "u_32": 32, "full": 512, "b": 512})
  groups = paper.curve_groups(config, means)
  assert {stem: names for stem, (_, names) in groups.items()} == {
    "learning_curves_512": ["u", "full", "b"],
    "learning_curves_32": ["u_32"],
    "exploration": ["u", "full"],
  }
  titles = [title for title, _ in groups.values()]
  for title, number in zip(titles, (4, 7, 6), strict=True):
    assert f"figure {number} of the paper" in title


def test_no_figure_of_samplers_that_have_not_finished():
  config = {"paper": {"exploration": ["u", "x"]}}
  groups = paper.curve_groups(config, _means({"u": 64, "b": 64}))
  assert [names for _, names in groups.values()] == [["u", "b"]]


def test_other_experiments_have_no_figures_of_the_paper():
  assert paper.curve_groups({}, _means({"u": 64, "b": 64})) == {}


def test_losses_are_of_the_samplers_that_the_config_names():
  logs = pd.DataFrame(
    {
      "sampler": ["u", "u", "c", "c"],
      "examples_seen": [32] * 4,
      "train_loss": [1.0, 2.0, 3.0, 4.0],
      "loss": [5.0, 6.0, 7.0, 9.0],
    }
  )
  config = {"paper": {"losses": ["c"]}}
  assert paper.losses(config, logs).to_dict("records") == [
    {
      "sampler": "c",
      "examples_seen": 32,
      "train_loss": 3.5,
      "valid_loss": 8.0,
    }
  ]
  everyone = paper.losses({}, logs)
  assert everyone["train_loss"].tolist() == [1.5, 3.5]


def test_arms_are_those_of_the_samplers_partition(experiment):
  """The gallery has 4 classes and 4 arms of "difficulty"."""
  gallery = read_gallery(experiment)
  arms = figures.arm_labels("difficulty", 4, gallery)
  assert len(arms.strips) == 4
  assert arms.axis == "arm (1: easiest)"
  classes = figures.arm_labels("label", 4, gallery)
  assert classes.axis == "class"
  assert classes.names[3] == "plain"
  # The gallery does not have these partitions.
  unknown = figures.arm_labels("difficulty_in_pool", 4, gallery)
  assert unknown == (None, None, "arm (1: easiest)")
  assert figures.arm_labels("shuffled", 4, gallery) == (None, None, "arm")
  assert figures.arm_labels(None, 4, gallery) == (None, None, "arm")
  assert figures.arm_labels("difficulty", 5, gallery).strips is None
  assert figures.arm_labels("label", 4, None).names is None
