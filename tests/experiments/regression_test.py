"""Experiments whose labels are numbers to predict."""

import numpy as np
import pandas as pd
import pytest
from refusal import refused
from sklearn.metrics import r2_score

import alcurr
from alcurr.data import arrays
from alcurr.experiments.predict import predict_probabilities, predict_targets

SMALL = {
  "num_evals": 2,
  "tracking": "none",
  "optimizer.learning_rate": 0.01,
}


def _data():
  """Returns rows, and two numbers that depend on them, one of them far."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(400, 4)) * [1, 10, 100, 1]
  target = rows / [1, 10, 100, 1] @ rng.normal(size=(4, 2))
  target += 0.1 * rng.normal(size=(400, 2))
  return rows, target * [1, 1e5] + [0, 1e6]


def _compare(workdir, **changes):
  rows, target = _data()
  arguments = {
    "model": "mlp(hidden=(32,))",
    "regression": True,
    "trials": 2,
    "budget": "15 epochs",
    "config": SMALL,
    "inputs": rows[:300],
    "labels": target[:300],
    "test": (rows[300:], target[300:]),
  }
  arguments |= {"workdir": workdir} | changes
  return alcurr.compare(**arguments)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
  return _compare(tmp_path_factory.mktemp("regression") / "experiment")


def test_the_summary_has_the_r2_of_scikit_learn(compared):
  rows, target = _data()
  summary = compared.summary.set_index("sampler")
  assert {*summary.index} == {"uniform", "self_paced"}
  runs = pd.read_csv(compared.workdir / "results.csv")
  for table in (summary, runs):
    assert "r2" in table and not {"top1", "auc"} & {*table}
  for name in summary.index:
    run = compared.workdir / "runs" / name
    # Each of both numbers counts by its variance on the test split, in units
    # of its deviation among the examples trained on, which are most others.
    weight = target[300:].var(0) / target[:300].var(0)
    found = [
      np.average(
        r2_score(
          target[300:],
          predict_targets(run, rows[300:], trials=trial),
          multioutput="raw_values",
        ),
        weights=weight,
      )
      for trial in (0, 1)
    ]
    assert summary["r2"][name] == pytest.approx(np.mean(found), abs=1e-3)
    assert summary["r2"][name] > 0.8
  assert "R²" in compared.verdict


@pytest.mark.slow  # targets_test.py has the scale
def test_units_do_not_matter(tmp_path):
  """Targets in dollars and in thousands of them, and predictions likewise."""
  rows, target = _data()
  r2, found = [], []
  for factor in (1, 1e-3):
    prices = factor * target[:, 1]
    result = _compare(
      tmp_path / f"{factor}",
      samplers=["uniform"],
      trials=1,
      budget="6 epochs",
      inputs=rows[:300],
      labels=prices[:300],
      test=(rows[300:], prices[300:]),
    )
    run = result.workdir / "runs" / "uniform"
    found.append(predict_targets(run, rows[300:])[:, 0])
    r2.append(result.summary["r2"][0])
    assert r2[-1] == pytest.approx(r2_score(prices[300:], found[-1]), abs=1e-4)
  assert r2[0] == pytest.approx(r2[1], abs=1e-3) and r2[0] > 0.5
  np.testing.assert_allclose(found[1], 1e-3 * found[0], rtol=1e-3)


def test_the_report_and_the_curves_are_of_r2(compared):
  page = (compared.workdir / "report.html").read_text()
  assert "R²\N{NO-BREAK SPACE}%" in page and "top-1" not in page
  assert compared.curves["r2"].notna().all()
  assert compared.plot_curves().axes


def test_a_run_of_targets_has_no_probabilities(compared):
  run = compared.workdir / "runs" / "uniform"
  with refused("unsupported", str(run)):
    predict_probabilities(run, _data()[0])


@pytest.mark.parametrize(
  ("changes", "code", "place"),
  [
    ({"samplers": ["label_trust"]}, "argument", "samplers.label_trust"),
    ({"config": SMALL | {"loss": "gce"}}, "argument", "loss"),
    ({"config": SMALL | {"loss": "elr"}}, "argument", "loss"),
    (
      {"config": SMALL | {"data.label_noise": 0.1}},
      "conflict",
      "data.label_noise",
    ),
    ({"config": SMALL | {"data.imbalance": 2.0}}, "conflict", "data.imbalance"),
    ({"test": (_data()[0], _data()[1][:9])}, "data", "test"),
  ],
)
def test_what_needs_classes_is_refused(tmp_path, changes, code, place):
  with refused(code, place):
    _compare(tmp_path / "new", **changes)
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  "targets",
  [["a", "b", "c"], [1.0, np.nan, 2.0], [1.0, 2.0], [1.0, 1.0, 1.0]],
)
def test_what_is_no_target_is_refused(targets):
  with refused("data", "labels"):
    arrays.from_arrays(np.eye(3), targets, regression=True)
