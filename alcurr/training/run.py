"""The specification of a run, and the programs it is compiled to."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from alcurr.data.host_store import Lookup
from alcurr.training import (
  chunks,
  compilation,
  evaluation,
  parallel,
  prefetch,
  step,
)
from alcurr.training.keys import seed_key
from alcurr.training.losses import softmax_cross_entropy
from alcurr.training.scoring import Score
from alcurr.types import (
  Augment,
  Gather,
  Loss,
  Model,
  Pool,
  PyTree,
  Sampler,
  StatefulLoss,
  TrainState,
)


class RunSpec(NamedTuple):
  """Everything that decides a run except the data."""

  sampler: Sampler
  model: Model
  tx: optax.GradientTransformation
  gather: Gather
  num_steps: int
  batch_size: int
  seeds: tuple[int, ...]  # one for each trial
  trials_by: str  # "vmap" or "map"
  num_evals: int  # on the valid pool, evenly over the run
  chunk_steps: int  # most steps between two visits of the host
  score: Score
  on_nonfinite: str = "stop"  # one of step.ON_NONFINITE
  augment: Augment | None = None  # of the images that are trained on
  loss: Loss | StatefulLoss = softmax_cross_entropy  # that is trained on
  name: str = "the run"  # for messages
  lookup: Lookup | None = None  # finds the examples of pools on the host
  mesh: Mesh | None = None  # the devices that share the work; None for one


class Chunks(NamedTuple):
  """A run's steps, cut into chunks of one compiled program."""

  lengths: list[int]  # in steps
  per_evaluation: int  # chunks from one evaluation to the next
  # (state [S], num_steps, pool, probe) -> (state, metrics [S, T])
  program: jax.stages.Compiled
  prefetch: prefetch.Prefetch | None  # of a pool on the host, if possible

  def is_evaluated(self, number: int) -> bool:
    """Returns whether the valid pool is scored after a chunk, from 1."""
    is_last = number == len(self.lengths)
    return number % self.per_evaluation == 0 or is_last


class CompiledRun(NamedTuple):
  """The programs of a run."""

  chunks: Chunks
  score: jax.stages.Compiled  # of the valid pool
  state: TrainState  # [S], as shapes
  flops_per_step: float  # of one trial, read from the compiled program
  compile_seconds: float


def make_steps(run: RunSpec) -> step.Steps:
  """Builds the fused step of a run."""
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
  """Returns the FLOPs of a step of one trial, without running it."""
  init = step.make_init(run.model, run.tx, run.sampler, run.loss)
  pool = pools["train"]
  state = jax.eval_shape(init, jax.random.key(0), pool)
  return compilation.step_flops(make_steps(run), state, pool, pools["probe"])


def score_flops(run: RunSpec, loss: Loss, batch_size: int, pool: Pool) -> float:
  """Returns the FLOPs of scoring an example by `make_score`'s function."""
  size = min(batch_size, pool.label.shape[0])

  def score(variables: tuple[PyTree, PyTree], pool: Pool):
    batch = run.gather(pool, jnp.arange(size, dtype=jnp.int32))
    key = jax.random.key(0)
    logits, _ = run.model.apply(key, *variables, batch.inputs, train=False)
    return loss(logits, batch.label)

  variables = jax.eval_shape(run.model.init, jax.random.key(0))
  return compilation.count_flops(score, variables, pool) / size


def chunk_lengths(
  num_steps: int, num_evals: int, chunk_steps: int, cycle: int = 1
) -> tuple[list[int], int]:
  """Returns the chunks' lengths in steps, and the chunks per evaluation.

  The lengths add up to `num_steps`. All but the last are equal and whole
  cycles.
  """
  between = -(-num_steps // num_evals)
  num_chunks = -(-between // chunk_steps)
  length = -(-between // num_chunks)
  length = -(-length // cycle) * cycle
  num_chunks = -(-between // length)
  whole, rest = divmod(num_steps, length)
  return [length] * whole + [rest] * (rest > 0), num_chunks


def score_pool(
  run: RunSpec, state: TrainState, pool: Pool
) -> evaluation.Scores:
  """Scores a run's trials on a pool: [S, N], in host memory."""
  variables = (state.params, state.model_state)
  program = compilation.compile_once(run.score, variables, pool, mesh=run.mesh)
  return jax.device_get(program(variables, pool))


def compile_chunks(
  run: RunSpec, state: TrainState, pools: Mapping[str, Pool]
) -> Chunks:
  """Compiles the steps of a run.

  State [S] and pools, "train" and "probe", may be arrays or shapes.
  """
  steps = make_steps(run)
  lengths, per_evaluation = chunk_lengths(
    run.num_steps, run.num_evals, run.chunk_steps, steps.cycle
  )
  pool, max_steps = pools["train"], max(lengths)
  fetch = prefetch.compile_prefetch(
    run.sampler,
    run.lookup,
    max_steps,
    run.trials_by,
    state,
    pool,
    run.mesh,
    run.batch_size,
  )

  def inputs(source: PyTree) -> tuple[PyTree, ...]:
    own = pool._replace(source=source)
    return state, np.int32(0), own, pools["probe"]

  program = compilation.compile_once(
    chunks.make_train_chunk(steps, max_steps, run.trials_by),
    *inputs(fetch.shapes if fetch else pool.source),
    donate=(0,),
    mesh=run.mesh,
    results=(parallel.BY_TRIAL, parallel.REPLICATED),
    on_one_device=inputs(fetch.on_one_device) if fetch else None,
  )
  return Chunks(lengths, per_evaluation, program, fetch)


def compile_run(
  run: RunSpec, pools: Mapping[str, Pool], scored: Iterable[str] = ()
) -> CompiledRun:
  """Compiles a run for pools "train", "probe" and "valid", or their shapes.

  Split pools are not on a mesh yet: it pads them, and the programs' digest is
  to be the same for any number of devices.
  `scored` names pools that are scored after the run: their programs are
  compiled too, and `score_pool` finds them.
  """
  state = abstract_trials(run, pools["train"])
  started = time.perf_counter()
  compiled = compile_chunks(run, state, pools)
  variables = (state.params, state.model_state)
  score, *_ = (
    compilation.compile_once(run.score, variables, pools[name], mesh=run.mesh)
    for name in ("valid", *scored)
  )
  compile_seconds = time.perf_counter() - started
  one_kind = make_steps(run).cycle == 1 and run.sampler.is_scoring is None
  is_alone = jax.default_backend() == "cpu" and run.mesh is None
  if one_kind and is_alone:
    # A loop counts as one iteration, here a step; with vmap, of all trials.
    flops = compiled.program.cost_analysis()["flops"]
    flops = flops / (len(run.seeds) if run.trials_by == "vmap" else 1)
  else:
    flops = count_flops(run, pools)
  return CompiledRun(compiled, score, state, flops, compile_seconds)


def abstract_trials(run: RunSpec, pool: Pool) -> TrainState:
  """Returns the shapes of `init_trials`, of a pool of arrays or shapes."""
  init = step.make_init(run.model, run.tx, run.sampler, run.loss)
  state = jax.eval_shape(init, jax.random.key(0), pool)
  trials = len(run.seeds)

  def of_all(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    shape, weak = (trials, *x.shape), x.weak_type
    return jax.ShapeDtypeStruct(shape, x.dtype, weak_type=weak)

  return jax.tree.map(of_all, state)


def init_trials(run: RunSpec, pool: Pool) -> TrainState:
  """Returns all trials of a run at step 0: a state with a leading axis [S].

  It is made on one device, and is the same for any number of them.
  """
  init = step.make_init(run.model, run.tx, run.sampler, run.loss)
  # Neither jitted nor mapped: single operations are compiled once for all
  # samplers and numbers of trials. A program for each sampler takes longer to
  # compile than the initialisation itself.
  return parallel.stack([init(seed_key(seed), pool) for seed in run.seeds])
