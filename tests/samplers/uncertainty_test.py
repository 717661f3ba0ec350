"""The measures of uncertainty against NumPy."""

import jax
import numpy as np
import pytest
from toy_candidates import POOL, make_info, softmax

from alcurr.samplers import uncertainty

LOGITS = 3 * np.random.default_rng(0).normal(size=(12, 5))


def _measure(name):
  prob = softmax(LOGITS)
  first, second = np.sort(prob, 1)[:, :-3:-1].T
  return {
    "entropy": -(prob * np.log(prob)).sum(1),
    "margin": 1 - (first - second),
    "confidence": 1 - first,
  }[name]


@pytest.mark.parametrize("measure", ["entropy", "margin", "confidence"])
@pytest.mark.parametrize("selection", ["top", "sampled"])
def test_numpy_selects_the_same(measure, selection):
  """Sampled at a low temperature, which leaves nothing to chance."""
  sampler = uncertainty(
    batch_size=4,
    measure=measure,
    keep=1 / 3,
    selection=selection,
    temperature=1e-6,
  )
  state = sampler.init(jax.random.key(0), POOL)
  score = sampler.score(make_info(LOGITS))
  expected = _measure(measure)
  np.testing.assert_allclose(score, expected, rtol=1e-5)
  slots, _ = sampler.select(jax.random.key(1), state, None, score)
  np.testing.assert_array_equal(slots, np.argsort(-expected)[:4])


def test_certain_predictions_are_no_nan():
  logits = np.array([[1e30, 0, 0], [0, 0, 0], [1e4, -1e4, 0]])
  sampler = uncertainty(batch_size=1)
  score = sampler.score(make_info(logits))
  np.testing.assert_allclose(score, [0, np.log(3), 0], atol=1e-6)


def test_arguments():
  for wrong in ({"measure": "loss"}, {"selection": "bottom"}):
    with pytest.raises(ValueError, match="must be one of"):
      uncertainty(batch_size=2, **wrong)
  with pytest.raises(ValueError, match="scoring_mode"):
    uncertainty(batch_size=2, scoring_mode="test")
