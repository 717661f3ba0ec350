"""alcurr as `alcurr.main` runs it: many steps of all trials in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alcurr import bandits, samplers
from alcurr.bandits import gains, rewards
from alcurr.data.partitions import make_partition
from alcurr.data.pool import make_gather
from alcurr.models import MODELS
from alcurr.training import chunks, compilation, step
from alcurr.training.scoring import make_score
from alcurr.types import Images, Pool, Sampler
from benchmarks import doodle_job, jax_device
from benchmarks.timing import Program
from configs import default

# As in alcurr/experiments/config/defaults.py.
CHUNK_STEPS = 25
# Of a drawn batch that is scored, in Composer's and in ours.
KEEP = 0.5


def make_sampler(name: str, batch_size: int, num_steps: int) -> Sampler:
  if name == "uniform":
    return samplers.uniform(batch_size=batch_size)
  if name == "infobatch":
    return samplers.infobatch(batch_size=batch_size, num_steps=num_steps)
  if name == "selective_backprop":
    # From first to last: as `peers_composer`. The drawn batch is the rival's.
    return samplers.selective_backprop(
      batch_size=round(KEEP * batch_size),
      keep=KEEP,
      interrupt=2,
      start=0.0,
      end=1.0,
    )
  return samplers.active_bandit(
    bandits.softmax(learning_rate=doodle_job.POLICY_LEARNING_RATE),
    gain=gains.prediction_gain(),
    reward=rewards.rank(num_steps=num_steps),
    batch_size=batch_size,
    arms_per_batch=1,
    epsilon=doodle_job.EPSILON,
    warmup=doodle_job.WARMUP,
  )


def count_steps(name: str, num_batches: int) -> int:
  """Returns the steps that draw a number of batches, rounded up.

  Selective backprop draws one batch in a step, and trains on all of the next
  one in 1 / KEEP steps.
  """
  if name != "selective_backprop":
    return num_batches
  pairs, rest = divmod(num_batches, 2)
  return pairs * (1 + round(1 / KEEP)) + rest


def make_pool(image, label, partitions=None) -> Pool:
  difficulty = np.zeros(len(label), np.float32)
  pool = Pool(
    Images(image), label, {"difficulty": difficulty}, partitions or {}
  )
  return jax.tree.map(jnp.asarray, pool)


def make_program(
  *, path: str, model: str, batch_size: int, sampler: str, num_steps: int
) -> Program:
  # A cached program would falsify the compile time.
  jax.config.update("jax_enable_compilation_cache", False)
  data = doodle_job.load(path)
  partitions = {"difficulty": make_partition(data.arm, doodle_job.NUM_ARMS)}
  pool = make_pool(data.image, data.label, partitions)
  held_out = make_pool(data.held_out_image, data.held_out_label)
  gather = make_gather()
  network = MODELS[model](
    input_shape=data.image.shape[1:], num_classes=data.num_classes
  )
  tx = optax.adam(doodle_job.LEARNING_RATE)
  chosen = make_sampler(sampler, batch_size, num_steps)
  steps = step.make_steps(network, tx, chosen, gather)
  trials_by = default.get_config().trials_by
  options = compilation.compiler_options()
  chunk = jax.jit(
    chunks.make_train_chunk(steps, CHUNK_STEPS, trials_by),
    donate_argnums=0,
    compiler_options=options,
  )
  score = jax.jit(
    make_score(network, gather, doodle_job.EVAL_BATCH_SIZE, trials_by),
    compiler_options=options,
  )
  init = step.make_init(network, tx, chosen)
  keys = jnp.stack([jax.random.key(i) for i in range(doodle_job.TRIALS)])
  state = jax.vmap(init, (0, None))(keys, pool)
  params = sum(leaf[0].size for leaf in jax.tree.leaves(state.params))

  drawn = 0  # batches

  def run(num_batches: int) -> None:
    nonlocal state, drawn
    num_steps = -count_steps(sampler, drawn)
    drawn += num_batches
    num_steps += count_steps(sampler, drawn)
    metrics = []
    for first in range(0, num_steps, CHUNK_STEPS):
      length = jnp.int32(min(CHUNK_STEPS, num_steps - first))
      state, measured = chunk(state, length, pool, held_out)
      metrics.append(measured)
    # `alcurr.main` writes these to a file. This waits for the last chunk.
    jax.device_get(metrics)
    jax.block_until_ready(state)

  def accuracy() -> list[float]:
    scores = score((state.params, state.model_state), held_out)
    return (np.asarray(scores.rank) < 1).mean(1).tolist()

  facts = jax_device.make_facts(params) | {"trials_by": trials_by}
  return Program(run, facts, jax_device.peak(), accuracy)
