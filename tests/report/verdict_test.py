"""Verdicts on experiments whose results are written by hand."""

import json

import numpy as np
import pytest

from alcurr.report import bootstrap, tables, verdict

N = 2000


def _write(workdir, right, label=None, flops=None, trials=6, diverged=None):
  """Returns the verdict of an experiment.

  `right` has by sampler the share of right examples, or that by class;
  `diverged` some samplers' trials that diverged. A share of 0: all did.
  """
  config = {"samplers": {name: {} for name in right}, "baseline": "uniform"}
  workdir.mkdir(exist_ok=True)
  (workdir / "config.json").write_text(json.dumps(config))
  label = np.arange(N) % 2 if label is None else label
  for name, share in right.items():
    folder = workdir / "runs" / name
    folder.mkdir(parents=True)
    of_class = np.broadcast_to(share, 2)
    # The same examples are the hard ones for all, and trials differ a little.
    hard = np.random.default_rng(1).random(N)
    shift = np.random.default_rng(2).normal(0, 0.002, (trials, 1))
    rank = np.where(hard + shift < of_class[label], 0, 2).astype(np.int32)
    loss = np.ones(rank.shape, np.float32)
    np.savez(folder / "test.npz", rank=rank, loss=loss, label=label)
    result = {
      "sampler": name,
      "baseline": "uniform",
      "batch_size": 32,
      "examples_seen": 320,
      "train_seconds": 1.0,
      "scoring_seconds": 0.0,
      "flops_per_step": 100.0,
      "flops": 1000.0 * (flops or {}).get(name, 1.0),
      "trials": [
        {"diverged_step": 3, "divergence_reason": "loss"}
        if np.all(share == 0) or trial in (diverged or {}).get(name, ())
        else {}
        for trial in range(trials)
      ],
    }
    (folder / "result.json").write_text(json.dumps(result))
  summary = tables.summary_table(workdir, tables.read_results(workdir))
  return verdict.describe(workdir, summary)


def test_better_and_worse_with_their_cost(tmp_path):
  text = _write(
    tmp_path,
    {"uniform": 0.7, "good": 0.75, "bad": 0.6, "same": 0.7},
    flops={"good": 1.01, "bad": 2.0},
  )
  first, second = text.removesuffix(".").split(". ")
  assert first.startswith("good is better than uniform by ")
  assert "points of top-1 at x1.01 of the cost (6 trials)" in first
  low, high = map(
    float, first.split(" by ")[1].split(" points")[0].split(" to ")
  )
  assert 3 < low < 5 < high < 7
  assert second.startswith("bad is worse by ") and "x2.00" in second
  assert "same" not in text


def test_nothing_is_better(tmp_path):
  text = _write(tmp_path, {"uniform": 0.7, "a": 0.7003, "b": 0.7003})
  assert text == (
    "No sampler is measurably better than uniform here (6 trials)."
  )


@pytest.mark.parametrize("trials", [1, 6])
def test_what_is_identical_is_called_so(tmp_path, trials):
  right = {"uniform": 0.7, "a": 0.7}
  text = _write(tmp_path / "one", right, trials=trials)
  assert "a is identical to uniform" in text and "0.0" not in text
  text = _write(tmp_path / "all", right | {"b": 0.7}, trials=trials)
  assert "a, b are identical to uniform" in text
  text = _write(tmp_path / "some", right | {"b": 0.701}, trials=trials)
  assert ("identical" in text) == (trials > 1)
  assert "b is identical" not in text and "b are" not in text


def test_a_single_sampler_that_does_not_differ(tmp_path):
  text = _write(tmp_path, {"uniform": 0.7, "a": 0.7003}, trials=3)
  assert "a is not measurably better or worse than uniform" in text
  assert "at equal cost" in text and "few for a claim" in text


def test_one_trial(tmp_path):
  text = _write(tmp_path, {"uniform": 0.7, "a": 0.8, "b": 0.71}, trials=1)
  assert text.startswith("One trial: no measure of chance")
  assert "a, +" in text and "better" not in text


def test_nothing_to_compare(tmp_path):
  assert "nothing to compare" in _write(tmp_path, {"uniform": 0.7})


def test_samplers_that_diverged_are_named(tmp_path):
  text = _write(tmp_path, {"uniform": 0.7, "a": 0.0, "b": 0.7})
  assert "Every trial of a diverged" in text


@pytest.mark.parametrize(
  ("diverged", "start"),
  [
    ({"uniform": [0, 1]}, "a is better than uniform"),
    ({"uniform": [0, 1, 2], "a": [3]}, "One trial: no measure of chance"),
    ({"uniform": [0, 1, 2], "a": [3, 4]}, "No sampler has a trial that"),
  ],
)
def test_trials_are_those_that_neither_diverged_in(tmp_path, diverged, start):
  """Five trials each, some of which diverged for the baseline alone."""
  right = {"uniform": 0.7, "a": 0.8}
  text = _write(tmp_path, right, trials=5, diverged=diverged)
  assert text.startswith(start) and "nan" not in text
  if start.startswith("a is"):
    assert "(3 trials, few for a claim)" in text


def test_a_single_pair_of_trials_shows_nothing_among_others(tmp_path):
  right = {"uniform": 0.7, "a": 0.8, "b": 0.9}
  text = _write(tmp_path, right, diverged={"b": [0, 1, 2, 3, 4]})
  assert text.startswith("a is better than uniform") and "b " not in text
  assert "(1 to 6 trials, few for a claim)" in text


def test_many_samplers_are_three_sentences(tmp_path):
  """And so many do not hide an effect by their number alone."""
  right = {"uniform": 0.7} | {f"s{i}": 0.7 for i in range(20)}
  right |= {f"good{i}": 0.8 + i / 100 for i in range(5)}
  right |= {f"bad{i}": 0.5 for i in range(5)}
  text = _write(tmp_path, right)
  assert text.startswith("good4 is better")
  assert "good3" in text and "and 2 more" in text
  assert len(text.removesuffix(".").split(". ")) <= 3


def test_balanced_accuracy_disagrees(tmp_path):
  """Better on the large class, worse by more on the small one."""
  label = (np.arange(N) % 10 == 0).astype(int)
  shares = {"uniform": [0.7, 0.7], "a": [0.8, 0.4]}
  right = {name: np.array(share) for name, share in shares.items()}
  text = _write(tmp_path, right, label)
  assert "a is better than uniform" in text
  assert "In balanced accuracy" in text and "x9.0 in size, a is worse" in text


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_the_weights_make_the_mean_over_classes(tmp_path, shift):
  label = (np.arange(N) % 10 == 0).astype(int)
  _write(tmp_path, {"uniform": np.array([0.7, 0.4 + shift])}, label)
  values = tables.per_example(tmp_path, "uniform")
  by_class = [values["top1"][:, label == c].mean() for c in (0, 1)]
  mean = bootstrap.mean(values["balanced_accuracy"])
  assert mean == pytest.approx(np.mean(by_class))
