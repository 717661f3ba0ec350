"""Trust in labels, against NumPy and SciPy, and on planted mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from scipy import stats

from alcurr.data.pool import make_gather
from alcurr.samplers import _label_flips as flips
from alcurr.samplers import _loss_memory, label_trust
from alcurr.training import step

RNG = np.random.default_rng(0)
V = toy.NUM_CLASSES


def test_ranks_are_within_the_group_and_those_seen():
  value = RNG.permutation(80).astype(np.float32)
  group = RNG.integers(0, 3, 80).astype(np.int32)
  seen = RNG.random(80) < 0.7
  rank = jax.jit(flips.rank_in_group)(value, group, seen)
  for i in np.flatnonzero(seen):
    same = value[seen & (group == group[i])]
    expected = ((same < value[i]).sum() + 0.5) / len(same)
    assert rank[i] == pytest.approx(expected)


@pytest.mark.parametrize("true", [1.0, 10.0, 1e4])
def test_the_concentration_has_the_largest_likelihood(true):
  """By SciPy's distribution, of counts drawn from it."""
  mean = np.array([0.1, 0.2, 0.3, 0.4])
  counts = [
    RNG.multinomial(60, RNG.dirichlet(true * mean + 1e-9)) for _ in range(40)
  ]
  expected = max(
    flips._CONCENTRATIONS,
    key=lambda a: sum(
      stats.dirichlet_multinomial.logpmf(c, a * mean, 60) for c in counts
    ),
  )
  counts = jnp.array(counts, jnp.float32)
  rows = jnp.broadcast_to(jnp.float32(mean), counts.shape)
  assert jax.jit(flips.concentration)(counts, rows) == expected
  # A class that cannot be drawn changes nothing.
  with_empty = [jnp.pad(x, ((0, 0), (0, 1))) for x in (counts, rows)]
  assert flips.concentration(*with_empty) == expected


def _labels(rate, pairs, size=20_000, classes=5):
  """Returns classes, labels, and confident predictions that are right."""
  rng = np.random.default_rng(2)
  true = rng.integers(0, classes, size)
  shift = 1 if pairs else rng.integers(1, classes, size)
  label = (true + (rng.random(size) < rate) * shift) % classes
  confidence = rng.random(size)
  # The less confident half is right half of the time.
  random = rng.integers(0, classes, size)
  guess = np.where((confidence < 0.5) & (rng.random(size) < 0.5), random, true)
  seen = rng.random(size) < 0.9
  arrays = [x.astype(np.int32) for x in (guess, label)]
  return true, arrays[1], arrays[0], confidence.astype(np.float32), seen


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_flips_are_those_of_confident_predictions(rate, pairs):
  true, label, guess, confidence, seen = _labels(rate, pairs)
  found = jax.jit(flips.estimate_flips, static_argnums=4)(
    guess, confidence, label, seen, 5
  )
  assert float(found.num_anchors) == pytest.approx(0.2 * seen.sum(), abs=5)
  assert float(found.rate) == pytest.approx(rate, abs=0.03)
  expected = np.eye(5) * (1 - rate)
  if pairs:
    expected += rate * np.roll(np.eye(5), 1, 1)
  else:
    expected += rate / 4 * (1 - np.eye(5))
  np.testing.assert_allclose(found.flips, expected, atol=0.06)
  np.testing.assert_allclose(found.flips.sum(1), 1, atol=1e-4)
  shares = flips.wrong_shares(found.flips, guess, seen)
  wrong = true != label
  exact = [wrong[label == y].mean() for y in range(5)]
  np.testing.assert_allclose(shares, exact, atol=0.06)


def test_flips_of_uniform_noise_are_shrunk_to_equal_shares():
  """Nearer to the truth than the counts are."""
  _, label, guess, confidence, seen = _labels(0.3, False, 1500)
  found = flips.estimate_flips(guess, confidence, label, seen, 5)
  rank = flips.rank_in_group(confidence, guess, seen)
  anchor = seen & np.asarray(rank >= 0.8)
  counts = np.zeros((5, 5))
  np.add.at(counts, (guess[anchor], label[anchor]), 1)
  raw = counts / counts.sum(1, keepdims=True)
  truth = np.eye(5) * 0.7 + 0.075 * (1 - np.eye(5))
  error = np.abs(np.asarray(found.flips) - truth).sum()
  assert error < 0.7 * np.abs(raw - truth).sum()


def test_the_odds_are_those_of_bayes():
  prob = RNG.dirichlet(np.ones(4), 30)
  table = RNG.dirichlet(np.ones(4), 4)
  label = RNG.integers(0, 4, 30).astype(np.int32)
  odds = flips.log_odds(
    jnp.log(jnp.float32(prob)), jnp.asarray(label), jnp.float32(table)
  )
  for i in range(30):
    joint = prob[i] * table[:, label[i]]
    expected = joint / joint[label[i]]
    expected[label[i]] = 0
    np.testing.assert_allclose(np.exp(odds[i]), expected, rtol=1e-4)


def test_the_leader_is_that_of_two_means():
  """Against the rule, an example at a time."""
  name, mean = np.full(20, -1), np.zeros(20)
  ours = jnp.full(20, -1, jnp.int32), jnp.zeros(20)
  for _ in range(30):
    new = RNG.integers(0, 3, 20).astype(np.int32)
    weight = RNG.random(20).astype(np.float32)
    ours = _loss_memory.leading(*ours, new, weight)
    for i in range(20):
      if new[i] == name[i]:
        mean[i] = (mean[i] + weight[i]) / 2
      elif weight[i] > mean[i]:
        name[i], mean[i] = new[i], weight[i] / 2
      else:
        mean[i] /= 2
    np.testing.assert_array_equal(ours[0], name)
    np.testing.assert_allclose(ours[1], mean, rtol=1e-5)


def _noisy(rate, pairs=False):
  """Returns a pool whose labels are wrong at a rate, and its classes."""
  rng = np.random.default_rng(1)  # its own: the order of tests may vary
  pool = toy.make_pool(2000, seed=3)
  image = np.zeros((2000, 4, 4, 1), np.uint8)
  clean = np.asarray(pool.label)
  image[np.arange(2000), clean] = 255
  image = np.maximum(image, rng.integers(0, 100, image.shape))
  wrong = rng.random(2000) < rate
  shift = 1 if pairs else rng.integers(1, V, 2000)
  label = np.where(wrong, (clean + shift) % V, clean)
  source = pool.source._replace(image=jnp.asarray(image.astype(np.uint8)))
  label = jnp.asarray(label.astype(np.int32))
  return pool._replace(source=source, label=label), clean


def _train(pool, num_steps, batch_size=50):
  sampler = label_trust(batch_size=batch_size, num_steps=num_steps)
  model, tx = toy.make_linear(), optax.sgd(0.5)
  steps = step.make_steps(model, tx, sampler, make_gather())
  state = step.make_init(model, tx, sampler)(jax.random.key(0), pool)
  run = jax.jit(
    lambda state: jax.lax.fori_loop(
      0, num_steps, lambda _, s: steps.measured(s, pool, pool, ())[0], state
    )
  )
  return sampler, run(state).sampler_state


@pytest.mark.parametrize(
  ("rate", "pairs"),
  [(0.0, False), pytest.param(0.3, False, marks=pytest.mark.slow), (0.3, True)],
)
def test_planted_mistakes_are_found_counted_and_replaced(rate, pairs):
  pool, clean = _noisy(rate, pairs)
  wrong = clean != np.asarray(pool.label)
  sampler, state = _train(pool, 400)
  assert float(state.rate) == pytest.approx(rate, abs=0.04)
  judged = jax.device_get(sampler.judge(state))
  assert judged.rate_low <= judged.rate <= judged.rate_high
  found = judged.wrong > 0.5
  if not rate:
    assert judged.wrong.mean() < 0.04
    return
  assert wrong[found].mean() > 0.9 and found[wrong].mean() > 0.8
  # Of a wrong and a right label, the wrong one has the higher score.
  above = judged.score[wrong][:, None] > judged.score[~wrong][None]
  assert above.mean() > 0.95
  assert (judged.suggested[wrong] == clean[wrong]).mean() > 0.9
  # What is trained on has fewer wrong labels than the pool.
  draws = jax.vmap(lambda k: sampler.sample(k, state, pool))(
    jax.random.split(jax.random.key(0), 1)
  )
  index, weight = np.asarray(draws.index[0]), np.asarray(draws.weight[0])
  mistaken = np.asarray(draws.label[0]) != clean[index]
  assert (weight * mistaken).sum() < 0.3 * wrong[index].sum()


@pytest.mark.parametrize("wrong", [0, 3, 40, 200])
def test_the_interval_of_the_rate_is_wilsons(wrong):
  pool, _ = _noisy(0.0)
  sampler = label_trust(batch_size=50, num_steps=400)
  state = sampler.init(jax.random.key(0), pool)
  state = state._replace(
    rate=jnp.float32(wrong / 200), num_anchors=jnp.float32(200)
  )
  judged = sampler.judge(state)
  expected = stats.binomtest(wrong, 200).proportion_ci(method="wilson")
  found = float(judged.rate_low), float(judged.rate_high)
  assert found == pytest.approx(tuple(expected), abs=1e-4)


def test_nothing_is_changed_in_the_warmup():
  """Three passes, which are less than 30 % of the run."""
  pool, _ = _noisy(0.3)
  sampler = label_trust(batch_size=50, num_steps=1000)
  state = sampler.init(jax.random.key(0), pool)
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  # Class 0 is predicted, whatever the label, and sometimes for certain.
  for i in range(120):
    assert not np.asarray(state.wrong).any() and float(state.rate) == 0
    judged = sampler.judge(state)
    assert (float(judged.rate_low), float(judged.rate_high)) == (0, 1)
    draw = sample(jax.random.key(0), state, pool)
    assert (draw.weight == 1).all()
    assert (draw.label == pool.label[draw.index]).all()
    sure = jax.random.uniform(jax.random.key(i), (50, 1))
    logits = jnp.zeros((50, V)).at[:, :1].set(1 + sure)
    state = update(state, draw, jax.nn.log_softmax(logits))
  assert int(state.step) == 120
  # All other labels are among the anchors, as often as in the pool.
  expected = (np.asarray(pool.label) != 0).mean()
  assert float(state.rate) == pytest.approx(expected, abs=0.06)


# Three passes of a longer run are in the test above.
@pytest.mark.parametrize(
  ("num_steps", "passes", "expected"),
  [
    pytest.param(1000, 3, 120, marks=pytest.mark.slow),
    pytest.param(1000, 1, 40, marks=pytest.mark.slow),
    pytest.param(200, 3, 100, marks=pytest.mark.slow),
    (100, 3, 80),
  ],
)
def test_the_warmup_is_of_two_passes_or_more(num_steps, passes, expected):
  pool, _ = _noisy(0.0)
  sampler = label_trust(
    batch_size=50, num_steps=num_steps, warmup_passes=passes
  )
  state = sampler.init(jax.random.key(0), pool)
  update = jax.jit(sampler.update)
  draw = sampler.sample(jax.random.key(0), state, pool)
  feedback = jnp.log(jnp.full((50, V), 1 / V))
  while not float(state.num_anchors):
    state = update(state, draw, feedback)
  assert int(state.step) == expected


@pytest.mark.parametrize(
  ("num_steps", "acts"), [(40, False), (160, False), (199, True), (200, True)]
)
def test_less_than_two_passes_after_the_warmup_are_uniform(num_steps, acts):
  """A pass has 40 steps, and the warm-up three passes."""
  pool, _ = _noisy(0.3)
  sampler = label_trust(batch_size=50, num_steps=num_steps)
  state = sampler.init(jax.random.key(0), pool)
  state = state._replace(wrong=jnp.ones(2000))
  draw = sampler.sample(jax.random.key(0), state, pool)
  assert (np.asarray(draw.weight) < 1).all() == acts


def test_a_run_within_its_warmup_costs_no_judgement():
  pool, _ = _noisy(0.0)

  def flops(num_steps):
    sampler = label_trust(batch_size=50, num_steps=num_steps)
    state = sampler.init(jax.random.key(0), pool)
    draw = sampler.sample(jax.random.key(0), state, pool)
    update = jax.jit(sampler.update).lower(state, draw, jnp.zeros((50, V)))
    return update.compile().cost_analysis()["flops"]

  assert flops(80) < flops(81) / 2


def test_predictions_that_are_not_finite_are_counted_and_not_remembered():
  pool, _ = _noisy(0.0)
  sampler = label_trust(batch_size=50, num_steps=100)
  state = sampler.init(jax.random.key(0), pool)
  draw = sampler.sample(jax.random.key(0), state, pool)
  log_prob = jnp.log(jnp.full((50, V), 1 / V))
  log_prob = log_prob.at[3, 0].set(jnp.nan).at[7].set(-jnp.inf)
  new = sampler.update(state, draw, log_prob)
  assert new.ignored == 2 and new.seen.sum() == 48
  assert np.isfinite(new.odds).all()


def test_labels_are_only_replaced_if_asked():
  pool, _ = _noisy(0.3, pairs=True)
  _, state = _train(pool, 400)
  draws = [
    label_trust(batch_size=50, num_steps=400, relabel=relabel).sample(
      jax.random.key(0), state, pool
    )
    for relabel in (False, True)
  ]
  given = np.asarray(pool.label[draws[0].index])
  assert (np.asarray(draws[0].label) == given).all()
  changed = np.asarray(draws[1].label) != given
  assert changed.any()
  weight = np.asarray(draws[0].weight)
  wrong = np.asarray(state.wrong[draws[0].index])
  np.testing.assert_allclose(weight, 1 - 0.7 * wrong, rtol=1e-6)
  assert (wrong[changed] > 0.5).all()
  np.testing.assert_array_equal(
    np.asarray(draws[1].weight)[~changed], weight[~changed]
  )


@pytest.mark.parametrize("least", [0.0, 0.5, 1.0])
def test_no_weight_is_below_the_least(least):
  pool, _ = _noisy(0.3)
  sampler = label_trust(batch_size=50, num_steps=400, least_weight=least)
  state = sampler.init(jax.random.key(0), pool)
  wrong = RNG.random(2000).astype(np.float32)
  state = state._replace(wrong=jnp.asarray(wrong))
  draw = sampler.sample(jax.random.key(0), state, pool)
  expected = np.interp(wrong[draw.index], [0, 1], [1, least])
  np.testing.assert_allclose(draw.weight, expected, rtol=1e-5)


def test_a_least_weight_above_one_is_refused():
  with pytest.raises(ValueError, match="least_weight"):
    label_trust(batch_size=50, num_steps=100, least_weight=1.1)


def test_targets_are_refused():
  pool, _ = _noisy(0.0)
  pool = pool._replace(label=pool.label.astype(jnp.float32))
  with pytest.raises(ValueError, match="classes"):
    label_trust(batch_size=8, num_steps=10).init(jax.random.key(0), pool)
