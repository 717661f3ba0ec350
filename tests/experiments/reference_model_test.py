"""Scores by models: who saw what, several at once, caching and resuming.

The images are one-hot: a linear model that starts from zero knows nothing of
an image that it was not trained on, whose loss is that of a uniform guess.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alcurr import models
from alcurr.core.errors import UserError
from alcurr.data.folds import assign_folds
from alcurr.data.pool import on_device
from alcurr.experiments import (
  fits,
  preemption,
  reference_model,
  setup,
)
from alcurr.experiments.config import build, plain
from alcurr.experiments.pools import host_pools
from alcurr.models import MODELS
from alcurr.training import loop, processes
from configs import default

SIDE, COPIES, CLASSES = 11, 20, 3
GUESS = np.float32(np.log(CLASSES))


def _linear(*, input_shape, num_classes):
  size = int(np.prod(input_shape))
  return models.from_functions(
    lambda key: jnp.zeros((size, num_classes)),
    lambda params, image: image.reshape(len(image), -1) @ params,
  )


def _ignorant(*, input_shape, num_classes):
  return models.from_functions(
    lambda key: jnp.zeros(()),
    lambda params, image: (
      0 * params * image[:, 0, 0, :1] + jnp.zeros(num_classes)
    ),
  )


@pytest.fixture(autouse=True)
def _models(monkeypatch):
  monkeypatch.setitem(MODELS, "linear", _linear)
  monkeypatch.setitem(MODELS, "ignorant", _ignorant)


def _write_data(folder):
  """Writes one-hot images, some of them twice."""
  size = SIDE**2
  number = np.concatenate([np.arange(size), np.arange(COPIES)])
  images = 255 * np.eye(size, dtype=np.uint8)[number].reshape(-1, SIDE, SIDE)
  np.savez(folder / "data.npz", images=images, labels=number % CLASSES)


def _context(folder, cache="cache", **changes):
  if not (folder / "data.npz").exists():
    _write_data(folder)
  config = default.get_config()
  config.samplers = ConfigDict(
    {"uniform": {"name": "uniform"}, "rho": {"name": "rho_loss", "keep": 0.5}}
  )
  fields = {
    "model.name": "linear",
    "data.source": "npz",
    "data.dir": str(folder / "data.npz"),
    "batch_size": 4,
    "chunk_steps": 4,
    "num_evals": 1,
    "checkpoint.steps": 4,
    "optimizer.learning_rate": 0.1,
  }
  changes = {f"scores.irreducible.{k}": v for k, v in changes.items()}
  if changes.get("scores.irreducible.train_on") == "probe":
    fields["data.probe_fraction"] = 0.4
  config = plain.merge(config, fields | changes)
  experiment = build.build_experiment(config)
  return setup.load_context(experiment, folder / cache)


def _irreducible(context, folder):
  return reference_model.get_scores(context, folder).values["irreducible"]


def _number(part):
  """Returns which pixel of each image is on."""
  return part.source.image.reshape(len(part.label), -1).argmax(1)


@pytest.mark.parametrize("folds", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_cross_fitted_model_scores_what_it_never_saw(tmp_path, folds):
  """Not even a copy, and every other example is learned from."""
  context = _context(tmp_path, folds=folds, budget="6 epochs")
  values = _irreducible(context, tmp_path / "scores")
  assert values.keys() == context.parts.keys() == {"train", "valid", "test"}
  for name, part in context.parts.items():
    assert values[name].dtype == np.float32
    assert values[name].shape == part.label.shape
    np.testing.assert_allclose(values[name], GUESS, rtol=1e-6)
  assert not (tmp_path / "scores").exists()
  # The same models know what they were trained on.
  (score,) = context.experiment.trained_scores
  train = context.parts["train"]
  planned = fits.make_fits(score, context.parts)
  assert len(planned) == folds
  times = np.zeros(len(train.label), int)
  for fit in planned:
    times[fit.train] += 1
    held_out = fit.scored["train"]
    seen = set(_number(train)[fit.train])
    assert not seen & set(_number(train)[held_out])
    assert len(fit.train) + len(held_out) == len(train.label)
  assert (times == folds - 1).all()


def test_a_model_knows_what_it_was_trained_on(tmp_path):
  context = _context(tmp_path, train_on="train", budget="3 epochs")
  values = _irreducible(context, tmp_path / "scores")
  assert (values["train"] < 0.95 * GUESS).all()
  np.testing.assert_allclose(values["test"], GUESS, rtol=1e-6)


def test_a_hold_out_model_knows_the_probe_split_only(tmp_path):
  context = _context(tmp_path, train_on="probe", budget="3 epochs")
  values = _irreducible(context, tmp_path / "scores")
  np.testing.assert_allclose(values["train"], GUESS, rtol=1e-6)
  assert (values["probe"] < 0.95 * GUESS).all()
  # An epoch is one of the split that it is trained on.
  (score,) = context.experiment.trained_scores
  (fit,) = fits.make_fits(score, context.parts)
  assert fit.num_steps == int(3 * len(context.parts["probe"].label) / 4)


def test_folds_share_the_budget(tmp_path):
  """Together they cost what a single model does."""
  steps = {}
  for train_on in ("train", "cross"):
    context = _context(tmp_path, train_on=train_on, budget="24 steps", folds=3)
    (score,) = context.experiment.trained_scores
    planned = fits.make_fits(score, context.parts)
    steps[train_on] = [fit.num_steps for fit in planned]
  assert steps == {"train": [24], "cross": [8, 8, 8]}
  context = _context(tmp_path, budget="2 steps", folds=3)
  (score,) = context.experiment.trained_scores
  with pytest.raises(UserError) as raised:
    fits.make_fits(score, context.parts)
  assert raised.value.place == "scores.irreducible.budget"
  assert raised.value.code == "range"


def test_a_score_is_the_mean_over_seeds(tmp_path):
  options = {"train_on": "train", "budget": "20 steps", "scorer": "el2n"}

  def scores(seed, seeds):
    context = _context(tmp_path, seed=seed, seeds=seeds, **options)
    return _irreducible(context, tmp_path / "scores")["train"]

  both, first, second = scores(50, 2), scores(50, 1), scores(51, 1)
  assert (first != second).any()
  np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-6)


@pytest.mark.parametrize(
  "scorer", ["aum", pytest.param("forgetting", marks=pytest.mark.slow)]
)
def test_a_score_may_be_collected_while_training(tmp_path, scorer):
  """It is that of the sampler's state, and of other splits the mean."""
  # Half of the examples are visited twice, and known the second time.
  options = {"train_on": "train", "budget": "1.5 epochs", "scorer": scorer}
  context = _context(tmp_path, **options, seeds=2)
  values = _irreducible(context, tmp_path / "scores")
  (score,) = context.experiment.trained_scores
  (fit,) = fits.make_fits(score, context.parts)
  run, compiled, pools = reference_model.prepare(context, fit)
  result = loop.train(
    run, compiled, on_device(pools), lambda _: None, lambda *_: None
  )
  state = result.state.sampler_state
  each = [
    run.sampler.running_scores(jax.tree.map(lambda x, i=i: x[i], state))[scorer]
    for i in (0, 1)
  ]
  np.testing.assert_allclose(values["train"], np.mean(each, 0), rtol=1e-6)
  assert len(set(values["train"].tolist())) > 1
  for name in ("valid", "test"):
    expected = values["train"].astype(np.float64).mean()
    np.testing.assert_allclose(values[name], expected, rtol=1e-5)


def test_another_network_may_score(tmp_path):
  options = {"train_on": "train", "budget": "20 steps"}
  context = _context(tmp_path, model="ignorant", **options)
  values = _irreducible(context, tmp_path / "scores")
  np.testing.assert_allclose(values["train"], GUESS, rtol=1e-6)


def test_scores_are_found_by_their_definition(tmp_path):
  """And made again for another; the name is no part of it."""
  options = {"budget": "8 steps", "train_on": "train", "seed": 70}
  context = _context(tmp_path, **options)
  _irreducible(context, tmp_path / "scores")
  assert not reference_model.missing_fits(context)
  for change in (
    {"seed": 71},
    {"seeds": 2},
    {"scorer": "el2n"},
    {"train_on": "cross"},
    {"model": "ignorant"},
    {"budget": "9 steps"},
  ):
    other = _context(tmp_path, **options | change)
    assert reference_model.missing_fits(other), change
  config = other.experiment.config.copy_and_resolve_references()
  fields = config.scores.irreducible.to_dict() | options
  config = plain.merge(
    config,
    {
      "scores.mine": fields | {"scorer": "loss", "model": "", "seeds": 1},
      "samplers.rho.reference": "mine",
    },
  )
  experiment = build.build_experiment(config)
  assert [score.name for score in experiment.trained_scores] == ["mine"]
  renamed = setup.load_context(experiment, tmp_path / "cache")
  assert not reference_model.missing_fits(renamed)


class _StopsAfter:
  """Signals that stop training after some chunks."""

  def __init__(self, chunks):
    self.remaining = chunks

  @contextlib.contextmanager
  def held(self):
    def stop():
      self.remaining -= 1
      return self.remaining < 0

    yield stop
    if self.remaining < 0:
      raise preemption.Stopped(15)


@pytest.mark.slow
def test_a_score_that_was_cut_ends_like_one_that_was_not(tmp_path, monkeypatch):
  """The first fold is not trained again, and the second resumes."""
  options = {"budget": "32 steps", "seeds": 2, "scorer": "el2n"}
  context = _context(tmp_path, **options)
  cut = context._replace(signals=_StopsAfter(6))
  folder = tmp_path / "scores"
  with pytest.raises(preemption.Stopped):
    reference_model.get_scores(cut, folder)
  starts = []
  restore = processes.checkpoint.restore

  def recorded(*args):
    start = restore(*args)
    starts.append(start and start.step)
    return start

  monkeypatch.setattr(processes.checkpoint, "restore", recorded)
  resumed = _irreducible(context, folder)
  assert starts == [16, 8]
  assert not folder.exists()
  whole = _irreducible(_context(tmp_path, "other", **options), folder)
  for name in whole:
    np.testing.assert_array_equal(resumed[name], whole[name])


def test_scores_from_a_file_follow_the_examples(tmp_path):
  """Into every split, without a model."""
  _write_data(tmp_path)
  size = SIDE**2 + COPIES
  number = np.concatenate([np.arange(SIDE**2), np.arange(COPIES)])
  np.save(tmp_path / "mine.npy", 1000 - number)
  context = _context(tmp_path, file=str(tmp_path / "mine.npy"))
  assert not context.experiment.trained_scores
  assert not reference_model.get_scores(context, tmp_path / "scores").values
  pools = host_pools(context)
  for name in ("train", "valid", "test"):
    np.testing.assert_array_equal(
      pools[name].scores["irreducible"], 1000 - _number(context.parts[name])
    )
  np.save(tmp_path / "mine.npy", np.zeros(size - 1))
  with pytest.raises(UserError) as raised:
    _context(tmp_path, file=str(tmp_path / "mine.npy"))
  assert raised.value.code == "data"
  assert raised.value.place == "scores.irreducible.file"


@pytest.mark.parametrize(
  ("field", "value", "code"),
  [
    ("train_on", "valid", "unknown"),
    ("scorer", "aum", "conflict"),
    ("folds", 1, "range"),
    ("seeds", 0, "range"),
    ("seed", 1, "conflict"),
    ("seed", "a", "type"),
    ("scorer", "looss", "unknown"),
    ("model", "linaer", "unknown"),
    ("budget", "soon", "syntax"),
    ("file", "none.npy", "missing"),
    ("file", "scores.txt", "unsupported"),
  ],
)
def test_mistakes_in_a_score(tmp_path, field, value, code):
  with pytest.raises(UserError) as raised:
    _context(tmp_path, **{field: value})
  assert raised.value.code == code
  # A score that is collected is of the examples trained on.
  field = "train_on" if value == "aum" else field
  assert raised.value.place == f"scores.irreducible.{field}"


def test_mistakes_in_the_names_of_scores():
  for scores, code, place in (
    ({"difficulty": {}}, "syntax", "scores"),
    ({"a/b": {}}, "syntax", "scores"),
    ({"a": {"sede": 1}}, "unknown", "scores.a"),
    ({"a": 1}, "type", "scores.a"),
  ):
    with pytest.raises(UserError) as raised:
      build.build_experiment(
        plain.merge(default.get_config(), {"scores": scores})
      )
    assert (raised.value.code, raised.value.place) == (code, place)


def test_folds_are_stable_and_balanced_in_any_split():
  key = np.random.default_rng(0).integers(0, 2**64, 20_000, np.uint64)
  fold = assign_folds(key, 2)
  np.testing.assert_array_equal(assign_folds(key[:100], 2), fold[:100])
  assert set(fold.tolist()) == {0, 1}
  # The split takes the largest keys, train_examples the smallest of those.
  for part in (key > 2**63, key < 2**60, key % np.uint64(2) == 0):
    share = fold[part].mean()
    assert abs(share - 0.5) < 4 * 0.5 / part.sum() ** 0.5
  three = np.bincount(assign_folds(key, 3)) / len(key)
  np.testing.assert_allclose(three, 1 / 3, atol=0.02)
