"""A toy problem for the laws: a pool, a model and a sampler trained on them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd

from alcurr.data import partitions
from alcurr.data.pool import make_gather
from alcurr.training import chunks, step
from alcurr.types import Images, Model, Pool, PyTree, Sampler, TrainState

BATCH_SIZE = 16
NUM_CLASSES = 4
NUM_ARMS = 5
STEPS = 8  # of a run


def make_pool(
  num_examples: int = 640, seed: int = 0, scores: Sequence[str] = ()
) -> Pool:
  """Returns noise with a class-dependent bright row; difficulty is random.

  So are the other `scores`, by name.
  """
  rng = np.random.default_rng(seed)
  label = rng.integers(0, NUM_CLASSES, num_examples).astype(np.int32)
  image = rng.integers(0, 128, (num_examples, 4, 4, 1))
  image[np.arange(num_examples), label] += 100
  difficulty = rng.normal(size=num_examples).astype(np.float32)
  others = {
    name: rng.normal(size=num_examples).astype(np.float32) for name in scores
  }
  pool = Pool(
    Images(image.astype(np.uint8)),
    label,
    others | {"difficulty": difficulty},
    {
      name: make_partition(label, difficulty, NUM_ARMS)
      for name, make_partition in partitions.PARTITIONS.items()
    },
  )
  return jax.device_put(pool)


def make_linear(with_penalty: bool = False) -> Model:
  """Returns a softmax regression on the images of `make_pool`.

  Its penalty, half the squared norm, is that of a Gaussian prior.
  """

  def init(key):
    weight = 0.01 * jax.random.normal(key, (16, NUM_CLASSES), jnp.float32)
    return {"weight": weight, "bias": jnp.zeros(NUM_CLASSES, jnp.float32)}, {}

  def apply(key, params, model_state, image, *, train):
    flat = image.reshape(image.shape[0], -1)
    return flat @ params["weight"] + params["bias"][None], model_state

  def features(params, model_state, image):
    return image.reshape(image.shape[0], -1)

  def penalty(params):
    return optax.tree.norm(params, squared=True) / 2

  return Model(
    init,
    apply,
    features=features,
    penalty=penalty if with_penalty else None,
  )


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
  by_vmap: jax.stages.Traced  # a chunk of STEPS by vmap, not yet compiled
  start: TrainState  # [2] before the first step
  both: TrainState  # [2] after STEPS steps

  @property
  def state(self) -> TrainState:
    """The first trial's state after STEPS steps."""
    return trial_state(self.both, 0)

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
  names = sampler.spec.scores
  pool, probe = make_pool(scores=names), make_pool(100, seed=1, scores=names)
  model = make_linear(sampler.spec.reads_penalty)
  tx = optax.sgd(0.5, momentum=0.9)
  steps = step.make_steps(model, tx, sampler, make_gather())
  if STEPS // 2 % steps.cycle:
    raise ValueError(
      f"interval * prepare_interval must divide {STEPS // 2}, got {steps.cycle}"
    )
  trials = chunks.make_train_chunk(steps, STEPS, "map")
  init = jax.jit(jax.vmap(step.make_init(model, tx, sampler), (0, None)))
  chunk = jax.jit(lambda state, num: trials(state, num, pool, probe)[0])
  start = init(seed_keys(0, 1), pool)
  by_vmap = jax.jit(chunks.make_train_chunk(steps, STEPS, "vmap"))
  return Case(
    sampler=sampler,
    pool=pool,
    probe=probe,
    sample=jax.jit(sampler.sample),
    init=init,
    steps=steps,
    chunk=chunk,
    by_vmap=by_vmap.trace(start, STEPS, pool, probe),
    start=start,
    both=chunk(start, STEPS),
  )


def seed_keys(*seeds: int) -> jax.Array:
  """Returns the key of each seed."""
  return jnp.stack([jax.random.key(seed) for seed in seeds])


def trial_state(states: TrainState, trial: int) -> TrainState:
  """Returns one trial's state of [S]."""
  return jax.tree.map(lambda x: x[trial], states)


def arrays(tree: PyTree) -> list[np.ndarray]:
  """Returns the leaves of a tree as NumPy arrays, keys as their data."""
  return [
    np.asarray(
      jax.random.key_data(leaf)
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
      else leaf
    )
    for leaf in jax.tree.leaves(tree)
  ]


def require(holds: bool | np.bool_, text: str) -> None:
  """Raises AssertionError with a text, also under `python -O`."""
  if not holds:
    raise AssertionError(text)


def assert_equal(left: PyTree, right: PyTree, **tolerance: float) -> None:
  """Compares two trees bitwise, or floats within a tolerance."""
  structure, other = jax.tree.structure(left), jax.tree.structure(right)
  require(structure == other, f"{structure} is not {other}")
  for a, b in zip(arrays(left), arrays(right), strict=True):
    np.testing.assert_allclose(a, b, **({"rtol": 0} | tolerance))


def collect_laws(module: dict[str, Any]) -> dict[str, Callable]:
  """Returns the public functions that a module has defined so far, by name."""
  return {
    name: value
    for name, value in module.items()
    if getattr(value, "__module__", "") == module["__name__"]
    and not name.startswith("_")
  }


def run_laws(laws: dict[str, Any], case: Any) -> pd.DataFrame:
  """Returns a row for each law: its name, whether it holds, what was seen."""
  rows = []
  for name, law in laws.items():
    seen = ""
    try:
      law(case)
    except AssertionError as error:
      seen = str(error).strip() or "AssertionError"
    rows.append((name.replace("_", " "), not seen, seen))
  return pd.DataFrame(rows, columns=["law", "holds", "seen"])


def require_same_kinds(before: PyTree, after: PyTree) -> None:
  """Raises AssertionError for another shape or dtype, and for NaN or inf."""
  for a, b in zip(arrays(before), arrays(after), strict=True):
    kinds = (a.shape, a.dtype), (b.shape, b.dtype)
    require(kinds[0] == kinds[1], f"{kinds[0]} became {kinds[1]}")
    require(np.isfinite(b).all(), f"the state became {b}")
