"""The laws of samplers: each raises AssertionError if a sampler breaks it.

Every public function of a `Case` is one. No law depends on the sampler's name;
what only some samplers may do is read from the spec.
"""

import jax
import jax.numpy as jnp
import jax.scipy.stats
import numpy as np
import pandas as pd

from alcurr.testing import _toys
from alcurr.testing._toys import BATCH_SIZE, STEPS, Case, require
from alcurr.training import invariants
from alcurr.training.keys import step_keys
from alcurr.training.memory import num_bytes
from alcurr.types import Sampler

NUM_KEYS = 20_000  # draws that frequencies are taken over


def draws_are_valid(case: Case) -> None:
  draw = case.sample(jax.random.key(3), case.state.sampler_state, case.pool)
  dtypes = {"index": jnp.int32, "prob": jnp.float32, "weight": jnp.float32}
  if draw.arm is not None:
    dtypes["arm"] = jnp.int32
  for name, dtype in dtypes.items():
    array = getattr(draw, name)
    kind = array.shape, array.dtype
    require(kind == ((case.draw_size,), dtype), f"{name} is {kind}")
  index, prob = np.asarray(draw.index), np.asarray(draw.prob)
  size = case.pool.label.shape[0]
  inside = (index >= 0) & (index < size)
  require(inside.all(), f"of a pool of {size} it drew {index[~inside]}")
  possible = (prob > 0) & (prob <= 1)
  require(possible.all(), f"probabilities of {prob[~possible]}")
  if draw.policy is not None:
    policy = np.asarray(draw.policy)
    np.testing.assert_allclose(policy.sum(), 1, rtol=1e-6)
    require((policy >= 0).all(), f"a policy of {policy}")


def arms_are_of_the_arm_partition(case: Case) -> None:
  """Arms come with `spec.arm_partition`, one of the partitions of the spec."""
  spec = case.sampler.spec
  name = spec.arm_partition
  draw = case.sample(jax.random.key(3), case.state.sampler_state, case.pool)
  require((name is None) == (draw.arm is None), f"arm_partition={name}")
  if name is not None:
    require(name in spec.partitions, f"{name} is not in {spec.partitions}")
    arm = np.asarray(case.pool.partitions[name].arm)
    np.testing.assert_array_equal(draw.arm, arm[np.asarray(draw.index)])


def batches_are_selected_from_candidates(case: Case) -> None:
  """With `spec.num_candidates`, B slots of M; otherwise nothing is scored."""
  sampler, num = case.sampler, case.sampler.spec.num_candidates
  scores = sampler.score is not None and sampler.select is not None
  require(scores == (num is not None), f"num_candidates={num}")
  if not scores:
    return
  state = case.state.sampler_state
  draw = case.sample(jax.random.key(3), state, case.pool)
  score = jax.random.normal(jax.random.key(5), (num,))
  selection = sampler.select(jax.random.key(6), state, draw, score)
  slots, weight = map(np.asarray, selection)
  require(slots.shape == (BATCH_SIZE,), f"slots of shape {slots.shape}")
  inside = (slots >= 0) & (slots < num)
  require(inside.all(), f"slots {slots[~inside]}")
  require(weight.shape == slots.shape, f"weights of shape {weight.shape}")
  require(np.isfinite(weight).all(), f"weights of {weight}")


def same_key_state_and_partitions_same_draw(case: Case) -> None:
  """Also from a pool with only the partitions and scores of the spec."""
  spec, pool = case.sampler.spec, case.pool
  lean = pool._replace(
    partitions={name: pool.partitions[name] for name in spec.partitions},
    scores={name: pool.scores[name] for name in spec.scores},
  )
  args = jax.random.key(4), case.state.sampler_state
  _toys.assert_equal(case.sample(*args, lean), case.sample(*args, case.pool))
  _toys.assert_equal(case.init(_toys.seed_keys(0, 1), lean), case.start)


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
    _require_match(observed, expected * NUM_KEYS, slot)


def _require_match(observed: np.ndarray, expected: np.ndarray, slot: int):
  """Compares counts; the last ones are of all rare examples together."""
  if expected[-1] < 1:  # hardly anything else may happen
    rare = observed[-1]
    require(rare <= 10, f"slot {slot} drew {rare} times what has no `prob`")
    observed, expected = observed[:-1], expected[:-1]
  if len(observed) == 1:
    count = observed[0]
    require(
      count == NUM_KEYS, f"slot {slot} drew it {count} of {NUM_KEYS} times"
    )
    return
  statistic = ((observed - expected) ** 2 / expected).sum()
  p = jax.scipy.stats.chi2.sf(statistic, len(observed) - 1)
  require(
    p > 1e-4,
    f"in {NUM_KEYS} draws of slot {slot}, an example was drawn {observed[0]} "
    f"times instead of {expected[0]:.1f}; chi-square, all, p = {p:.2g}",
  )


def running_scores_are_finite_and_of_the_pool(case: Case) -> None:
  """A finite number for each example, from the first state on."""
  if case.sampler.running_scores is None:
    return
  scores = jax.jit(case.sampler.running_scores)
  size = case.pool.label.shape[0]
  for states in (case.start, case.both):
    state = _toys.trial_state(states, 0).sampler_state
    for name, score in scores(state).items():
      kind = score.shape, score.dtype
      require(kind == ((size,), jnp.float32), f"{name} is {kind}")
      require(np.isfinite(score).all(), f"{name} is not finite")


def state_keeps_its_shapes_and_stays_finite(case: Case) -> None:
  _toys.require_same_kinds(case.start, case.both)


def state_grows_only_as_the_spec_says(case: Case) -> None:
  """O(1), or O(N) with `spec.per_example_state`."""
  key, names = jax.random.key(0), case.sampler.spec.scores
  pools = (_toys.make_pool(size, scores=names) for size in (640, 6400))
  states = (jax.eval_shape(case.sampler.init, key, pool) for pool in pools)
  small, large = map(num_bytes, states)
  # A tree over the examples may be padded to a power of two.
  most = 16 * small if case.sampler.spec.per_example_state else small
  require(large <= most, f"{small} and {large} bytes of state")


def a_chunk_is_the_loop_over_cycles_and_compiles_once(case: Case) -> None:
  states = case.start
  for _ in range(STEPS // case.steps.cycle):
    states = case.chunk(states, case.steps.cycle)
  _toys.assert_equal(case.both, states)
  count = case.chunk._cache_size()
  require(count == 1, f"it was compiled {count} times")


def a_chunk_is_its_steps_one_by_one(case: Case) -> None:
  """Prepared, measured and plain steps, called from Python.

  A step trains on what its sampler draws, and violates no invariant.
  """
  prepare, measured, plain = (jax.jit(part) for part in case.steps[:3])
  state = _toys.trial_state(case.start, 0)
  for i in range(STEPS):
    if i % case.steps.cycle == 0:
      prepared = prepare(state, case.pool, case.probe)
    part = plain if i % case.steps.interval else measured
    key_draw = step_keys(state.key, i).draw
    draw = case.sample(key_draw, state.sampler_state, case.pool)
    state, metrics = part(state, case.pool, case.probe, prepared)
    if case.sampler.spec.num_candidates is None:
      np.testing.assert_array_equal(metrics.index, draw.index)
    require(np.isin(metrics.index, draw.index).all(), f"step {i}: not drawn")
    violation = invariants.Violation(int(metrics.violation))
    require(not violation, f"step {i}: {violation}")
  _toys.assert_equal(case.state, state, rtol=1e-4, atol=1e-6)


def a_run_in_two_halves_is_the_whole(case: Case) -> None:
  states = case.chunk(case.chunk(case.start, STEPS // 2), STEPS // 2)
  _toys.assert_equal(states, case.both)


def a_trial_does_not_depend_on_others(case: Case) -> None:
  """Bitwise, in another place and with a trial of another seed."""
  states = case.chunk(case.init(_toys.seed_keys(2, 0), case.pool), STEPS)
  _toys.assert_equal(_toys.trial_state(states, 1), case.state)


def trials_by_vmap_are_trials_by_map(case: Case) -> None:
  chunk = case.by_vmap.lower().compile()
  states, _ = chunk(case.start, STEPS, case.pool, case.probe)
  _toys.assert_equal(states, case.both, rtol=1e-4, atol=1e-6)


def no_captured_constants(case: Case) -> None:
  """The pool is an argument: no program has constants of more than 1 kB."""
  for constant in _toys.arrays(case.by_vmap.jaxpr.consts):
    size = constant.nbytes
    require(size <= 1024, f"a constant of {size} bytes, {constant.shape}")


def draw_costs_what_the_spec_says_at_any_pool_size(case: Case) -> None:
  """A draw's FLOPs, bytes and memory are equal at 10^4 and 10^7 examples.

  With `spec.per_example_state` they may grow with log N. The bytes are of the
  program before XLA fuses it: after that, a gather of a few numbers counts as
  the whole array.
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
    f"FLOPs, bytes and memory of {small}, and of {large} at the larger",
  )


SAMPLER_LAWS = _toys.collect_laws(globals())


def check_sampler(sampler: Sampler) -> pd.DataFrame:
  """Runs every law on a sampler of batches of BATCH_SIZE; see `make_case`.

  Returns:
    A row for each law: its name, whether it holds, and what was seen if not.
  """
  return _toys.run_laws(SAMPLER_LAWS, _toys.make_case(sampler))
