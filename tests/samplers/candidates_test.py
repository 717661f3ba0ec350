"""The ways to select from candidates, against NumPy and exact probabilities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from alcurr.samplers import _candidates

KEYS = jax.random.split(jax.random.key(0), 20_000)


def _draw(log_weight, count, replacement=False):
  draw = jax.jit(
    jax.vmap(
      lambda key: _candidates.draw_slots(
        key, jnp.float32(log_weight), count, replacement
      )
    )
  )
  return np.asarray(draw(KEYS))


def test_the_largest_come_first_and_what_is_not_finite_last():
  score = np.array([1.0, np.nan, 3.0, np.inf, -2.0, 3.0, -np.inf])
  slots = _candidates.largest(jnp.float32(score), 4)
  np.testing.assert_array_equal(slots, [2, 5, 0, 4])
  every = _candidates.largest(jnp.float32(score), 7)
  assert sorted(every.tolist()) == list(range(7))


def test_draws_without_replacement_are_one_after_the_other():
  """Each ordered pair has the probability p_i p_j / (1 - p_i)."""
  weight = np.array([1.0, 2.0, 3.0, 6.0])
  prob = weight / weight.sum()
  pairs = _draw(np.log(weight), 2)
  for i, j in itertools.permutations(range(4), 2):
    expected = prob[i] * prob[j] / (1 - prob[i])
    share = ((pairs[:, 0] == i) & (pairs[:, 1] == j)).mean()
    error = np.sqrt(expected * (1 - expected) / len(KEYS))
    assert abs(share - expected) < 4.5 * error


def test_zero_weights_are_drawn_last_and_alike():
  log_weight = np.log([0.5, 1.0, 2.0, 1.0])
  log_weight[[1, 3]] = -np.inf, np.nan
  slots = _draw(log_weight, 3)
  assert set(map(tuple, np.sort(slots[:, :2]))) == {(0, 2)}
  assert abs((slots[:, 2] == 1).mean() - 0.5) < 0.02


def test_draws_with_replacement():
  weight = np.array([1.0, 0.0, 3.0, 4.0])
  with np.errstate(divide="ignore"):
    slots = _draw(np.log(weight), 3, replacement=True)
  for i in range(4):
    share = (slots == i).mean(0)
    np.testing.assert_allclose(share, weight[i] / 8, atol=0.02)
  assert not (slots == 1).any()
  # None possible: all alike.
  slots = _draw(np.full(4, -np.inf), 1, replacement=True)
  np.testing.assert_allclose(np.bincount(slots[:, 0]) / 2e4, 0.25, atol=0.02)


def test_candidates_that_were_not_used_are_drawn_again():
  pool = toy.make_pool(40)
  passes = _candidates.make_passes(batch_size=4, keep=0.5)
  assert passes.num_candidates == 8
  state = passes.start(jax.random.key(0), pool)
  index = np.asarray(passes.draw(state).index)
  again = np.asarray(passes.draw(passes.advance(state, 3)).index)
  np.testing.assert_array_equal(again[:5], index[3:])
  seen = []
  for _ in range(5):
    seen += passes.draw(state).index.tolist()
    state = passes.advance(state, 8)
  assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("keep", [0.0, 1.5, float("nan")])
def test_shares_that_are_none(keep):
  with pytest.raises(ValueError, match="keep"):
    _candidates.make_passes(batch_size=4, keep=keep)


def test_a_pool_must_have_the_candidates_and_the_scores():
  passes = _candidates.make_passes(batch_size=16, keep=0.1)
  with pytest.raises(ValueError, match="160"):
    passes.start(jax.random.key(0), toy.make_pool(100))
  with pytest.raises(ValueError, match="irreducible"):
    _candidates.check_scores(toy.make_pool(), ("irreducible",))
