"""Running scores against their definitions, over every visit of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr import samplers
from alcurr.data.pool import make_gather
from alcurr.training import step

N, B = 40, 16
POOL = toy.make_pool(N)


def _visit(margins, sampler):
  """Updates by hand: margins is a list of ([B] indices, [B] margins)."""
  state = sampler.init(jax.random.key(0), POOL)
  update = jax.jit(sampler.update)
  draw = sampler.sample(jax.random.key(0), state, POOL)
  for index, margin in margins:
    seen = draw._replace(index=jnp.array(index, jnp.int32))
    state = update(state, seen, jnp.array(margin, jnp.float32))
  return state, jax.device_get(sampler.running_scores(state))


def _oracle(margins):
  """AUM and forgetting by their definitions, from lists of visits."""
  history = {i: [] for i in range(N)}
  for index, margin in margins:
    for i in set(index):
      values = [m for j, m in zip(index, margin, strict=True) if i == j]
      values = [m for m in values if np.isfinite(m)]
      if values:
        history[i].append(np.mean(values))
  seen = [i for i in history if history[i]]
  minus_aum = {i: -np.mean(history[i]) for i in seen}
  right = {i: np.array(history[i]) > 0 for i in seen}
  events = {i: (r[:-1] & ~r[1:]).sum() for i, r in right.items()}
  # More than any example whose events are known.
  most = max([events[i] for i in seen if right[i].any()], default=0)
  forgotten = {i: events[i] if right[i].any() else most + 1 for i in right}
  visits = np.array([len(history[i]) for i in range(N)])
  result = []
  for score in (minus_aum, forgotten):
    mean = np.mean(list(score.values())) if score else 0
    result.append(np.array([score.get(i, mean) for i in range(N)]))
  return visits, *result


def _random_visits(num, seed=0):
  """Batches with repeated indices, and some margins that are not finite."""
  rng = np.random.default_rng(seed)
  visits = []
  for _ in range(num):
    index = rng.integers(0, N - 5, B)  # five are never seen
    margin = rng.normal(size=B).astype(np.float32)
    margin[rng.random(B) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    visits.append((index.tolist(), margin.tolist()))
  return visits


@pytest.mark.parametrize("num", [0, 1, 60])
def test_scores_are_those_of_the_visits(num):
  margins = _random_visits(num)
  state, scores = _visit(margins, samplers.scored_passes(batch_size=B))
  visits, minus_aum, forgotten = _oracle(margins)
  np.testing.assert_array_equal(state.visits, visits)
  np.testing.assert_allclose(scores["aum"], minus_aum, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(scores["forgetting"], forgotten, rtol=1e-6)
  ignored = sum((~np.isfinite(m)).sum() for _, m in margins)
  assert int(state.ignored) == ignored


def test_forgetting_by_hand():
  """Right, wrong, right, wrong: twice. Always wrong: once more than most."""
  sampler = samplers.scored_passes(batch_size=B, scores="forgetting")
  signs = {0: "+-+-", 1: "++++", 2: "----", 3: "--++", 4: "+---", 5: "0000"}
  margins = [
    (list(signs), [{"+": 1, "-": -1, "0": 0}[s[t]] for s in signs.values()])
    for t in range(4)
  ]
  _, scores = _visit(margins, sampler)
  assert list(scores) == ["forgetting"]
  assert scores["forgetting"][:6].tolist() == [2, 0, 3, 0, 1, 3]
  # Not seen: the mean of the others.
  np.testing.assert_allclose(scores["forgetting"][6:], 1.5)


@pytest.mark.parametrize("large", [3e38, 1e-30])
def test_margins_of_any_size_stay_finite(large):
  margins = [([0, 0, 1], [large, large, -large])] * 3
  margins += [([0, 1, 1], [-large, large, large])] * 3
  state, scores = _visit(margins, samplers.scored_passes(batch_size=3))
  assert np.isfinite(np.concatenate(list(scores.values()))).all()
  assert np.isfinite(state.memory["aum"]).all()
  np.testing.assert_allclose(scores["aum"][:2] / large, 0, atol=1e-6)


def test_a_run_scores_what_it_trained_on():
  """From the logits before each update, recomputed here by NumPy."""
  sampler = samplers.scored_passes(batch_size=B)
  model, tx = toy.make_linear(), optax.sgd(0.5)
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  one = jax.jit(step.make_steps(model, tx, sampler, make_gather()).measured)
  pixels = np.asarray(POOL.source.image).reshape(N, -1) / 255
  margins, drawn = [], []
  for _ in range(20):
    weight = jax.device_get(state.params)
    state, metrics = one(state, POOL, POOL, ())
    index = np.asarray(metrics.index)
    logits = pixels[index] @ weight["weight"] + weight["bias"]
    own = logits[np.arange(B), POOL.label[index]]
    logits[np.arange(B), POOL.label[index]] = -np.inf
    margins.append((index.tolist(), (own - logits.max(1)).tolist()))
    drawn += index.tolist()
  # Uniform passes: 8 of 40 examples each.
  assert (np.bincount(drawn, minlength=N) == 8).all()
  _, minus_aum, forgotten = _oracle(margins)
  scores = sampler.running_scores(state.sampler_state)
  np.testing.assert_allclose(scores["aum"], minus_aum, rtol=1e-3, atol=1e-4)
  np.testing.assert_array_equal(scores["forgetting"], forgotten)


def test_it_draws_what_uniform_draws():
  sampler, other = (
    make(batch_size=B) for make in (samplers.scored_passes, samplers.uniform)
  )
  draws = [
    s.sample(jax.random.key(0), s.init(jax.random.key(1), POOL), POOL)
    for s in (sampler, other)
  ]
  jax.tree.map(np.testing.assert_array_equal, *draws)


@pytest.mark.parametrize(
  ("scores", "message"),
  [("", "forgetting.*''"), ("aum, age", "forgetting.*'age'")],
)
def test_scores_that_there_are_not(scores, message):
  with pytest.raises(ValueError, match=message):
    samplers.scored_passes(batch_size=B, scores=scores)


def test_targets_are_not_classes():
  pool = POOL._replace(label=jnp.zeros(N, jnp.float32))
  with pytest.raises(ValueError, match="float32"):
    samplers.scored_passes(batch_size=B).init(jax.random.key(0), pool)
