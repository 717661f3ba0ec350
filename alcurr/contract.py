"""The laws that every sampler obeys, to be run on one of your own.

    from alcurr import contract
    contract.check(my_sampler(batch_size=contract.BATCH_SIZE))

Each law is a function of a `Case` that raises AssertionError where it does not
hold. No law knows which sampler it looks at.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.stats
import numpy as np
import optax
import pandas as pd

from alcurr import laws, step
from alcurr.data.pool import make_gather
from alcurr.difficulty import arms
from alcurr.types import Images, Model, Pool, PyTree, Sampler, TrainState

BATCH_SIZE = 16
STEPS = 8  # of a run
NUM_CLASSES = 4
NUM_ARMS = 5
KEYS = (0, 1)  # of the two trials


def make_pool(num_examples: int = 640, seed: int = 0) -> Pool:
  """Noise with a class-dependent bright row; difficulty is random."""
  rng = np.random.default_rng(seed)
  label = rng.integers(0, NUM_CLASSES, num_examples).astype(np.int32)
  image = rng.integers(0, 128, (num_examples, 4, 4, 1))
  image[np.arange(num_examples), label] += 100
  difficulty = rng.normal(size=num_examples).astype(np.float32)
  pool = Pool(
    Images(image.astype(np.uint8)),
    label,
    difficulty,
    {
      name: partition(label, difficulty, NUM_ARMS)
      for name, partition in arms.ARMS.items()
    },
  )
  return jax.tree.map(jnp.asarray, pool)


def make_linear() -> Model:
  """Softmax regression, in a line each."""

  def init(key):
    weight = 0.01 * jax.random.normal(key, (16, NUM_CLASSES))
    return {"weight": weight, "bias": jnp.zeros(NUM_CLASSES)}, {}

  def apply(key, params, model_state, image, *, train):
    flat = image.reshape(image.shape[0], -1)
    return flat @ params["weight"] + params["bias"], model_state

  return Model(init, apply)


def arrays(tree: PyTree) -> list[np.ndarray]:
  """The leaves of a tree as NumPy arrays, keys as their data."""
  return [
    np.asarray(
      jax.random.key_data(leaf)
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
      else leaf
    )
    for leaf in jax.tree.leaves(tree)
  ]


class Case(NamedTuple):
  """A sampler and its training, compiled once for all laws.

  Of the two trials that `chunk` trains the first is looked at.
  """

  sampler: Sampler
  pool: Pool
  probe: Pool
  sample: Callable  # the sampler's, compiled
  init: Callable  # (key) -> TrainState [2]
  steps: step.Steps
  chunk: Callable  # (state [2], num_steps) -> state [2]
  both: TrainState  # [2] after STEPS steps

  @property
  def state(self) -> TrainState:
    """The first trial's."""
    return _trial(self.both, 0)


def make_case(sampler: Sampler) -> Case:
  """Trains a softmax regression with a sampler of batches of BATCH_SIZE.

  Its cycles, `refresh * every` steps, must be of a length that divides half of
  STEPS.
  """
  pool, probe = make_pool(), make_pool(100, seed=1)
  model, tx = make_linear(), optax.sgd(0.5, momentum=0.9)
  init = step.make_init(model, tx, sampler)
  steps = step.make_steps(model, tx, sampler, make_gather())
  if STEPS // 2 % steps.cycle:
    raise ValueError(
      f"refresh * every must divide {STEPS // 2}, got {steps.cycle}"
    )
  trials = step.make_train_chunk(steps, STEPS, "map")

  @jax.jit
  def start(keys, pool):
    return jax.vmap(init, (0, None))(keys, pool)

  @jax.jit
  def chunk(states, num_steps):
    return trials(states, num_steps, pool, probe)[0]

  both = chunk(start(_keys(*KEYS), pool), STEPS)
  sample = jax.jit(sampler.sample)
  return Case(*(sampler, pool, probe, sample, start, steps, chunk, both))


def check(sampler: Sampler) -> pd.DataFrame:
  """Runs every law on a sampler of batches of BATCH_SIZE; see `make_case`.

  Returns:
    A row a law: what it says, whether it holds, and what was seen where not.
  """
  case = make_case(sampler)
  rows = []
  for name, law in LAWS.items():
    seen = ""
    try:
      law(case)
    except AssertionError as error:
      seen = str(error).strip() or "it does not"
    rows.append((name.replace("_", " "), not seen, seen))
  return pd.DataFrame(rows, columns=["law", "holds", "seen"])


def _keys(*seeds: int) -> jax.Array:
  return jnp.stack([jax.random.key(seed) for seed in seeds])


def _trial(states: TrainState, trial: int) -> TrainState:
  return jax.tree.map(lambda x: x[trial], states)


def _must(holds: bool | np.bool_, text: str, *seen: Any) -> None:
  """An error of its own: `assert` says nothing outside of pytest."""
  if not holds:
    raise AssertionError(text.format(*seen))


def _assert_equal(left: PyTree, right: PyTree, **tolerance: float) -> None:
  """Bitwise, or within a tolerance for the floats."""
  structures = jax.tree.structure(left), jax.tree.structure(right)
  _must(structures[0] == structures[1], "{} is not {}", *structures)
  for a, b in zip(arrays(left), arrays(right), strict=True):
    np.testing.assert_allclose(a, b, **({"rtol": 0} | tolerance))


def draws_are_valid(case: Case) -> None:
  draw = case.sample(jax.random.key(3), case.state.sampler_state, case.pool)
  for name in ("index", "arm", "prob", "weight"):
    shape = getattr(draw, name).shape
    _must(shape == (BATCH_SIZE,), "{} is of shape {}", name, shape)
  for name in ("index", "arm"):
    dtype = getattr(draw, name).dtype
    _must(dtype == jnp.int32, "{} is {}, not int32", name, dtype)
  index, arm, prob, _, policy = map(np.asarray, draw)
  size = case.pool.label.shape[0]
  inside = (index >= 0) & (index < size)
  _must(inside.all(), "of a pool of {} it drew {}", size, index[~inside])
  possible = (prob > 0) & (prob <= 1)
  _must(possible.all(), "probabilities of {}", prob[~possible])
  np.testing.assert_allclose(policy.sum(), 1, rtol=1e-6)
  _must((policy >= 0).all(), "a policy of {}", policy)
  for name in case.sampler.needs:
    np.testing.assert_array_equal(
      arm, np.asarray(case.pool.arms[name].arm)[index]
    )


def same_key_state_and_needs_same_draw(case: Case) -> None:
  """Also from a pool with nothing but the arms that the sampler names."""
  needs = case.sampler.needs
  lean = case.pool._replace(arms={name: case.pool.arms[name] for name in needs})
  args = jax.random.key(4), case.state.sampler_state
  _assert_equal(case.sample(*args, lean), case.sample(*args, case.pool))
  _assert_equal(
    case.init(_keys(*KEYS), lean), case.init(_keys(*KEYS), case.pool)
  )


def draw_frequencies_match_prob(case: Case) -> None:
  """Chi-square of what a slot drew over 20,000 keys against its `prob`."""
  num_keys = 20_000
  keys = jax.random.split(jax.random.key(6), num_keys)
  sample = jax.jit(jax.vmap(case.sampler.sample, (0, None, None)))
  draw = jax.device_get(sample(keys, case.state.sampler_state, case.pool))
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
      _must(
        observed[-1] <= 10,
        *("slot {} drew {} times what has no probability", slot, observed[-1]),
      )
      observed, expected = observed[:-1], expected[:-1]
    if len(observed) == 1:
      _must(
        observed[0] == num_keys,
        *("slot {} drew it {} times of {}", slot, observed[0], num_keys),
      )
    else:
      statistic = ((observed - expected) ** 2 / expected).sum()
      p = jax.scipy.stats.chi2.sf(statistic, len(observed) - 1)
      _must(
        p > 1e-4,
        "in {} draws of slot {} an example came up {:.1f} times where its "
        "probability says {:.1f}, and others likewise: chi-square, p = {:.2g}",
        *(num_keys, slot, observed[0], expected[0], p),
      )


def state_keeps_its_shapes_and_stays_finite(case: Case) -> None:
  before = case.init(_keys(*KEYS), case.pool)
  for a, b in zip(arrays(before), arrays(case.both), strict=True):
    kinds = (a.shape, a.dtype), (b.shape, b.dtype)
    _must(kinds[0] == kinds[1], "what was {} became {}", *kinds)
    _must(np.isfinite(b).all(), "the state came to {}", b)


def state_does_not_grow_with_the_pool(case: Case) -> None:
  def shapes(num_examples):
    pool = make_pool(num_examples)
    state = jax.eval_shape(case.sampler.init, jax.random.key(0), pool)
    return jax.tree.map(jnp.shape, state)

  _must(shapes(640) == shapes(6400), "{} and {}", shapes(640), shapes(6400))


def a_chunk_is_the_loop_over_cycles_and_compiles_once(case: Case) -> None:
  states = case.init(_keys(*KEYS), case.pool)
  for _ in range(STEPS // case.steps.cycle):
    states = case.chunk(states, case.steps.cycle)
  _assert_equal(case.both, states)
  count = case.chunk._cache_size()
  _must(count == 1, "it was compiled {} times", count)


def a_chunk_is_its_steps_one_by_one(case: Case) -> None:
  """Prepared, measured and plain steps, called from Python.

  What a step says that it drew is what its sampler draws, and no law of
  `alcurr.laws` is broken.
  """
  prepare, measured, plain = (jax.jit(part) for part in (case.steps[:3]))
  state = _trial(case.init(_keys(*KEYS), case.pool), 0)
  for i in range(STEPS):
    if i % case.steps.cycle == 0:
      prepared = prepare(state, case.pool, case.probe)
    part = plain if i % case.steps.every else measured
    key_draw, *_ = step.step_keys(state.key, i)
    draw = case.sample(key_draw, state.sampler_state, case.pool)
    state, one = part(state, case.pool, case.probe, prepared)
    np.testing.assert_array_equal(one.index, draw.index)
    wrong = laws.Wrong(int(one.wrong))
    _must(not wrong, "step {}: {}", i, wrong)
  _assert_equal(case.state, state, rtol=1e-4, atol=1e-6)


def a_run_in_two_halves_is_the_whole(case: Case) -> None:
  states = case.chunk(case.init(_keys(*KEYS), case.pool), STEPS // 2)
  states = case.chunk(states, STEPS // 2)
  _assert_equal(states, case.both)


def a_trial_is_the_same_beside_another(case: Case) -> None:
  """Bit for bit, in another place and beside a trial of another seed."""
  beside = _keys(2, KEYS[0])
  others = case.chunk(case.init(beside, case.pool), STEPS)
  _assert_equal(_trial(others, 1), case.state)


def trials_by_vmap_are_trials_by_map(case: Case) -> None:
  chunk = step.make_train_chunk(case.steps, STEPS, "vmap")
  states, _ = jax.jit(chunk)(
    case.init(_keys(*KEYS), case.pool), STEPS, case.pool, case.probe
  )
  _assert_equal(states, case.both, rtol=1e-4, atol=1e-6)


def no_captured_constants(case: Case) -> None:
  """Law 5: nothing of size hides in the program; the pool is an argument."""
  chunk = step.make_train_chunk(case.steps, STEPS, "vmap")
  state = jax.tree.map(lambda x: x[None], case.state)
  jaxpr = jax.make_jaxpr(chunk)(state, STEPS, case.pool, case.probe)
  for constant in arrays(jaxpr.consts):
    size = constant.nbytes
    _must(size <= 1024, "a constant of {} bytes, {}", size, constant.shape)


def draw_costs_the_same_at_any_pool_size(case: Case) -> None:
  """Law 6: a draw's FLOPs, bytes and memory, at 10^4 and at 10^7.

  The bytes are those of the program before XLA fuses it: the fused one is
  charged with the whole of an array that it gathers a few numbers from.
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

  # Less is possible: constants of the pool's size may fold better.
  small, large = cost(10_000), cost(10_000_000)
  _must(
    all(b <= a for a, b in zip(small, large, strict=True)),
    "FLOPs, bytes and memory of {}, and of {} at the larger",
    *(small, large),
  )


LAWS = {
  law.__name__: law
  for law in (
    draws_are_valid,
    same_key_state_and_needs_same_draw,
    draw_frequencies_match_prob,
    state_keeps_its_shapes_and_stays_finite,
    state_does_not_grow_with_the_pool,
    a_chunk_is_the_loop_over_cycles_and_compiles_once,
    a_chunk_is_its_steps_one_by_one,
    a_run_in_two_halves_is_the_whole,
    a_trial_is_the_same_beside_another,
    trials_by_vmap_are_trials_by_map,
    no_captured_constants,
    draw_costs_the_same_at_any_pool_size,
  )
}
