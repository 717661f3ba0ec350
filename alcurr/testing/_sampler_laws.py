"""The laws of samplers: each raises AssertionError if a sampler breaks it.

A law is a function of a `Case`. No law knows which sampler it looks at; what
a sampler may do beyond the others is read from its spec.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.stats
import numpy as np
import optax
import pandas as pd

from alcurr.data.pool import make_gather
from alcurr.testing._toys import (
  BATCH_SIZE,
  arrays,
  assert_equal,
  make_linear,
  make_pool,
  require,
  run_laws,
)
from alcurr.training import chunks, invariants, step
from alcurr.training.keys import step_keys
from alcurr.types import Pool, Sampler, TrainState

STEPS = 8  # of a run
KEYS = (0, 1)  # of the two trials
NUM_KEYS = 20_000  # draws that frequencies are taken over


class Case(NamedTuple):
  """A sampler and its training, compiled once for all laws.

  Two trials are trained; the laws look at the first.
  """

  sampler: Sampler
  pool: Pool
  probe: Pool
  sample: Callable  # the sampler's, compiled
  init: Callable  # (keys [2], pool) -> TrainState [2]
  steps: step.Steps
  chunk: Callable  # (state [2], num_steps) -> state [2]
  both: TrainState  # [2] after STEPS steps

  @property
  def state(self) -> TrainState:
    """The first trial's state."""
    return _trial(self.both, 0)

  @property
  def draw_size(self) -> int:
    """The examples of a draw: M candidates, or B."""
    return self.sampler.spec.num_candidates or BATCH_SIZE


def make_case(sampler: Sampler) -> Case:
  """Trains a softmax regression with a sampler of batches of BATCH_SIZE.

  Raises:
    ValueError: the sampler's cycle, `interval * prepare_interval` steps, does
      not divide half of STEPS.
  """
  pool, probe = make_pool(), make_pool(100, seed=1)
  model, tx = make_linear(), optax.sgd(0.5, momentum=0.9)
  init = step.make_init(model, tx, sampler)
  steps = step.make_steps(model, tx, sampler, make_gather())
  if STEPS // 2 % steps.cycle:
    raise ValueError(
      f"interval * prepare_interval must divide {STEPS // 2}, got {steps.cycle}"
    )
  trials = chunks.make_train_chunk(steps, STEPS, "map")

  @jax.jit
  def start(keys, pool):
    return jax.vmap(init, (0, None))(keys, pool)

  @jax.jit
  def chunk(states, num_steps):
    return trials(states, num_steps, pool, probe)[0]

  both = chunk(start(_keys(*KEYS), pool), STEPS)
  return Case(
    sampler=sampler,
    pool=pool,
    probe=probe,
    sample=jax.jit(sampler.sample),
    init=start,
    steps=steps,
    chunk=chunk,
    both=both,
  )


def check_sampler(sampler: Sampler) -> pd.DataFrame:
  """Runs every law on a sampler of batches of BATCH_SIZE; see `make_case`.

  Returns:
    A row for each law: its name, whether it holds, and what was seen if not.
  """
  return run_laws(SAMPLER_LAWS, make_case(sampler))


def _keys(*seeds: int) -> jax.Array:
  return jnp.stack([jax.random.key(seed) for seed in seeds])


def _trial(states: TrainState, trial: int) -> TrainState:
  return jax.tree.map(lambda x: x[trial], states)


def draws_are_valid(case: Case) -> None:
  draw = case.sample(jax.random.key(3), case.state.sampler_state, case.pool)
  dtypes = {"index": jnp.int32, "prob": jnp.float32, "weight": jnp.float32}
  if draw.arm is not None:
    dtypes["arm"] = jnp.int32
  for name, dtype in dtypes.items():
    array = getattr(draw, name)
    shape = array.shape
    require(shape == (case.draw_size,), "{} is of shape {}", name, shape)
    require(array.dtype == dtype, "{} is {}", name, array.dtype)
  index, prob = np.asarray(draw.index), np.asarray(draw.prob)
  size = case.pool.label.shape[0]
  inside = (index >= 0) & (index < size)
  require(inside.all(), "of a pool of {} it drew {}", size, index[~inside])
  possible = (prob > 0) & (prob <= 1)
  require(possible.all(), "probabilities of {}", prob[~possible])
  if draw.policy is not None:
    policy = np.asarray(draw.policy)
    np.testing.assert_allclose(policy.sum(), 1, rtol=1e-6)
    require((policy >= 0).all(), "a policy of {}", policy)


def arms_are_those_of_the_partition_named(case: Case) -> None:
  """An arm is in `spec.arm_partition`, one of the partitions of the spec."""
  spec = case.sampler.spec
  draw = case.sample(jax.random.key(3), case.state.sampler_state, case.pool)
  named = spec.arm_partition is not None
  require(
    named == (draw.arm is not None), "arm_partition={}", spec.arm_partition
  )
  if named:
    require(
      spec.arm_partition in spec.partitions,
      "{} is not in {}",
      spec.arm_partition,
      spec.partitions,
    )
    arm = np.asarray(case.pool.partitions[spec.arm_partition].arm)
    np.testing.assert_array_equal(draw.arm, arm[np.asarray(draw.index)])


def candidates_are_selected_from_those_drawn(case: Case) -> None:
  """With `spec.num_candidates`, B slots of M; without, nothing is scored."""
  sampler = case.sampler
  scores = sampler.score is not None and sampler.select is not None
  wanted = sampler.spec.num_candidates is not None
  require(scores == wanted, "num_candidates={}", sampler.spec.num_candidates)
  if not wanted:
    return
  state = case.state.sampler_state
  draw = case.sample(jax.random.key(3), state, case.pool)
  score = jax.random.normal(jax.random.key(5), (case.draw_size,))
  selection = sampler.select(jax.random.key(6), state, draw, score)
  slots = np.asarray(selection.slots)
  require(slots.shape == (BATCH_SIZE,), "slots of shape {}", slots.shape)
  inside = (slots >= 0) & (slots < case.draw_size)
  require(inside.all(), "slots {}", slots[~inside])
  weight = np.asarray(selection.weight)
  require(weight.shape == slots.shape, "weights of shape {}", weight.shape)
  require(np.isfinite(weight).all(), "weights of {}", weight)


def same_key_state_and_partitions_same_draw(case: Case) -> None:
  """Also from a pool with only the partitions that the spec names."""
  names = case.sampler.spec.partitions
  lean = case.pool._replace(
    partitions={name: case.pool.partitions[name] for name in names}
  )
  args = jax.random.key(4), case.state.sampler_state
  assert_equal(case.sample(*args, lean), case.sample(*args, case.pool))
  assert_equal(
    case.init(_keys(*KEYS), lean), case.init(_keys(*KEYS), case.pool)
  )


def draw_frequencies_match_prob(case: Case) -> None:
  """Chi-square of what a slot drew over 20,000 keys against its `prob`."""
  keys = jax.random.split(jax.random.key(6), NUM_KEYS)
  sample = jax.jit(jax.vmap(case.sampler.sample, (0, None, None)))
  draw = jax.device_get(sample(keys, case.state.sampler_state, case.pool))
  for slot in (0, case.draw_size // 2, case.draw_size - 1):
    _, first, inverse, count = np.unique(
      draw.index[:, slot],
      return_index=True,
      return_inverse=True,
      return_counts=True,
    )
    prob = draw.prob[first, slot]
    np.testing.assert_allclose(draw.prob[:, slot], prob[inverse], rtol=1e-5)
    common = prob * NUM_KEYS >= 5
    observed = np.append(count[common], count[~common].sum())
    expected = np.append(prob[common], max(1 - prob[common].sum(), 0))
    expected *= NUM_KEYS
    if expected[-1] < 1:  # hardly anything else may happen
      require(
        observed[-1] <= 10,
        *("slot {} drew {} times what has no probability", slot, observed[-1]),
      )
      observed, expected = observed[:-1], expected[:-1]
    if len(observed) == 1:
      require(
        observed[0] == NUM_KEYS,
        *("slot {} drew it {} times of {}", slot, observed[0], NUM_KEYS),
      )
    else:
      statistic = ((observed - expected) ** 2 / expected).sum()
      p = jax.scipy.stats.chi2.sf(statistic, len(observed) - 1)
      require(
        p > 1e-4,
        "in {} draws of slot {} an example came up {:.1f} times where its "
        "probability says {:.1f}, and others likewise: chi-square, p = {:.2g}",
        *(NUM_KEYS, slot, observed[0], expected[0], p),
      )


def state_keeps_its_shapes_and_stays_finite(case: Case) -> None:
  before = case.init(_keys(*KEYS), case.pool)
  for a, b in zip(arrays(before), arrays(case.both), strict=True):
    kinds = (a.shape, a.dtype), (b.shape, b.dtype)
    require(kinds[0] == kinds[1], "what was {} became {}", *kinds)
    require(np.isfinite(b).all(), "the state came to {}", b)


def state_grows_only_as_the_spec_says(case: Case) -> None:
  """O(1), or O(N) with `spec.per_example_state`."""

  def num_bytes(num_examples):
    pool = make_pool(num_examples)
    state = jax.eval_shape(case.sampler.init, jax.random.key(0), pool)
    return sum(
      math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)
    )

  small, large = num_bytes(640), num_bytes(6400)
  # A tree over the examples may be padded to a power of two.
  most = 16 * small if case.sampler.spec.per_example_state else small
  require(large <= most, "{} and {} bytes of state", small, large)


def a_chunk_is_the_loop_over_cycles_and_compiles_once(case: Case) -> None:
  states = case.init(_keys(*KEYS), case.pool)
  for _ in range(STEPS // case.steps.cycle):
    states = case.chunk(states, case.steps.cycle)
  assert_equal(case.both, states)
  count = case.chunk._cache_size()
  require(count == 1, "it was compiled {} times", count)


def a_chunk_is_its_steps_one_by_one(case: Case) -> None:
  """Prepared, measured and plain steps, called from Python.

  A step trains on what its sampler draws, and violates no invariant.
  """
  prepare, measured, plain = (jax.jit(part) for part in case.steps[:3])
  state = _trial(case.init(_keys(*KEYS), case.pool), 0)
  for i in range(STEPS):
    if i % case.steps.cycle == 0:
      prepared = prepare(state, case.pool, case.probe)
    part = plain if i % case.steps.interval else measured
    key_draw = step_keys(state.key, i).draw
    draw = case.sample(key_draw, state.sampler_state, case.pool)
    state, metrics = part(state, case.pool, case.probe, prepared)
    if case.sampler.spec.num_candidates is None:
      np.testing.assert_array_equal(metrics.index, draw.index)
    require(np.isin(metrics.index, draw.index).all(), "step {}: not drawn", i)
    violation = invariants.Violation(int(metrics.violation))
    require(not violation, "step {}: {}", i, violation)
  assert_equal(case.state, state, rtol=1e-4, atol=1e-6)


def a_run_in_two_halves_is_the_whole(case: Case) -> None:
  states = case.chunk(case.init(_keys(*KEYS), case.pool), STEPS // 2)
  states = case.chunk(states, STEPS // 2)
  assert_equal(states, case.both)


def a_trial_is_the_same_beside_another(case: Case) -> None:
  """Bit for bit, in another place and beside a trial of another seed."""
  beside = _keys(2, KEYS[0])
  others = case.chunk(case.init(beside, case.pool), STEPS)
  assert_equal(_trial(others, 1), case.state)


def trials_by_vmap_are_trials_by_map(case: Case) -> None:
  chunk = chunks.make_train_chunk(case.steps, STEPS, "vmap")
  states, _ = jax.jit(chunk)(
    case.init(_keys(*KEYS), case.pool), STEPS, case.pool, case.probe
  )
  assert_equal(states, case.both, rtol=1e-4, atol=1e-6)


def no_captured_constants(case: Case) -> None:
  """Law 5: nothing of size hides in the program; the pool is an argument."""
  chunk = chunks.make_train_chunk(case.steps, STEPS, "vmap")
  state = jax.tree.map(lambda x: x[None], case.state)
  jaxpr = jax.make_jaxpr(chunk)(state, STEPS, case.pool, case.probe)
  for constant in arrays(jaxpr.consts):
    size = constant.nbytes
    require(size <= 1024, "a constant of {} bytes, {}", size, constant.shape)


def draw_costs_what_the_spec_says_at_any_pool_size(case: Case) -> None:
  """Law 6: a draw's FLOPs, bytes and memory, at 10^4 and at 10^7.

  They are equal, or grow with log N with `spec.per_example_state`. The bytes
  are those of the program before XLA fuses it: the fused one is charged with
  the whole of an array from which it gathers a few numbers.
  """

  def cost(num_examples):
    def grow(leaf):
      shape = [
        num_examples if n == case.pool.label.shape[0] else n for n in leaf.shape
      ]
      return jax.ShapeDtypeStruct(shape, leaf.dtype)

    pool = jax.tree.map(grow, case.pool)
    key = jax.random.key(0)
    state = jax.eval_shape(case.sampler.init, key, pool)
    lowered = jax.jit(case.sampler.sample).lower(key, state, pool)
    compiled = lowered.compile()
    return (
      compiled.cost_analysis().get("flops", 0),
      lowered.cost_analysis()["bytes accessed"],
      compiled.memory_analysis().temp_size_in_bytes,
    )

  factor = 2 * 7 / 4 if case.sampler.spec.per_example_state else 1
  # Less is possible: constants of the pool's size may fold better.
  small, large = cost(10_000), cost(10_000_000)
  require(
    all(b <= factor * a for a, b in zip(small, large, strict=True)),
    "FLOPs, bytes and memory of {}, and of {} at the larger",
    *(small, large),
  )


SAMPLER_LAWS = {
  law.__name__: law
  for law in (
    draws_are_valid,
    arms_are_those_of_the_partition_named,
    candidates_are_selected_from_those_drawn,
    same_key_state_and_partitions_same_draw,
    draw_frequencies_match_prob,
    state_keeps_its_shapes_and_stays_finite,
    state_grows_only_as_the_spec_says,
    a_chunk_is_the_loop_over_cycles_and_compiles_once,
    a_chunk_is_its_steps_one_by_one,
    a_run_in_two_halves_is_the_whole,
    a_trial_is_the_same_beside_another,
    trials_by_vmap_are_trials_by_map,
    no_captured_constants,
    draw_costs_what_the_spec_says_at_any_pool_size,
  )
}
