"""Mixtures of groups against their papers' rules in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr import samplers
from alcurr.bandits import gains
from alcurr.bandits.probes import make_probe_draw
from alcurr.core.mixtures import to_shares
from alcurr.data.partitions import make_partition
from alcurr.data.pool import make_gather
from alcurr.samplers._aioli import even_examples
from alcurr.training import chunks, step
from alcurr.types import ArmNames, Draw, Feedback

SIZES = (300, 200, 100, 40)
NAMES = ArmNames(("web", "book", "code", "news"))
ARM = np.random.default_rng(0).permutation(np.repeat(np.arange(4), SIZES))
POOL = toy.make_pool()
POOL = POOL._replace(
  partitions={"groups": make_partition(ARM, 4)._replace(names=NAMES)}
)
BATCH, STEPS = 16, 60


def _init(sampler, pool=POOL):
  return sampler.init(jax.random.key(0), pool)


def _losses():
  """Yields the arms and losses of batches; some losses are not finite."""
  rng = np.random.default_rng(1)
  for t in range(STEPS):
    arm = rng.choice(4, BATCH, p=[0.6, 0.3, 0.1, 0.0] if t < 30 else None)
    loss = rng.exponential(1 + arm)
    if t % 7 == 3:
      loss[:3] = [np.nan, np.inf, -np.inf]
    yield arm, loss


def _draw(arm):
  """Returns a draw of these arms, for `update`, which reads no more of it."""
  ones = jnp.ones(BATCH, jnp.float32)
  policy = jnp.full(4, 0.25, jnp.float32)
  index = jnp.zeros(BATCH, jnp.int32)
  return Draw(index, ones, ones, jnp.asarray(arm, jnp.int32), policy)


def _mean(values):
  finite = values[np.isfinite(values)]
  return finite.mean() if len(finite) else None


@pytest.mark.parametrize(
  ("weights", "power", "expected"),
  [
    (None, 1.0, SIZES),
    (None, 0.5, np.sqrt(SIZES)),
    (None, 0.0, (1, 1, 1, 1)),
    ((3, 0, 1, 4), 1.0, (3, 0, 1, 4)),
    ((3, 0, 1, 4), 0.0, (1, 0, 1, 1)),
    ((0, 0, 0, 0), 1.0, (1, 1, 1, 1)),
    ({"code": 2, "web": 6}, 1.0, (6, 0, 2, 0)),
    ({"code": 1e18, "web": 1e-9}, 1.0, (1e-27, 0, 1, 0)),
  ],
)
def test_shares_of_a_fixed_mixture(weights, power, expected):
  sampler = samplers.mixture(batch_size=BATCH, weights=weights, power=power)
  policy = np.asarray(_init(sampler).policy)
  expected = np.array(expected, float) / np.sum(expected)
  np.testing.assert_allclose(policy, expected, rtol=1e-5, atol=1e-12)


def test_an_empty_group_is_never_drawn():
  arms = make_partition(np.where(ARM == 3, 2, ARM), 4)
  pool = POOL._replace(partitions={"groups": arms})
  sampler = samplers.mixture(batch_size=BATCH, weights=(0, 0, 1, 3))
  state = _init(sampler, pool)
  assert state.policy.tolist() == [0, 0, 1, 0]
  assert (sampler.sample(jax.random.key(2), state, pool).arm == 2).all()
  only = to_shares((0, 0, 0, 3), arms, "weights")
  np.testing.assert_allclose(only, [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)


@pytest.mark.parametrize(
  ("arguments", "match"),
  [
    ({"weights": (1, 2)}, "2 weights do not fit 4 arms"),
    ({"weights": {"webb": 1}}, "webb"),
    ({"weights": (1, -1, 0, 0)}, "weights"),
    ({"weights": (1, np.inf, 0, 0)}, "weights"),
    ({"weights": {"web": np.nan}}, "weights"),
    ({"power": 2.0}, "power"),
    ({"partition": "sites"}, "sites"),
  ],
)
def test_mixtures_that_do_not_fit(arguments, match):
  with pytest.raises(ValueError, match=match):
    _init(samplers.mixture(batch_size=BATCH, **arguments))


def _odm(rule, alpha=0.9):
  """Albalak et al.: yields the policy after each batch."""
  k, estimate, policy = 4, np.zeros(4), np.full(4, 0.25)
  epsilon = lambda t: min(1 / k, np.sqrt(np.log(k) / (k * t)))  # noqa: E731
  for t, (arm, loss) in enumerate(_losses(), start=1):
    for i in range(k):
      reward = _mean(loss[arm == i])
      if reward is not None:
        is_paper = rule == "exponential"
        reward = reward / policy[i] if is_paper else np.exp(reward)
        estimate[i] = alpha * estimate[i] + (1 - alpha) * reward
    # The next step's: t + 1, and ε of the step before it.
    if rule == "exponential":
      share = np.exp(epsilon(t) * estimate)
    else:
      share = estimate.copy()
    now = epsilon(t + 1)
    policy = (1 - k * now) * share / share.sum() + now
    yield policy


@pytest.mark.parametrize("rule", ["exponential", "linear"])
def test_odm(rule):
  sampler = samplers.odm(batch_size=BATCH, rule=rule)
  state, ignored = _init(sampler), 0
  np.testing.assert_allclose(state.policy, np.full(4, 0.25), rtol=1e-6)
  update = jax.jit(sampler.update)
  for (arm, loss), expected in zip(_losses(), _odm(rule), strict=True):
    state = update(state, _draw(arm), jnp.float32(loss))
    ignored += (~np.isfinite(loss)).sum()
    np.testing.assert_allclose(state.policy, expected, rtol=1e-4)
    assert sampler.uniform_fraction(state) <= 4 * state.policy.min() * 1.0001
  assert state.ignored == ignored > 0


def test_odm_draws_the_group_of_the_largest_loss_and_bears_any_loss():
  for rule in ("exponential", "linear"):
    sampler = samplers.odm(batch_size=BATCH, rule=rule)
    state, update = _init(sampler), jax.jit(sampler.update)
    arm = np.arange(BATCH) % 4
    for _ in range(300):
      loss = jnp.float32(np.where(arm == 2, 1e37, 0.1))
      state = update(state, _draw(arm), loss)
    assert np.isfinite(state.policy).all()
    assert state.policy.argmax() == 2
    np.testing.assert_allclose(state.policy.sum(), 1, rtol=1e-5)


def _doremi(eta=0.5, c=1e-2):
  """Xie et al.: yields α and its average after each batch."""
  alpha, excess, alphas = np.full(4, 0.25), np.full(4, np.nan), []
  for arm, loss in _losses():
    for i in range(4):
      values = loss[arm == i]
      values = np.where(np.isfinite(values), np.maximum(values, 0), values)
      if (new := _mean(values[values != -np.inf])) is not None:
        excess[i] = new
    filled = np.where(np.isnan(excess), np.nanmean(excess), excess)
    alpha = alpha * np.exp(eta * filled)
    alpha = (1 - c) * alpha / alpha.sum() + c / 4
    alphas.append(alpha)
    yield alpha, np.mean(alphas, 0)


def test_doremi():
  sampler = samplers.doremi(batch_size=BATCH, learning_rate=0.5, smoothing=1e-2)
  state, update = _init(sampler), jax.jit(sampler.update)
  for (arm, loss), expected in zip(_losses(), _doremi(), strict=True):
    loss = np.where(loss == -np.inf, np.nan, loss)
    state = update(state, _draw(arm), jnp.float32(loss))
    np.testing.assert_allclose(state.alpha, expected[0], rtol=1e-3)
    np.testing.assert_allclose(state.average, expected[1], rtol=1e-3)
  draw = sampler.sample(jax.random.key(3), state, POOL)
  alpha = np.asarray(state.alpha)
  np.testing.assert_allclose(draw.policy, 0.25)
  np.testing.assert_allclose(draw.weight, 4 * alpha[draw.arm], rtol=1e-6)
  assert state.ignored > 0


def test_doremi_may_draw_by_alpha_and_needs_its_score():
  sampler = samplers.doremi(batch_size=BATCH, weighting="draws")
  state, update = _init(sampler), jax.jit(sampler.update)
  arm = np.arange(BATCH) % 4
  for _ in range(5):
    excess = jnp.float32(np.where(arm == 3, 1e37, -1.0))
    state = update(state, _draw(arm), excess)
  draw = sampler.sample(jax.random.key(3), state, POOL)
  np.testing.assert_allclose(state.alpha, [2.5e-4] * 3 + [0.99925], rtol=1e-4)
  np.testing.assert_array_equal(draw.policy, state.alpha)
  assert (draw.weight == 1).all()
  assert sampler.spec.scores == ("difficulty",)
  with pytest.raises(ValueError, match="reference"):
    _init(samplers.doremi(batch_size=BATCH, reference="teacher"))


def test_rb_multiplies_by_the_exponential_of_the_mean_influence():
  sampler = samplers.rb(batch_size=BATCH, learning_rate=0.3)
  state, update = _init(sampler), jax.jit(sampler.update)
  sample = jax.jit(sampler.sample)
  log_p = np.zeros(4)
  for arm, gain in _losses():
    feedback = Feedback(jnp.float32(gain), jnp.asarray(arm, jnp.int32))
    state = update(state, _draw(arm), feedback)
    means = [_mean(gain[arm == i]) for i in range(4)]
    paid = np.array([m for m in means if m is not None])
    log_p += [0 if m is None else 0.3 * (m - paid.mean()) for m in means]
    share = np.exp(log_p - log_p.max())
    expected = 0.9 * share / share.sum() + 0.025
    policy = sample(jax.random.key(1), state, POOL).policy
    np.testing.assert_allclose(policy, expected, rtol=1e-3)


@pytest.mark.slow  # the rule itself is tested above
def test_rb_prefers_the_group_of_its_mixture():
  """Two groups of different rules: a step on one does not help the other."""
  for best in (0, 1):
    sampler = samplers.rb(
      batch_size=BATCH,
      mixture=tuple(float(k == best) for k in (0, 1)),
      probe_size=32,
      learning_rate=3.0,
    )
    policy = _train(sampler, _two_rules(0), _two_rules(1))
    assert policy[best] > 0.8


def _train(sampler, pool, probe, num_steps=60, rate=0.05):
  """Returns the policy of the last of some steps."""
  tx = optax.sgd(rate)
  steps = step.make_steps(toy.make_linear(), tx, sampler, make_gather())
  init = step.make_init(toy.make_linear(), tx, sampler)
  state = init(jax.random.key(0), pool)
  chunk = jax.jit(chunks.make_train_chunk(steps, num_steps, "map"))
  states = jax.tree.map(lambda x: x[None], state)
  _, metrics = chunk(states, num_steps, pool, probe)
  return np.asarray(metrics.policy[0, -1])


def _two_rules(seed):
  """Returns a pool whose second group has other classes' images."""
  pool = toy.make_pool(640, seed=seed)
  group = np.arange(640) % 2
  label = np.where(group == 1, 3 - np.asarray(pool.label), pool.label)
  return pool._replace(
    label=jnp.asarray(label, jnp.int32),
    partitions={"groups": make_partition(group, 2)},
  )


def _aioli(losses, rounds, a=0.625, eta=0.2, rest=3):
  """Chen et al.: yields the mixture of each segment after the first step."""
  p, k = np.full(4, 0.25), 4
  mixtures = np.full((k, k), (1 - a) / (k - 1)) + (a - (1 - a) / (k - 1)) * (
    np.eye(k)
  )
  last = next(losses)
  for i in range(rounds):
    drops = np.zeros((k, k))
    turns = [0, 1, 2, 3, 3, 2, 1, 0]
    for j in turns if i % 2 == 0 else [3 - turn for turn in turns]:
      yield mixtures[j]
      new = next(losses)
      drops[:, j] += last - new
      last = new
    effect = np.stack([np.linalg.solve(mixtures, row) for row in drops])
    effect -= min(effect.min(), 0)
    p = p * np.exp(eta * effect.sum(0) / effect.sum())
    p /= p.sum()
    for _ in range(rest):
      yield p
      last = next(losses)


def test_aioli():
  sampler = samplers.aioli(
    batch_size=BATCH, learning_share=8 / 11, learning_rate=2.0
  )
  state, update = _init(sampler), jax.jit(sampler.update)
  losses = np.cumsum(np.random.default_rng(0).normal(-0.1, 1, (45, 4)), 0)
  arm = np.arange(BATCH) % 4
  expected = _aioli(iter(losses), 4, eta=2.0)
  np.testing.assert_allclose(state.policy, 0.25)
  for loss, mixture in zip(losses[:-1], expected, strict=True):
    # The steps within a segment change nothing.
    state = update(state, _draw(arm), jnp.float32(loss))
    state = update(state, _draw(arm), ())
    np.testing.assert_allclose(state.policy, mixture, rtol=1e-3)
  # A loss that is not finite teaches nothing, and the round goes on.
  broken = jnp.float32([np.nan, np.inf, 1, 1])
  state = update(state, _draw(arm), broken)
  assert np.isfinite(state.policy).all() and state.ignored == 2


def test_aioli_measures_the_same_examples_of_each_group():
  arms = POOL.partitions["groups"]
  index = np.asarray(even_examples(arms, 10))
  for k, size in enumerate(SIZES):
    place = np.arange(10) * size // 10
    expected = arms.order[arms.start[k] :][place]
    np.testing.assert_array_equal(index[k], expected)


@pytest.mark.parametrize(
  ("arguments", "match"),
  [
    ({"one_hot": 0.25}, "one_hot"),
    ({"num_steps": 80}, "81 steps"),
    ({"learning_share": 0.0}, "learning_share"),
    ({"interval": 0}, "interval"),
  ],
)
def test_an_aioli_that_does_not_fit(arguments, match):
  with pytest.raises(ValueError, match=match):
    _init(samplers.aioli(batch_size=BATCH, **arguments))


@pytest.mark.slow  # the rule itself is tested above
def test_aioli_finds_the_group_that_lowers_the_losses():
  """The first group's labels are noise in training, but held out are right."""
  group = np.arange(640) % 2
  # The seeds 0 and 1 are those of the pools' own labels.
  noise = np.random.default_rng(9).integers(0, toy.NUM_CLASSES, 640)
  train, probe = (
    toy.make_pool(640, seed)._replace(
      partitions={"groups": make_partition(group, 2)}
    )
    for seed in (0, 1)
  )
  label = np.where(group == 0, noise, train.label)
  train = train._replace(label=jnp.asarray(label, jnp.int32))
  sampler = samplers.aioli(
    batch_size=BATCH,
    interval=5,
    learning_share=0.5,
    learning_rate=3.0,
    per_group=64,
  )
  policy = _train(sampler, train, probe, num_steps=80, rate=0.01)
  assert policy[1] > 0.9


def test_a_probe_drawn_by_an_evaluation_mixture():
  """By name, by order and by class; without a mixture, all examples alike."""
  keys = jax.random.split(jax.random.key(0), 50)
  pool = jax.tree.map(jnp.asarray, POOL)
  for mixture, expected in (
    (None, np.array(SIZES) / sum(SIZES)),
    ((0, 1, 3, 0), [0, 0.25, 0.75, 0]),
    ({"code": 1, "web": 1}, [0.5, 0, 0.5, 0]),
    ((0, 0, 0, 0), [0.25] * 4),
  ):
    probe = make_probe_draw(mixture, "groups")
    assert probe.partitions == (() if mixture is None else ("groups",))
    probe.check(pool)
    index = jax.vmap(lambda key, probe=probe: probe.draw(key, pool, 100))(keys)
    share = np.bincount(ARM[np.asarray(index).ravel()], minlength=4) / 5000
    np.testing.assert_allclose(share, expected, atol=0.03)
    assert (share[np.array(expected) == 0] == 0).all()


@pytest.mark.parametrize(
  "gain", [gains.influence, gains.target_prediction_gain]
)
def test_gains_say_which_partition_of_the_probe_they_read(gain):
  by_label = gain(mixture=(1, 0, 0, 0), mixture_of="label")
  sampler = samplers.active_bandit(
    batch_size=BATCH, gain=by_label, num_steps=40, partition="groups"
  )
  assert sampler.spec.partitions == ("groups", "label")
  with pytest.raises(ValueError, match="mixture_of"):
    _init(sampler)
  with pytest.raises(ValueError, match="mixture: 2 weights"):
    by_group = gain(mixture=(1, 0))
    _init(
      samplers.active_bandit(
        batch_size=BATCH, gain=by_group, num_steps=40, partition="groups"
      )
    )
