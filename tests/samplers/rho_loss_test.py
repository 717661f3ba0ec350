"""Reducible losses and learnability against NumPy."""

import jax
import numpy as np
import pytest
from toy_candidates import POOL, make_info, softmax

from alcurr.samplers import learnability, rho_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 4))
LABEL = RNG.integers(0, 4, 12)
INDEX = RNG.permutation(640)[:12]
KEYS = jax.random.split(jax.random.key(0), 20_000)


def _oracle():
  loss = -np.log(softmax(LOGITS)[np.arange(12), LABEL])
  return loss - np.asarray(POOL.scores["irreducible"])[INDEX]


def _select(sampler, key):
  state = sampler.init(jax.random.key(0), POOL)
  score = sampler.score(make_info(LOGITS, LABEL, INDEX))
  np.testing.assert_allclose(score, _oracle(), rtol=1e-5, atol=1e-6)
  return sampler.select(key, state, None, score).slots


def test_the_largest_reducible_losses():
  slots = _select(rho_loss(batch_size=3, keep=0.25), jax.random.key(1))
  np.testing.assert_array_equal(slots, np.argsort(-_oracle())[:3])


def _boltzmann(temperature):
  return softmax(_oracle()[None] / temperature)[0]


def test_boltzmann_draws_with_replacement():
  sampler = rho_loss(batch_size=3, keep=0.25, selection="boltzmann")
  slots = jax.vmap(lambda key: _select(sampler, key))(KEYS)
  share = np.bincount(np.asarray(slots).ravel(), minlength=12) / slots.size
  np.testing.assert_allclose(share, _boltzmann(0.25), atol=0.01)


def test_learnability_draws_without_replacement():
  """The second draw is as the first, from what remains."""
  sampler = learnability(batch_size=3, keep=0.25)
  slots = np.asarray(jax.vmap(lambda key: _select(sampler, key))(KEYS))
  prob = _boltzmann(1.0)
  share = np.bincount(slots[:, 0], minlength=12) / len(slots)
  np.testing.assert_allclose(share, prob, atol=0.015)
  pair = prob[:, None] * prob / (1 - prob[:, None])
  np.fill_diagonal(pair, 0)
  share = np.bincount(slots[:, 1], minlength=12) / len(slots)
  np.testing.assert_allclose(share, pair.sum(0), atol=0.015)
  assert all(len(set(row)) == 3 for row in slots[:100].tolist())


@pytest.mark.parametrize("factory", [rho_loss, learnability])
def test_the_pool_must_have_the_reference(factory):
  sampler = factory(batch_size=3, reference="other")
  assert sampler.spec.scores == ("other",)
  with pytest.raises(ValueError, match="other"):
    sampler.init(jax.random.key(0), POOL)
