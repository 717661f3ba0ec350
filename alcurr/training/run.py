"""A run, and the programs that it is compiled to."""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr.data.host_store import Lookup
from alcurr.training import chunks, compilation, evaluation, prefetch, step
from alcurr.training.losses import softmax_cross_entropy
from alcurr.types import (
  Array,
  Augment,
  Batch,
  Loss,
  Model,
  Pool,
  PyTree,
  Sampler,
  TrainState,
)

# ((params, model_state) with a leading axis [S], pool) -> Scores [S, N]
Score = Callable[[tuple[PyTree, PyTree], Pool], evaluation.Scores]


class RunSpec(NamedTuple):
  """All that decides a run, but for the data."""

  sampler: Sampler
  model: Model
  tx: optax.GradientTransformation
  gather: Callable[[Pool, Array], Batch]
  num_steps: int
  batch_size: int
  seeds: tuple[int, ...]  # one for each trial
  trials_by: str  # "vmap" or "map"
  num_evals: int  # on the valid pool, evenly over the run
  chunk_steps: int  # most steps between two visits of the host
  score: Score
  on_nonfinite: str = "stop"  # of step.ON_NONFINITE
  augment: Augment | None = None  # of the images that are trained on
  loss: Loss = softmax_cross_entropy  # of each example
  name: str = "the run"  # in what is said of it
  lookup: Lookup | None = None  # of pools on the host


class Chunks(NamedTuple):
  """A run's steps, cut into chunks of one compiled program."""

  lengths: list[int]  # in steps
  # (state [S], num_steps, pool, probe) -> (state, metrics [S, T])
  program: jax.stages.Compiled
  ahead: prefetch.Prefetch | None  # of a pool on the host, where it can be


class CompiledRun(NamedTuple):
  """A run, compiled."""

  chunks: Chunks
  chunks_per_evaluation: int
  score: jax.stages.Compiled  # of the valid pool
  state: TrainState  # [S], the shapes
  flops_per_step: float  # of one trial, read from the compiled program
  compile_seconds: float


def make_steps(run: RunSpec) -> step.Steps:
  """The fused step of a run."""
  return step.make_steps(
    run.model,
    run.tx,
    run.sampler,
    run.gather,
    run.on_nonfinite,
    run.augment,
    run.loss,
  )


def count_flops(run: RunSpec, pools: Mapping[str, Pool]) -> float:
  """FLOPs of a step of one trial of a run, without running it."""
  steps = make_steps(run)
  init = step.make_init(run.model, run.tx, run.sampler)
  state = jax.eval_shape(init, jax.random.key(0), pools["train"])
  return compilation.step_flops(steps, state, pools["train"], pools["probe"])


def chunk_lengths(
  num_steps: int, num_evals: int, chunk_steps: int, cycle: int = 1
) -> tuple[list[int], int]:
  """Chunk lengths that add up to `num_steps`, and chunks per evaluation.

  All but the last are equal, and whole cycles.
  """
  between = -(-num_steps // num_evals)
  chunks = -(-between // chunk_steps)
  length = -(-between // chunks)
  length = -(-length // cycle) * cycle
  chunks = -(-between // length)
  whole, rest = divmod(num_steps, length)
  return [length] * whole + [rest] * (rest > 0), chunks


def make_score(
  model: Model,
  gather: Callable[[Pool, Array], Batch],
  batch_size: int,
  trials_by: str,
  loss: Loss = softmax_cross_entropy,
) -> Score:
  """Scores of every trial's variables on a pool, to be compiled."""
  return chunks.over_trials(
    evaluation.make_evaluate(model, gather, batch_size, loss), trials_by
  )


def score_pool(
  run: RunSpec, state: TrainState, pool: Pool
) -> evaluation.Scores:
  """A run's trials on a pool, on the host: [S, N]."""
  variables = (state.params, state.model_state)
  return jax.device_get(
    compilation.compile_once(run.score, variables, pool)(variables, pool)
  )


def compile_chunks(
  run: RunSpec,
  steps: step.Steps,
  lengths: list[int],
  state: TrainState,
  pools: Mapping[str, Pool],
) -> Chunks:
  """Compiles the steps of a run.

  Args:
    run: what to train and how.
    steps: of this run.
    lengths: of its chunks, in steps.
    state: of all trials, or its shapes.
    pools: "train" and "probe", of arrays or of their shapes.
  """
  pool, most = pools["train"], max(lengths)
  ahead = prefetch.plan(
    *(run.sampler, run.lookup, most, run.trials_by, state, pool)
  )
  if ahead:
    pool = pool._replace(source=ahead.shapes)
  chunk = chunks.make_train_chunk(steps, most, run.trials_by)
  program = compilation.compile_once(
    chunk, state, jnp.int32(0), pool, pools["probe"], donate=(0,)
  )
  return Chunks(lengths, program, ahead)


def chunk_pools(
  chunks: Chunks, state: TrainState, pool: Pool, first: int = 0
) -> Iterator[Pool]:
  """What each chunk from the first on is to be given to draw from.

  Args:
    chunks: of a run.
    state: [S], of which they begin; it may be given away after the first pool
      is taken.
    pool: that the run trains on.
    first: the place of the first among all chunks.
  """
  if chunks.ahead:
    return prefetch.pools(chunks.ahead, state, chunks.lengths[first:], pool)
  return itertools.repeat(pool)


def compile_run(run: RunSpec, pools: Mapping[str, Pool]) -> CompiledRun:
  """Compiles a run; nothing is run.

  Args:
    run: what to train and how.
    pools: "train", "probe" and "valid", of arrays or of their shapes.
  """
  pool, probe = pools["train"], pools["probe"]
  steps = make_steps(run)
  lengths, chunks_per_evaluation = chunk_lengths(
    run.num_steps, run.num_evals, run.chunk_steps, steps.cycle
  )
  state = jax.eval_shape(functools.partial(init_trials, run), pool)
  started = time.perf_counter()
  chunks = compile_chunks(run, steps, lengths, state, pools)
  variables = (state.params, state.model_state)
  score = compilation.compile_once(run.score, variables, pools["valid"])
  compile_seconds = time.perf_counter() - started
  if steps.cycle == 1 and jax.default_backend() == "cpu":
    # A loop's cost is that of one turn, here a step; by vmap of all trials.
    flops = chunks.program.cost_analysis()["flops"]
    flops_per_step = flops / (len(run.seeds) if run.trials_by == "vmap" else 1)
  else:
    init = step.make_init(run.model, run.tx, run.sampler)
    one = jax.eval_shape(init, jax.random.key(0), pool)
    flops_per_step = compilation.step_flops(steps, one, pool, probe)
  return CompiledRun(
    chunks,
    chunks_per_evaluation,
    score,
    state,
    flops_per_step,
    compile_seconds,
  )


def init_trials(run: RunSpec, pool: Pool) -> TrainState:
  """All trials of a run at step 0: a state with a leading axis [S]."""
  init = step.make_init(run.model, run.tx, run.sampler)
  keys = jnp.stack([jax.random.key(seed) for seed in run.seeds])
  # Not jitted: its operations are compiled once for all samplers, and an
  # initialisation as one program for each of them took longer than it.
  return jax.vmap(init, (0, None))(keys, pool)
