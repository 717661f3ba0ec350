"""Re-weighting against a NumPy oracle of its rule, and planted mistakes."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr.data.pool import make_gather
from alcurr.samplers import class_reweighting
from alcurr.training import chunks, step
from alcurr.types import Batch

V = toy.NUM_CLASSES
POOL = toy.make_pool()
PROBE = toy.make_pool(100, seed=1)


def test_numpy_follows_its_policy():
  """Mistakes of any size, none at all among them."""
  sampler = class_reweighting(batch_size=16, per_class=8, uniform_fraction=0.2)
  state = sampler.init(jax.random.key(0), POOL)
  np.testing.assert_allclose(state.policy, np.full(V, 1 / V))
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  rng = np.random.default_rng(0)
  for t in range(20):
    draw = sample(jax.random.key(t), state, POOL)
    mistakes = rng.integers(0, 9, V) * (t % 5 > 0)
    state = update(state, draw, jnp.float32(mistakes))
    share = mistakes / mistakes.sum() if mistakes.sum() else np.full(V, 1 / V)
    np.testing.assert_allclose(state.policy, 0.8 * share + 0.2 / V, rtol=1e-5)
    unmeasured = update(state, draw, ())
    np.testing.assert_array_equal(unmeasured.policy, state.policy)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_counts_that_are_not_finite_are_not_learned_from(bad):
  sampler = class_reweighting(batch_size=16, uniform_fraction=0.2)
  state = sampler.init(jax.random.key(0), POOL)
  draw = sampler.sample(jax.random.key(1), state, POOL)
  state = sampler.update(state, draw, jnp.float32([4, 0, 0, 0]))
  after = sampler.update(state, draw, jnp.float32([1, bad, bad, 0]))
  np.testing.assert_array_equal(after.policy, state.policy)
  assert (int(state.ignored), int(after.ignored)) == (0, V)


def _mistakes(predict):
  """Returns what the signal counts for a model with these answers."""
  sampler = class_reweighting(batch_size=16, per_class=8)
  info = types.SimpleNamespace(
    probe=PROBE, gather=make_gather(), predict=predict
  )
  return sampler.signal.measure(jax.random.key(0), info)


def test_it_counts_the_mistakes_on_each_class():
  """A model that is always wrong on class 2, and right elsewhere."""

  def predict(batch: Batch):
    answer = jnp.where(batch.label == 2, 0, batch.label)
    return jax.nn.one_hot(answer, V)

  np.testing.assert_array_equal(_mistakes(predict), [0, 0, 8, 0])


def test_a_model_that_answers_one_class_fails_on_all_others():
  def predict(batch: Batch):
    return jnp.tile(jnp.array([0.0, 1.0, 0.0, 0.0]), (len(batch.label), 1))

  np.testing.assert_array_equal(_mistakes(predict), [8, 0, 8, 8])


@pytest.mark.slow  # its parts are tested above
def test_training_follows_planted_mistakes():
  """Labels of class 3 are wrong in the training pool alone: the model never
  learns it, and the policy ends there."""
  planted = POOL._replace(
    label=jnp.where(POOL.label == 3, 0, POOL.label)
  )  # drawn as class 3, trained as class 0
  sampler = class_reweighting(batch_size=32, per_class=16, uniform_fraction=0.1)
  model, tx = toy.make_linear(), optax.sgd(1.0)
  steps = step.make_steps(model, tx, sampler, make_gather())
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  chunk = jax.jit(chunks.make_train_chunk(steps, 150, "map"))
  state = jax.tree.map(lambda x: x[None], state)
  state, metrics = chunk(state, 150, planted, PROBE)
  policy = np.asarray(metrics.policy[0, -20:]).mean(0)
  assert policy[3] > 0.6
  # What is logged of the feedback: the mean number of mistakes on a class.
  assert ((metrics.gain >= 0) & (metrics.gain <= 16)).all()


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"per_class": 0}, "per_class"),
    ({"uniform_fraction": 1.5}, "uniform_fraction"),
    ({"uniform_fraction": float("nan")}, "uniform_fraction"),
    ({"interval": 0}, "interval"),
    ({"batch_size": 0}, "batch_size"),
  ],
)
def test_impossible_numbers_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    class_reweighting(**({"batch_size": 8} | changes))
