"""Every sampler x every law, with no special case.

A new sampler adds a row to SAMPLERS. If a law needs to know which sampler it
looks at, the interface is wrong.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from scipy import stats

from alcurr import samplers, step
from alcurr.data.pool import make_gather
from alcurr.types import Sampler, TrainState

BATCH_SIZE = 16
STEPS = 8

_bandit = {
  "name": "active_bandit",
  "bandit": "softmax(learning_rate=1.0)",
  "gain": "prediction_gain",
  "rescale": "rank(window=50)",
  "epsilon": "0.2",
  "warmup": 2,
}
SAMPLERS = {
  "uniform": {"name": "uniform"},
  "uniform_replacement": {"name": "uniform", "replacement": True},
  "bandit": _bandit,
  "bandit_self": _bandit
  | {
    "gain": "self_prediction_gain(probe_size=4)",
    "epsilon": "linear(value=1.0, end=0.1)",
  },
  "bandit_mean": _bandit
  | {"gain": "mean_prediction_gain", "rescale": "rank", "replacement": True},
  "bandit_target": _bandit
  | {"gain": "target_prediction_gain", "epsilon": "0", "warmup": 0},
  "bandit_gradient": _bandit
  | {"gain": "gradient_prediction_gain", "arms": "label"},
  "bandit_first_order": _bandit | {"gain": "first_order_gain", "every": 4},
  "bandit_random": _bandit
  | {"gain": "random_gain", "arms": "label_difficulty", "arms_per_batch": 8},
  "bandit_mixed": _bandit | {"arms_per_batch": BATCH_SIZE},
  "bandit_mixed_self": _bandit
  | {"arms_per_batch": 4, "gain": "self_prediction_gain"},
  "influence": _bandit
  | {
    "gain": "influence(probe_size=8, refresh=2)",
    "every": 2,
    "arms_per_batch": BATCH_SIZE,
  },
  "class_reweighting": {"name": "class_reweighting", "per_class": 3},
  "class_reweighting_every": {
    "name": "class_reweighting",
    "per_class": 3,
    "every": 2,
    "replacement": True,
  },
  "class_balanced": {
    "name": "frozen_policy",
    "policy": "uniform",
    "arms": "label",
    "arms_per_batch": BATCH_SIZE,
  },
  "frozen_policy": {
    "name": "frozen_policy",
    "policy": "given(weights=(0, 1, 2, 3, 4))",
    "arms": "shuffled",
  },
  "curriculum": {"name": "curriculum"},
  "anti_curriculum": {
    "name": "curriculum",
    "arms": "difficulty",
    "descending": True,
  },
  "bucketed_curriculum": {"name": "bucketed_curriculum"},
  "bucketed_curriculum_paced": {
    "name": "bucketed_curriculum",
    "arms": "difficulty",
    "num_buckets": 4,
    "pacing": "root",
    "start": 0.3,
    "full_at": 0.6,
  },
}
POOL = toy.make_pool()
VALID = toy.make_pool(100, seed=1)
KEYS = jnp.stack([jax.random.key(seed) for seed in (0, 1)])


class Case(NamedTuple):
  """A sampler and its training, compiled once for all laws.

  Of the two trials that `chunk` trains the first is looked at.
  """

  sampler: Sampler
  sample: Callable  # the sampler's, compiled
  init: Callable  # (key) -> TrainState [2]
  steps: step.Steps
  chunk: Callable  # (state [2], num_steps) -> state [2]
  both: TrainState  # [2] after STEPS steps

  @property
  def state(self) -> TrainState:
    """The first trial's."""
    return _trial(self.both, 0)


def _trial(states: TrainState, trial: int) -> TrainState:
  return jax.tree.map(lambda x: x[trial], states)


# Rows of which every part is in another one too.
SLOW = {
  *("bandit_mean", "bandit_target", "bandit_gradient", "bandit_random"),
  *("bandit_mixed", "bandit_mixed_self", "class_reweighting_every"),
  *("class_balanced", "anti_curriculum", "bucketed_curriculum_paced"),
}


@pytest.fixture(
  params=[
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in SAMPLERS
  ],
  scope="module",
)
def case(request) -> Case:
  sampler = samplers.get_sampler(
    SAMPLERS[request.param],
    "samplers.x",
    batch_size=BATCH_SIZE,
    num_steps=STEPS,
  )
  model, tx = toy.make_linear(), optax.sgd(0.5, momentum=0.9)
  init = step.make_init(model, tx, sampler)
  steps = step.make_steps(model, tx, sampler, make_gather())
  assert STEPS // 2 % steps.cycle == 0  # so that halves are whole cycles
  trials = step.make_train_chunk(steps, STEPS, "map")

  @jax.jit
  def start(keys, pool):
    return jax.vmap(init, (0, None))(keys, pool)

  @jax.jit
  def chunk(states, num_steps):
    return trials(states, num_steps, POOL, VALID)[0]

  both = chunk(start(KEYS, POOL), STEPS)
  return Case(sampler, jax.jit(sampler.sample), start, steps, chunk, both)


def _assert_equal(left, right, **tolerance):
  """Bitwise, or within a tolerance for the floats."""
  assert jax.tree.structure(left) == jax.tree.structure(right)
  for a, b in zip(toy.arrays(left), toy.arrays(right), strict=True):
    np.testing.assert_allclose(a, b, **({"rtol": 0} | tolerance))


def test_every_sampler_of_the_registry_is_in_the_table():
  assert {row["name"] for row in SAMPLERS.values()} == set(samplers.SAMPLERS)


def test_draws_are_valid(case):
  draw = case.sample(jax.random.key(3), case.state.sampler_state, POOL)
  for field in (draw.index, draw.arm, draw.prob, draw.weight):
    assert field.shape == (BATCH_SIZE,)
  assert draw.index.dtype == draw.arm.dtype == jnp.int32
  index, arm, prob, _, policy = map(np.asarray, draw)
  assert (index >= 0).all() and (index < POOL.label.shape[0]).all()
  assert (prob > 0).all() and (prob <= 1).all()
  np.testing.assert_allclose(policy.sum(), 1, rtol=1e-6)
  assert (policy >= 0).all()
  for name in case.sampler.needs:
    np.testing.assert_array_equal(arm, np.asarray(POOL.arms[name].arm)[index])


def test_same_key_state_and_needs_same_draw(case):
  """Also from a pool with nothing but the arms that the sampler names."""
  needs = case.sampler.needs
  lean = POOL._replace(arms={name: POOL.arms[name] for name in needs})
  args = jax.random.key(4), case.state.sampler_state
  _assert_equal(case.sample(*args, lean), case.sample(*args, POOL))
  _assert_equal(case.init(KEYS, lean), case.init(KEYS, POOL))


def test_draw_frequencies_match_prob(case):
  """Chi-square of what a slot drew over 20,000 keys against its `prob`."""
  num_keys = 20_000
  keys = jax.random.split(jax.random.key(6), num_keys)
  sample = jax.jit(jax.vmap(case.sampler.sample, (0, None, None)))
  draw = jax.device_get(sample(keys, case.state.sampler_state, POOL))
  for slot in (0, BATCH_SIZE // 2, BATCH_SIZE - 1):
    _, first, inverse, count = np.unique(
      draw.index[:, slot],
      return_index=True,
      return_inverse=True,
      return_counts=True,
    )
    prob = draw.prob[first, slot]
    np.testing.assert_allclose(draw.prob[:, slot], prob[inverse], rtol=1e-5)
    common = prob * num_keys >= 5
    observed = np.append(count[common], count[~common].sum())
    expected = np.append(prob[common], max(1 - prob[common].sum(), 0))
    expected *= num_keys
    if expected[-1] < 1:  # hardly anything else may happen
      assert observed[-1] <= 10
      observed, expected = observed[:-1], expected[:-1]
    if len(observed) == 1:
      assert observed[0] == num_keys
    else:
      statistic = ((observed - expected) ** 2 / expected).sum()
      assert stats.chi2.sf(statistic, len(observed) - 1) > 1e-4


def test_state_keeps_its_shapes_and_stays_finite(case):
  before = case.init(KEYS, POOL)
  for a, b in zip(toy.arrays(before), toy.arrays(case.both), strict=True):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert np.isfinite(b).all()


def test_state_does_not_grow_with_the_pool(case):
  def shapes(num_examples):
    pool = toy.make_pool(num_examples)
    state = jax.eval_shape(case.sampler.init, jax.random.key(0), pool)
    return jax.tree.map(jnp.shape, state)

  assert shapes(640) == shapes(6400)


def test_a_chunk_is_the_loop_over_cycles_and_compiles_once(case):
  states = case.init(KEYS, POOL)
  for _ in range(STEPS // case.steps.cycle):
    states = case.chunk(states, case.steps.cycle)
  _assert_equal(case.both, states)
  assert case.chunk._cache_size() == 1


def test_a_chunk_is_its_steps_one_by_one(case):
  """Prepared, measured and plain steps, called from Python.

  What a step says that it drew is what its sampler draws, and no law of
  `alcurr.laws` is broken.
  """
  prepare, measured, plain = (jax.jit(part) for part in (case.steps[:3]))
  state = _trial(case.init(KEYS, POOL), 0)
  for i in range(STEPS):
    if i % case.steps.cycle == 0:
      prepared = prepare(state, POOL, VALID)
    part = plain if i % case.steps.every else measured
    key_draw, *_ = jax.random.split(jax.random.fold_in(state.key, i), 4)
    draw = case.sample(key_draw, state.sampler_state, POOL)
    state, one = part(state, POOL, VALID, prepared)
    np.testing.assert_array_equal(one.index, draw.index)
    assert int(one.wrong) == 0
  _assert_equal(case.state, state, rtol=1e-4, atol=1e-6)


def test_a_run_in_two_halves_is_the_whole(case):
  states = case.chunk(case.init(KEYS, POOL), STEPS // 2)
  states = case.chunk(states, STEPS // 2)
  _assert_equal(states, case.both)


def test_a_trial_is_the_same_beside_another(case):
  """Bit for bit, in another place and beside a trial of another seed."""
  beside = jnp.stack([jax.random.key(2), KEYS[0]])
  others = case.chunk(case.init(beside, POOL), STEPS)
  _assert_equal(_trial(others, 1), case.state)


def test_trials_by_vmap_are_trials_by_map(case):
  chunk = step.make_train_chunk(case.steps, STEPS, "vmap")
  states, _ = jax.jit(chunk)(case.init(KEYS, POOL), STEPS, POOL, VALID)
  _assert_equal(states, case.both, rtol=1e-4, atol=1e-6)


def test_no_captured_constants(case):
  """Law 5: nothing of size hides in the program; the pool is an argument."""
  chunk = step.make_train_chunk(case.steps, STEPS, "vmap")
  state = jax.tree.map(lambda x: x[None], case.state)
  jaxpr = jax.make_jaxpr(chunk)(state, STEPS, POOL, VALID)
  assert all(constant.nbytes <= 1024 for constant in toy.arrays(jaxpr.consts))


def test_draw_costs_the_same_at_any_pool_size(case):
  """Law 6: a draw's FLOPs, bytes and memory, at 10^4 and at 10^7.

  The bytes are those of the program before XLA fuses it: the fused one is
  charged with the whole of an array that it gathers a few numbers from.
  """

  def cost(num_examples):
    def grow(leaf):
      shape = [
        num_examples if n == POOL.label.shape[0] else n for n in leaf.shape
      ]
      return jax.ShapeDtypeStruct(shape, leaf.dtype)

    pool = jax.tree.map(grow, POOL)
    key = jax.random.key(0)
    state = jax.eval_shape(case.sampler.init, key, pool)
    lowered = jax.jit(case.sampler.sample).lower(key, state, pool)
    compiled = lowered.compile()
    return (
      compiled.cost_analysis().get("flops", 0),
      lowered.cost_analysis()["bytes accessed"],
      compiled.memory_analysis().temp_size_in_bytes,
    )

  # Less is possible: constants of the pool's size may fold better.
  small, large = cost(10_000), cost(10_000_000)
  assert all(b <= a for a, b in zip(small, large, strict=True)), (small, large)
