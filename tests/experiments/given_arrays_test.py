"""alcurr.compare with the user's own splits and names of classes."""

import json
import pathlib

import bright_rows
import numpy as np
import pytest
from refusal import refused
from sklearn import metrics

import alcurr
from alcurr.report import page
from alcurr.report.gallery import read_gallery

NAMES = ["ant", "bee", "cat"]
SMALL = {"num_evals": 1, "batch_size": 8, "tracking": "none"}


def _compare(workdir, **changes):
  images, labels = bright_rows.make_data()
  arguments = {
    "inputs": images,
    "labels": labels,
    "validation": bright_rows.make_data(40, 1),
    "test": bright_rows.make_data(61, 2),
    "probe": bright_rows.make_data(16, 3),
    "class_names": NAMES,
    "samplers": [
      "uniform",
      "active_bandit(gain='target_prediction_gain', partition='label')",
    ],
    "model": bright_rows.linear,
    "budget": "40 steps",
    "trials": 2,
    "config": SMALL | {"data.label_noise": 0.3},
  }
  return alcurr.compare(**arguments | {"workdir": workdir} | changes)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
  return _compare(tmp_path_factory.mktemp("given") / "experiment")


def test_the_test_split_is_the_given_one(result):
  _, labels = bright_rows.make_data(61, 2)
  summary = result.summary.set_index("sampler").loc["uniform"]
  assert summary["test_examples"] == 61
  with np.load(result.workdir / "runs/uniform/test.npz") as test:
    np.testing.assert_array_equal(test["label"], labels)
    right = test["rank"] < 1
  assert summary["top1"] == pytest.approx(right.mean(), abs=1e-6)
  # A third of wrong labels in training, none in the test.
  assert summary["top1"] > 0.9
  counts = [c["count"] for c in read_gallery(result.workdir).info["classes"]]
  assert sum(counts) == 300


def test_balanced_accuracy_is_scikit_learns(result):
  with np.load(result.workdir / "runs/uniform/test.npz") as test:
    label, rank = test["label"], test["rank"]
  path = result.workdir / "runs/uniform/result.json"
  trials = json.loads(path.read_text())["trials"]
  for trial, row in zip(trials, rank, strict=True):
    # Any wrong class: recalls depend on the true one alone.
    predicted = np.where(row < 1, label, (label + 1) % 3)
    expected = metrics.balanced_accuracy_score(label, predicted)
    assert trial["balanced_accuracy"] == pytest.approx(expected)
    assert 0.9 < trial["auc"] <= 1
  summary = result.summary.set_index("sampler").loc["uniform"]
  mean = np.mean([trial["balanced_accuracy"] for trial in trials])
  assert summary["balanced_accuracy"] == pytest.approx(mean, abs=1e-6)


def test_names_are_in_tables_and_pages(result):
  """Their page has no file of the cache, which the user does not know."""
  config = json.loads((result.workdir / "config.json").read_text())
  shown = page.facts(result.workdir, config)["data"]
  assert "test: given" in shown and ".npz" not in shown
  assert read_gallery(result.workdir).info["class_names"] == NAMES
  assert result.verdict in result._repr_html_()
  assert result.verdict in (result.workdir / "report.html").read_text()


def test_the_same_call_resumes(result):
  path = result.workdir / "runs/uniform/result.json"
  before = path.stat().st_mtime_ns
  assert _compare(result.workdir).summary.equals(result.summary)
  assert path.stat().st_mtime_ns == before
  with refused("mismatch", "--workdir"):
    _compare(result.workdir, test=bright_rows.make_data(61, 9))


@pytest.fixture
def datasets():
  """Returns a function that makes a Dataset of PyTorch, as images of bytes."""
  torch = pytest.importorskip("torch", reason="the extra `torch` brings it")

  def make(*data):
    images, labels = bright_rows.make_data(*data)
    tensors = torch.tensor(images), torch.tensor(labels)
    return torch.utils.data.TensorDataset(*tensors)

  return make


def test_datasets_of_pytorch_are_the_same_data(result, datasets):
  """They resume the experiment of the arrays, which trains nothing."""
  again = _compare(
    result.workdir,
    inputs=datasets(),
    labels=None,
    validation=datasets(40, 1),
    test=datasets(61, 2),
    probe=datasets(16, 3),
  )
  assert again.summary.equals(result.summary)
  with refused("mismatch", "--workdir"):
    _compare(result.workdir, test=datasets(61, 9))
  with refused("conflict", "labels"):
    _compare(result.workdir, inputs=datasets())


def test_names_of_classes_are_those_of_the_dataset(tmp_path, datasets):
  dataset = datasets()
  dataset.classes = NAMES
  arguments = {"labels": None, "samplers": ["uniform"], "class_names": None}
  options = arguments | {"trials": 1, "budget": "3 steps"}
  found = _compare(tmp_path / "x", inputs=dataset, **options)
  assert read_gallery(found.workdir).info["class_names"] == NAMES


IMAGES, LABELS = bright_rows.make_data(20, 5)


@pytest.mark.parametrize(
  ("changes", "code", "place"),
  [
    ({"test": (IMAGES[:, :3], LABELS)}, "conflict", "test"),
    ({"test": (IMAGES, LABELS[:-1])}, "data", "test"),
    ({"test": (IMAGES, LABELS + 1)}, "data", "test"),
    ({"test": (IMAGES, LABELS + 1), "class_names": None}, "data", "test"),
    ({"test": IMAGES}, "type", "test"),
    ({"test": (IMAGES,)}, "type", "test"),
    ({"validation": (IMAGES, None)}, "missing", "validation"),
    ({"probe": (IMAGES, [f"c{i}" for i in LABELS])}, "data", "probe"),
    ({"test": bright_rows.make_data()}, "data", "test"),
    ({"validation": bright_rows.make_data()}, "data", "validation"),
    ({"inputs": None, "labels": None}, "conflict", "class_names"),
    (
      {"inputs": None, "labels": None, "class_names": None},
      "conflict",
      "validation",
    ),
    ({"config": SMALL | {"data.test_dir": "a.npz"}}, "conflict", "test"),
    # A split of files has no argument.
    (
      {"test": None, "config": SMALL | {"data.test_dir": "a.npz"}},
      "missing",
      pathlib.Path("a.npz").resolve(),
    ),
    (
      {
        "inputs": None,
        "labels": None,
        "class_names": None,
        **dict.fromkeys(["validation", "test", "probe"]),
        "config": SMALL | {"data.test_dir": "a.npz"},
      },
      "conflict",
      "data.test_dir",
    ),
    ({"class_names": NAMES[:2]}, "data", "labels"),
    ({"class_names": [*NAMES, "dog"]}, "data", "labels"),
    ({"groups": [0, 1]}, "data", "groups"),
    (
      {
        "groups": np.arange(300) % 2,
        "samplers": [{"name": "aioli", "partition": "groups"}],
        "budget": "200 steps",
      },
      "conflict",
      "samplers.aioli",
    ),
  ],
)
def test_mistakes(tmp_path, changes, code, place):
  with refused(code, place):
    _compare(tmp_path / "x", **changes)
  assert not (tmp_path / "x" / "config.json").exists()
