"""Experiments on rows that are no images."""

import bright_rows
import numpy as np
import pandas as pd
import pytest
from refusal import refused

import alcurr
from alcurr.experiments.predict import predict_probabilities

SMALL = {"num_evals": 1, "tracking": "none"}


def _table():
  """Returns a data frame whose first column has the class, and the classes."""
  rng = np.random.default_rng(0)
  label = rng.integers(0, 3, 300)
  columns = {
    "size": 1000 * label + rng.normal(0, 100, 300),
    "age": rng.integers(0, 90, 300),
  }
  return pd.DataFrame(columns), np.array(["ant", "bee", "cat"])[label]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
  frame, labels = _table()
  return alcurr.compare(
    frame,
    labels,
    model="mlp(hidden=(16,))",
    samplers=["uniform", "label_trust", "curriculum"],
    scores={"difficulty": np.arange(300)},
    trials=2,
    budget="8 epochs",
    config=SMALL | {"data.label_noise": 0.2, "optimizer.learning_rate": 0.02},
    workdir=tmp_path_factory.mktemp("rows") / "experiment",
  )


def test_a_table_is_learned_and_its_wrong_labels_are_found(compared):
  _, labels = _table()
  summary = compared.summary.set_index("sampler")
  assert summary["top1"]["uniform"] > 0.9
  found = compared.suspects()
  # Names of the user's own rows; some of them were made wrong.
  first = found[found["probability"] > 0.5]
  true = labels[first["index"].to_numpy()]
  assert len(first) > 20
  assert (first["given_label"].to_numpy() != true).mean() > 0.8
  assert (first["suggested_label"].to_numpy() == true).mean() > 0.8


def test_the_report_has_tables_instead_of_images(compared):
  page = (compared.workdir / "report.html").read_text()
  assert "Probably mislabelled" in page
  figures = {path.name for path in (compared.workdir / "figures").iterdir()}
  assert "least_and_most.csv" in figures
  assert not figures & {"least_and_most.png", "suspects_label_trust.png"}


def test_a_run_predicts_rows(compared):
  frame, labels = _table()
  run = compared.workdir / "runs" / "uniform"
  predicted = predict_probabilities(run, frame)
  names = np.array(predicted.class_names)[predicted.probability.argmax(1)]
  assert (names == labels).mean() > 0.9
  with refused("mismatch", "inputs"):
    predict_probabilities(run, frame[["age"]])
  with refused("unsupported", "flips"):
    predict_probabilities(run, frame, flips=True)


def test_arrays_of_a_dict_reach_a_model_of_ones_own(tmp_path):
  frame, labels = _table()
  inputs = {"first": frame["size"].to_numpy(), "rest": frame[["age"]] + 0.0}
  result = alcurr.compare(
    inputs,
    labels,
    test=({k: v[:30] + 0.5 for k, v in inputs.items()}, labels[:30]),
    model=bright_rows.of_dict,
    samplers=["uniform"],
    trials=1,
    budget="20 steps",
    config=SMALL | {"data.pool": "host"},
    workdir=tmp_path / "experiment",
  )
  assert result.summary["test_examples"].item() == 30


@pytest.mark.parametrize(
  ("changes", "code", "place"),
  [
    ({"model": "cnn"}, "argument", "model"),
    ({"augment": "affine(shift=0.1)"}, "conflict", "augment"),
    ({"data.channels": "ink,order"}, "conflict", "data.channels"),
    ({"data.value_range": "0,255"}, "conflict", "value_range"),
  ],
)
def test_what_needs_images_is_refused(tmp_path, changes, code, place):
  frame, labels = _table()
  config = SMALL | changes
  model = config.pop("model", "mlp")
  with refused(code, place):
    alcurr.compare(
      frame, labels, model=model, config=config, workdir=tmp_path / "new"
    )
  assert not (tmp_path / "new").exists()
