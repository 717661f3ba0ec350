"""The greedy choice against NumPy, and its products against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr.data.pool import make_gather
from alcurr.samplers import greats
from alcurr.training import losses, step

POOL = toy.make_pool()
PROBE = toy.make_pool(100, seed=1)


def _greedy(gain, gram, step_size, count):
  chosen = []
  for _ in range(count):
    utility = gain - step_size * gram[:, chosen].sum(1)
    utility[chosen] = -np.inf
    chosen.append(int(np.argmax(utility)))
  return chosen


def _select(sampler, score):
  state = sampler.init(jax.random.key(0), POOL)
  slots = sampler.select(jax.random.key(0), state, None, score).slots
  return slots.tolist()


@pytest.mark.parametrize(
  "learning_rate", [0.1, pytest.param(10.0, marks=pytest.mark.slow)]
)
def test_numpy_chooses_the_same(learning_rate):
  rng = np.random.default_rng(0)
  sampler = greats(batch_size=6, learning_rate=learning_rate)
  for _ in range(5):
    grads = rng.normal(size=(12, 3))
    gain, gram = grads @ rng.normal(size=3), grads @ grads.T
    slots = _select(sampler, (jnp.float32(gain), jnp.float32(gram)))
    assert slots == _greedy(gain, gram, learning_rate / 6, 6)


def test_copies_are_not_chosen_twice():
  """Two of each of four directions: one of each is taken."""
  grads = np.repeat(np.eye(4), 2, axis=0) * [1.0, 1.1, 1.2, 1.3]
  gain, gram = grads.sum(1), grads @ grads.T
  score = jnp.float32(gain), jnp.float32(gram)
  far = _select(greats(batch_size=4, learning_rate=4.0), score)
  assert sorted(slot // 2 for slot in far) == [0, 1, 2, 3]
  near = _select(greats(batch_size=4, learning_rate=1e-6), score)
  assert sorted(slot // 2 for slot in near) == [2, 2, 3, 3]
  # As by the first-order terms alone, which a loop may hand over.
  alone = _select(greats(batch_size=4), jnp.float32(gain))
  assert sorted(alone) == sorted(near)


def test_what_is_not_finite_comes_last():
  gain = np.array([np.nan, 1.0, 2.0, np.inf, 0.5, 0.1])
  gram = np.ones((6, 6))
  gram[4] = gram[:, 4] = np.inf
  slots = _select(greats(batch_size=3), (jnp.float32(gain), jnp.float32(gram)))
  assert set(slots) == {1, 2, 5}


def test_inner_products_are_those_of_the_examples_gradients():
  """A linear model's, whose last layer is all of it; so is what is chosen."""
  seen = {}
  sampler = greats(batch_size=8, probe_size=16, learning_rate=0.5)

  def score(candidates):
    gain, gram = sampler.score(candidates)
    jax.debug.callback(
      lambda *x: seen.update(zip(("gain", "gram", "probe"), x, strict=True)),
      gain,
      gram,
      candidates.prepared,
    )
    return gain, gram

  model, tx = toy.make_linear(), optax.sgd(0.3)
  watched = sampler._replace(score=score)
  steps = step.make_steps(model, tx, watched, make_gather())
  state = step.make_init(model, tx, watched)(jax.random.key(0), POOL)
  prepared = jax.jit(steps.prepare)(state, POOL, PROBE)
  _, metrics = jax.jit(steps.measured)(state, POOL, PROBE, prepared)
  jax.effects_barrier()
  draw = sampler.sample(jax.random.key(0), state.sampler_state, POOL)
  batch = make_gather()(POOL, draw.index)

  def loss(params, i):
    logits, _ = model.apply(
      None, params, {}, batch.inputs[i][None], train=False
    )
    return losses.softmax_cross_entropy(logits, batch.label[i][None])[0]

  grads = [jax.grad(loss)(state.params, i) for i in range(16)]
  flat = np.stack([jax.flatten_util.ravel_pytree(g)[0] for g in grads])
  probe = jax.flatten_util.ravel_pytree(seen["probe"])[0]
  gain, gram = flat @ np.asarray(probe), flat @ flat.T
  np.testing.assert_allclose(seen["gain"], gain, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(seen["gram"], gram, rtol=1e-4, atol=1e-6)
  chosen = np.asarray(draw.index)[_greedy(gain, gram, 0.5 / 8, 8)]
  np.testing.assert_array_equal(metrics.index, chosen)


def test_without_features_the_products_are_of_the_biases():
  rng = np.random.default_rng(1)
  grads = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
  info = type("Info", (), {})()
  info.loss_jvp, info.prepared = lambda tangent: grads[:, 0], ()
  info.logit_grads = lambda: grads
  _, gram = greats(batch_size=2, features=False).score(info)
  np.testing.assert_allclose(gram, grads @ grads.T)
