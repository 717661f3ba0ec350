"""An experiment resumes with the data and environment that it began with."""

import contextlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import alcurr
from alcurr import models, samplers
from alcurr.core import environment
from alcurr.core.errors import UserError
from alcurr.data import partitions
from alcurr.experiments import reference_model, setup
from alcurr.experiments.config import build, plain
from alcurr.training import compilation
from configs import default

BANDIT = {"name": "active_bandit", "warmup": 2}


def _linear(*, input_shape, num_classes):
  size = int(np.prod(input_shape))
  return models.from_functions(
    lambda key: jnp.zeros((size, num_classes)),
    lambda params, image: image.reshape(len(image), -1) @ params,
  )


def _write_data(path, seed=0, count=300):
  """Writes images whose labels are the same for each seed."""
  rng = np.random.default_rng(seed)
  labels = np.arange(count) % 3
  images = rng.integers(0, 100, (count, 4, 4)).astype(np.uint8)
  images[np.arange(count), labels] += 120
  np.savez(path, images=images, labels=labels)


def _compare(folder, *samplers, page=False):
  config = {
    "num_evals": 1,
    "batch_size": 8,
    "tracking": "none",
    "data.source": "npz",
    "data.dir": str(folder / "data.npz"),
    "difficulty.budget": "8 steps",
    "difficulty.num_arms": 2,
  }
  with contextlib.nullcontext() if page else toy.without_page():
    return alcurr.compare(
      samplers={n: BANDIT if n == "bandit" else n for n in samplers},
      model=_linear,
      budget="16 steps",
      trials=1,
      config=config,
      workdir=folder / "experiment",
    )


@pytest.fixture(scope="module")
def _finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("finished")
  _write_data(folder / "data.npz")
  _compare(folder, "uniform", "class_reweighting")
  return folder


@pytest.fixture
def finished(_finished):
  """A finished experiment, as it was before each test."""
  saved = _finished.with_name("saved")
  if not saved.exists():
    shutil.copytree(_finished, saved)
  shutil.rmtree(_finished)
  shutil.copytree(saved, _finished)
  return _finished


def _contents(folder):
  return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _cut(folder, name, keep_checkpoints=True):
  """Makes a finished run one that was cut after its last checkpoint."""
  run = folder / "experiment/runs" / name
  (run / "result.json").unlink()
  if not keep_checkpoints:
    shutil.rmtree(run / "checkpoints")


def _refuses(folder, *samplers):
  runs = folder / "experiment/runs"
  before = _contents(runs)
  with pytest.raises(UserError) as raised:
    _compare(folder, *samplers)
  assert raised.value.code == "mismatch"
  assert _contents(runs) == before
  if raised.value.place != "--workdir":
    assert raised.value.place.startswith(str(runs))
  return raised.value.text


@pytest.mark.parametrize(
  ("unfinished", "keep", "change"),
  [
    ("uniform", True, {"seed": 1}),
    ("class_reweighting", False, {"seed": 1}),
    ("class_reweighting", True, {"count": 330}),
    (None, True, {"count": 330}),
  ],
)
def test_other_data_are_refused(change, keep, unfinished, finished):
  """Even if only a finished run shows it."""
  if unfinished:
    _cut(finished, unfinished, keep)
  _write_data(finished / "data.npz", **change)
  assert "data" in _refuses(finished, "uniform", "class_reweighting")


@pytest.mark.parametrize("keep", [True, False])
def test_another_environment_is_refused(keep, finished, monkeypatch):
  _cut(finished, "class_reweighting", keep)
  other = environment.current() | {"threads": "99"}
  monkeypatch.setattr(environment, "current", lambda: other)
  text = _refuses(finished, "uniform", "class_reweighting")
  assert "is 99 (NPROC=" in text


@pytest.mark.parametrize("keep", [True, False])
def test_other_weights_are_refused(keep, finished):
  """The file's name is in the config, its content is not."""
  _cut(finished, "uniform", keep)
  path = finished / "experiment/runs/class_reweighting/result.json"
  result = json.loads(path.read_text()) | {"weights": "other"}
  path.write_text(json.dumps(result))
  assert "weights was other" in _refuses(
    finished, "uniform", "class_reweighting"
  )


def test_an_edited_sampler_is_refused(finished, monkeypatch):
  """The config names it as before; what it computes is another thing."""
  _cut(finished, "uniform")
  names, built_in = ("uniform", "class_reweighting"), samplers.uniform

  def edited(*, batch_size, replacement=False):
    base = built_in(batch_size=batch_size, replacement=replacement)

    def sample(key, state, pool):
      return base.sample(jax.random.fold_in(key, 7), state, pool)

    return base._replace(sample=sample)

  with monkeypatch.context() as patch:
    patch.setitem(samplers.SAMPLERS, "uniform", edited)
    assert "compiled program was" in _refuses(finished, *names)
  # The same code, compiled again, is the run that began.
  jax.clear_caches()
  compilation._compiled.clear()
  _compare(finished, *names)


def test_an_edited_partition_is_refused(finished, monkeypatch):
  _cut(finished, "class_reweighting")
  by_label = partitions.PARTITIONS["label"]

  def reversed_arms(label, *others):
    return by_label(label.max() - label, *others)

  monkeypatch.setitem(partitions.PARTITIONS, "label", reversed_arms)
  text = _refuses(finished, "uniform", "class_reweighting")
  assert "labels and partitions was" in text


def test_a_finished_experiment_is_shown_in_any_environment(
  finished, monkeypatch
):
  other = environment.current() | {"jax": "99"}
  monkeypatch.setattr(environment, "current", lambda: other)
  _compare(finished, "uniform", "class_reweighting")


@pytest.mark.parametrize("saved", [[1], None, {}])
def test_a_result_without_an_environment_is_not_the_runs(saved, finished):
  _cut(finished, "uniform")
  path = finished / "experiment/runs/class_reweighting/result.json"
  path.write_text(
    json.dumps(json.loads(path.read_text()) | {"environment": saved})
  )
  _refuses(finished, "uniform", "class_reweighting")


def test_a_sampler_is_added_to_a_finished_experiment(finished):
  """One that needs difficulty scores, which the others did not."""
  runs = finished / "experiment/runs"
  before = _contents(runs)
  names = ("uniform", "class_reweighting", "bandit")
  summary = _compare(finished, *names, page=True).summary
  assert sorted(summary["sampler"]) == [
    "bandit",
    "class_reweighting",
    "uniform",
  ]
  assert before.items() <= _contents(runs).items()
  page = (finished / "experiment/report.html").read_text()
  assert "bandit" in page


def test_a_finished_experiment_needs_no_scores_again(finished, monkeypatch):
  _compare(finished, "uniform", "class_reweighting", "bandit")
  shutil.rmtree(finished / "cache")
  other = environment.current() | {"jax": "99"}
  monkeypatch.setattr(environment, "current", lambda: other)
  _compare(finished, "uniform", "class_reweighting", "bandit")
  assert not list(finished.glob("cache/scores-*"))


def test_a_sampler_that_is_taken_away_stays_in_the_folder(finished):
  run = finished / "experiment/runs/class_reweighting"
  before = _contents(run)
  result = _compare(finished, "uniform")
  assert result.summary["sampler"].tolist() == ["uniform"]
  assert _contents(run) == before


def test_difficulty_scores_are_found_by_content(tmp_path, monkeypatch):
  """Their number, labels and keys are no content."""
  config = plain.merge(
    default.get_config(),
    {
      "data.source": "npz",
      "data.dir": str(tmp_path / "data.npz"),
      "difficulty.budget": "4 steps",
      "batch_size": 8,
      "tracking": "none",
    },
  )
  _write_data(tmp_path / "data.npz")
  experiment = build.build_experiment(config)
  context = setup.load_context(experiment, tmp_path / "cache")
  assert reference_model.missing_fits(context)
  reference_model.get_scores(context, tmp_path / "checkpoints")
  assert not reference_model.missing_fits(context)
  (entry,) = (tmp_path / "cache").glob("scores-*")
  _write_data(tmp_path / "data.npz", seed=1)
  other = setup.load_context(experiment, tmp_path / "cache")
  assert reference_model.missing_fits(other)
  # Not even under the name of the right ones.
  (score,) = other.experiment.trained_scores
  folder, _ = reference_model._request(other, score)
  shutil.copytree(entry, folder)
  assert reference_model.missing_fits(other)
  now = environment.current() | {"jax": "99"}
  monkeypatch.setattr(environment, "current", lambda: now)
  assert reference_model.missing_fits(context)
