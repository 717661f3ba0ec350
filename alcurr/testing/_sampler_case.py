"""A sampler trained on a toy problem, for the laws to look at."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr.data.pool import make_gather
from alcurr.testing._toys import BATCH_SIZE, make_linear, make_pool
from alcurr.training import chunks, step
from alcurr.types import Pool, Sampler, TrainState

STEPS = 8  # of a run


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
  pool, probe = make_pool(), make_pool(100, seed=1)
  model, tx = make_linear(), optax.sgd(0.5, momentum=0.9)
  steps = step.make_steps(model, tx, sampler, make_gather())
  if STEPS // 2 % steps.cycle:
    raise ValueError(
      f"interval * prepare_interval must divide {STEPS // 2}, got {steps.cycle}"
    )
  trials = chunks.make_train_chunk(steps, STEPS, "map")
  init = jax.jit(jax.vmap(step.make_init(model, tx, sampler), (0, None)))
  chunk = jax.jit(lambda state, num: trials(state, num, pool, probe)[0])
  start = init(seed_keys(0, 1), pool)
  return Case(
    sampler=sampler,
    pool=pool,
    probe=probe,
    sample=jax.jit(sampler.sample),
    init=init,
    steps=steps,
    chunk=chunk,
    start=start,
    both=chunk(start, STEPS),
  )


def seed_keys(*seeds: int) -> jax.Array:
  """Returns the key of each seed."""
  return jnp.stack([jax.random.key(seed) for seed in seeds])


def trial_state(states: TrainState, trial: int) -> TrainState:
  """Returns one trial's state of [S]."""
  return jax.tree.map(lambda x: x[trial], states)
