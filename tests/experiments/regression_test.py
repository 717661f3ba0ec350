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
  """Returns rows, and two numbers that depend on them."""
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(400, 4)) * [1, 10, 100, 1]
  target = rows / [1, 10, 100, 1] @ rng.normal(size=(4, 2))
  return rows, target + 0.1 * rng.normal(size=(400, 2))


def _compare(workdir, **changes):
  rows, target = _data()
  arguments = {
    "model": "mlp(hidden=(32,))",
    "regression": True,
    "trials": 2,
    "budget": "15 epochs",
    "config": SMALL,
    "test": (rows[300:], target[300:]),
  }
  arguments |= {"workdir": workdir} | changes
  return alcurr.compare(rows[:300], target[:300], **arguments)


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
    found = [
      r2_score(
        target[300:],
        predict_targets(run, rows[300:], trials=trial),
        multioutput="variance_weighted",
      )
      for trial in (0, 1)
    ]
    assert summary["r2"][name] == pytest.approx(np.mean(found), abs=1e-4)
    assert summary["r2"][name] > 0.8
  assert "R²" in compared.verdict


@pytest.mark.parametrize(("shift", "warns"), [(0, False), (1000, True)])
def test_far_targets_are_told(tmp_path, caplog, shift, warns):
  rows, target = _data()
  alcurr.compare(
    rows,
    target[:, 0] + shift,
    samplers=["uniform"],
    model="mlp(hidden=(8,))",
    regression=True,
    trials=1,
    budget="1 epoch",
    config=SMALL,
    workdir=tmp_path / "experiment",
  )
  assert ("standardize" in caplog.text) == warns


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
