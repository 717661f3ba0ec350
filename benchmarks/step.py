"""python -m benchmarks.step [--model NAME] [--batch_sizes 32,512] [...]

Measures the cost of sampling: the fused step of `alcurr.training.step` with
every sampler and gain. It is compared with the *floor*: the same training step
on ready batches, float images on the device, without sampler or gather.
Everything runs in one process, each contestant as a loop of one program, in
turns (see `timing`). The ratio is to the floor within a round. FLOPs are those
of the compiled program.

The rows of `trials` have several trials in one program, by vmap and by map: the
time of a step and trial over that of a single trial. `--samplers=` and
`--trials 1` leave out the rows of either.

Limits: uniform sampling 1.02 of the floor at batch size 512, and 1.05 at 32;
prediction gain 1.34; gradient gain 1.02.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alcurr.data.pool import make_gather
from alcurr.models import MODELS, layers
from alcurr.training import chunks, compilation, step
from alcurr.types import Batch, Model, Pool, Sampler
from benchmarks import arguments, loops, pools, tables, timing

FLOOR = "floor"
LIMITS = {
  (32, "uniform"): 1.05,
  (512, "uniform"): 1.02,
  **{(batch, "prediction_gain"): 1.34 for batch in (32, 512)},
  **{(batch, "gradient_prediction_gain"): 1.02 for batch in (32, 512)},
}
_BANDIT = {
  "name": "active_bandit",
  "bandit": "softmax",
  "reward": "rank",
  "arms_per_batch": 1,
}
SAMPLERS = {
  "uniform": {"name": "uniform"},
  "uniform, replacement": {"name": "uniform", "replacement": True},
  "curriculum": {"name": "curriculum"},
  "bucketed_curriculum": {"name": "bucketed_curriculum"},
  "fixed_policy": {
    "name": "fixed_policy",
    "policy": "uniform",
    "arms_per_batch": 1,
  },
  "class_reweighting, every 16": {"name": "class_reweighting", "interval": 16},
  "random_gain": _BANDIT | {"gain": "random_gain"},
  "gradient_prediction_gain": _BANDIT | {"gain": "gradient_prediction_gain"},
  "first_order_gain": _BANDIT | {"gain": "first_order_gain"},
  "prediction_gain": _BANDIT | {"gain": "prediction_gain"},
  "prediction_gain, own arms": _BANDIT
  | {"gain": "prediction_gain", "arms_per_batch": None},
  "self_prediction_gain": _BANDIT | {"gain": "self_prediction_gain"},
  "mean_prediction_gain": _BANDIT | {"gain": "mean_prediction_gain"},
  "target_prediction_gain": _BANDIT | {"gain": "target_prediction_gain"},
  "influence, every 8": _BANDIT
  | {
    "gain": "influence(prepare_interval=4)",
    "interval": 8,
    "arms_per_batch": None,
  },
  "loss_proportional": {"name": "loss_proportional"},
  "selective_backprop": {"name": "selective_backprop"},
}
# Steps of a run, for samplers that store its history.
RUN_STEPS = 10_000
# Batches of the floor, so that none stays in a cache.
NUM_READY = 8
COLUMNS = (
  *("model", "pixels", "dtype", "batch", "trials", "trials_by", "contestant"),
  *("ms", "ms_10%", "ms_90%", "ratio", "ratio_10%", "ratio_90%"),
  *("limit", "flops_ratio"),
)


def get_sampler(name: str, batch_size: int) -> Sampler:
  return loops.make_sampler(SAMPLERS[name], batch_size, RUN_STEPS)


def make_floor(model: Model, tx: optax.GradientTransformation) -> Callable:
  """Returns training: (state [S], num_steps, batches) -> (state, loss [S])."""

  def train_step(i, carry, batches: Batch):
    (params, model_state, opt_state, key), _ = carry
    image, label = jax.tree.map(lambda x: x[i % NUM_READY], batches)
    key_model = jax.random.fold_in(key, i)

    def loss_fn(params):
      logits, new_state = model.apply(
        key_model, params, model_state, image, train=True
      )
      loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
      return loss.mean(), new_state

    (loss, model_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      params
    )
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    return (params, model_state, opt_state, key), loss

  def chunk(state, num_steps, batches: Batch):
    body = functools.partial(train_step, batches=batches)
    return jax.lax.fori_loop(0, num_steps, body, (state, jnp.float32(0)))

  return chunks.over_trials(chunk, "map")


class Setting:
  """A model, a batch size, and a pool to train on."""

  def __init__(self, args: argparse.Namespace, batch_size: int):
    size = args.image_size
    self.batch_size = batch_size
    self.chunk_steps = args.chunk_steps
    self.model = MODELS[args.model](
      input_shape=(size, size, 1),
      num_classes=pools.NUM_CLASSES,
      dtype=args.dtype,
    )
    self.tx = optax.adam(1e-3)
    self.gather = make_gather()
    images = pools.noise(args.num_examples, size)
    self.pool: Pool = pools.make_pool(images, args.num_examples)
    index = np.arange(NUM_READY * batch_size) % args.num_examples
    batches = self.gather(self.pool, index)
    self.batches = jax.tree.map(
      lambda x: x.reshape(NUM_READY, batch_size, *x.shape[1:]), batches
    )

  def floor(self) -> timing.Contestant:
    """Returns a contestant of training on ready batches, with one trial."""

    def init(key):
      params, model_state = self.model.init(key)
      return params, model_state, self.tx.init(params), key

    state = jax.jit(jax.vmap(init))(loops.keys(1))
    chunk = make_floor(self.model, self.tx)
    return loops.repeat(chunk, state, (self.batches,), self.chunk_steps)

  def fused(
    self, name: str, trials: int = 1, trials_by: str = "map"
  ) -> timing.Contestant:
    """Returns a contestant of the fused step of a sampler."""
    return loops.fused(
      self.model,
      self.tx,
      get_sampler(name, self.batch_size),
      self.gather,
      self.pool,
      chunk_steps=self.chunk_steps,
      trials=trials,
      trials_by=trials_by,
    )

  def flops(self, name: str) -> float:
    """Returns the FLOPs of a step of one trial."""
    sampler = get_sampler(name, self.batch_size)
    steps = step.make_steps(self.model, self.tx, sampler, self.gather)
    init = step.make_init(self.model, self.tx, sampler)
    state = jax.eval_shape(init, jax.random.key(0), self.pool)
    return compilation.step_flops(steps, state, self.pool, self.pool)


def compare(
  contestants: dict[str, timing.Contestant],
  args: argparse.Namespace,
  shared: dict[str, Any],
  first: str,
) -> dict[str, dict[str, Any]]:
  """Returns rows of times, with ratios to the contestant `first`."""
  rows = {}
  for name, run in contestants.items():
    print(f"{name}: first steps", file=sys.stderr)
    run(1)
    rows[name] = {**shared, "contestant": name}
  times = timing.interleave(contestants, args.rounds, args.seconds)
  for name, seconds in times.items():
    rows[name] |= tables.times(seconds, times[first])
  return rows


def measure_samplers(args: argparse.Namespace, batch_size: int) -> list[dict]:
  """Returns rows of the floor and every sampler, with one trial."""
  setting = Setting(args, batch_size)
  shared = _facts(args) | {"batch": batch_size, "trials": 1, "trials_by": "map"}
  print(f"compiling, batch {batch_size}", file=sys.stderr)
  makers = {
    name: functools.partial(setting.fused, name) for name in args.samplers
  }
  contestants = loops.make_all({FLOOR: setting.floor} | makers)
  rows = compare(contestants, args, shared, FLOOR)
  for name in args.samplers:
    rows[name]["limit"] = LIMITS.get((batch_size, name))
  if args.flops:
    base = setting.flops("uniform")
    for name in args.samplers:
      rows[name]["flops_ratio"] = setting.flops(name) / base
  return list(rows.values())


def measure_trials(args: argparse.Namespace, batch_size: int) -> list[dict]:
  """Returns rows of uniform sampling with several trials in one program."""
  setting = Setting(args, batch_size)
  makers, trials, layouts = {}, {}, {}
  for count in args.trials:
    for trials_by in ("vmap", "map")[: 1 if count == 1 else 2]:
      name = f"{count} by {trials_by}"
      makers[name] = functools.partial(
        setting.fused, "uniform", count, trials_by
      )
      trials[name], layouts[name] = count, trials_by
  contestants = {
    name: lambda n, run=run, count=trials[name]: run(n) / count
    for name, run in loops.make_all(makers).items()
  }
  rows = compare(
    contestants,
    args,
    _facts(args) | {"batch": batch_size},
    next(iter(contestants)),
  )
  for name, row in rows.items():
    row |= {
      "contestant": "uniform, a step and trial",
      "trials": trials[name],
      "trials_by": layouts[name],
    }
  return list(rows.values())


def _facts(args: argparse.Namespace) -> dict[str, Any]:
  return {"model": args.model, "pixels": args.image_size, "dtype": args.dtype}


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.step",
    description="The cost of choosing examples, over training on them.",
  )
  add = parser.add_argument
  known = arguments.names(tuple(SAMPLERS), between=";")
  add("--model", choices=tuple(MODELS), default="cnn")
  add("--image_size", type=arguments.number, default=28)
  add("--dtype", choices=layers.DTYPES, default="float32")
  add(
    "--batch_sizes", type=arguments.numbers, default=[32, 512], metavar="N,..."
  )
  add(
    "--samplers",
    type=lambda text: known(text) if text else [],
    default=list(SAMPLERS),
    metavar="NAME;...",
  )
  add("--trials", type=arguments.numbers, default=[1, 3, 8], metavar="N,...")
  add(
    "--flops",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="whether to count FLOPs, which compiles every step again",
  )
  add("--num_examples", type=arguments.number, default=20_000)
  add("--chunk_steps", type=arguments.number, default=25)
  arguments.add_rounds(parser, rounds=20, seconds=0.5)
  arguments.add_out(parser, "step")
  args = parser.parse_args(argv)
  if not args.samplers and args.trials == [1]:
    parser.error("there is nothing to measure")
  return args


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  measures = [measure_samplers] if args.samplers else []
  measures += [measure_trials] if args.trials != [1] else []
  rows = []
  for batch_size in args.batch_sizes:
    for measure in measures:
      rows += measure(args, batch_size)
      # Saved each time, so that an interrupted run has its results.
      table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
