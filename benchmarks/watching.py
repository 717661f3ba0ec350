"""python -m benchmarks.watching [--model NAME] [--batch_size 32] [...]

Measures the cost of watching a run. The metrics of a watched step have the
violated invariants and the drawn examples, which the CPU counts after each
chunk. The unwatched step has neither, so that XLA drops the checks. Everything
runs in one process, each contestant as a loop of one program, in turns (see
`timing`). The ratio is to the unwatched step within a round. FLOPs are those of
the compiled program.

The limit is 1.02 at the default settings.
"""

import argparse
import sys
import types
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from alcurr.data.pool import make_gather
from alcurr.models import MODELS, layers
from alcurr.training import chunks, compilation, exposure, step
from benchmarks import arguments, loops, pools, tables, timing
from benchmarks.step import SAMPLERS, get_sampler

LIMIT = 1.02
UNWATCHED = "unwatched"
COLUMNS = (
  *("model", "pixels", "batch", "sampler", "contestant"),
  *("ms", "ms_10%", "ms_90%", "ratio", "ratio_10%", "ratio_90%"),
  *("limit", "flops_ratio"),
)


def unwatched(steps: step.Steps) -> step.Steps:
  """Returns the steps without the metrics that watching needs."""

  def without(part):
    def train_step(*args):
      state, metrics = part(*args)
      return state, metrics._replace(index=jnp.int32(0), violation=jnp.int32(0))

    return train_step

  return steps._replace(
    measured=without(steps.measured), plain=without(steps.plain)
  )


class Setting:
  """A model, a pool and a sampler, one trial."""

  def __init__(self, args: argparse.Namespace, sampler: str):
    size = args.image_size
    self.model = MODELS[args.model](
      input_shape=(size, size, 1),
      num_classes=pools.NUM_CLASSES,
      dtype=args.dtype,
    )
    self.tx = optax.adam(1e-3)
    images = pools.noise(args.num_examples, size)
    self.pool = pools.make_pool(images, args.num_examples)
    self.sampler = get_sampler(sampler, args.batch_size)
    self.most = args.chunk_steps
    self.gather = make_gather()

  def _steps(self, on_nonfinite: str = "stop") -> step.Steps:
    return step.make_steps(
      self.model, self.tx, self.sampler, self.gather, on_nonfinite
    )

  def contestants(self) -> dict[str, timing.Contestant]:
    """Returns all contestants, the unwatched step first."""
    return {
      UNWATCHED: self._contestant(
        unwatched(self._steps()), "stop", counted=False
      ),
      **{
        name: self._contestant(self._steps(name), name)
        for name in step.ON_NONFINITE
      },
    }

  def _contestant(
    self, steps: step.Steps, on_nonfinite: str, counted: bool = True
  ) -> timing.Contestant:
    init = step.make_init(self.model, self.tx, self.sampler)
    state = jax.vmap(init, (0, None))(loops.keys(1), self.pool)
    most = -(-self.most // steps.cycle) * steps.cycle
    chunk = chunks.make_train_chunk(steps, most, "map")
    program = compilation.compile_once(
      chunk, state, jnp.int32(0), self.pool, self.pool, donate=(0,)
    )
    seen = exposure.init_exposure(1, self.pool.label.shape[0])
    # What counting reads of a RunSpec.
    watched = types.SimpleNamespace(
      sampler=self.sampler, on_nonfinite=on_nonfinite, name="benchmark"
    )

    def read(metrics: step.Metrics, length: int) -> None:
      nonlocal seen
      metrics = jax.device_get(metrics)
      if counted:
        metrics = jax.tree.map(lambda x: x[:, :length], metrics)
        seen = exposure.add(seen, metrics, 0, watched)

    def run(num: int) -> None:
      """Reads a chunk while the device runs the next, as in a run."""
      nonlocal state
      last = None
      while num > 0:
        length = min(num, most)
        state, metrics = program(state, jnp.int32(length), self.pool, self.pool)
        if last:
          read(*last)
        last = metrics, length
        num -= length
      read(*last)
      jax.block_until_ready(state)

    def contestant(num: int) -> float:
      whole = -(-num // most) * most
      return timing.timed(run, whole) * num / whole

    return contestant

  def flops(self) -> dict[str, float]:
    """Returns the FLOPs of a step over those of an unwatched step."""
    init = step.make_init(self.model, self.tx, self.sampler)
    state = jax.eval_shape(init, jax.random.key(0), self.pool)

    def count(steps: step.Steps) -> float:
      return compilation.step_flops(steps, state, self.pool, self.pool)

    base = count(unwatched(self._steps()))
    return {UNWATCHED: 1.0} | {
      name: count(self._steps(name)) / base for name in step.ON_NONFINITE
    }


def measure(args: argparse.Namespace, sampler: str) -> list[dict]:
  """Returns a row for each contestant."""
  setting = Setting(args, sampler)
  contestants = setting.contestants()
  for name, run in contestants.items():
    print(f"{sampler}, {name}: first steps", file=sys.stderr)
    run(1)
  times = timing.interleave(contestants, args.rounds, args.seconds)
  flops = setting.flops()
  shared = {
    "model": args.model,
    "pixels": args.image_size,
    "batch": args.batch_size,
    "sampler": sampler,
  }
  return [
    {
      **shared,
      "contestant": name,
      **tables.times(seconds, times[UNWATCHED]),
      "limit": LIMIT if name == "stop" else None,
      "flops_ratio": flops[name],
    }
    for name, seconds in times.items()
  ]


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.watching",
    description="The cost of checking invariants and counting examples.",
  )
  add = parser.add_argument
  add("--model", choices=tuple(MODELS), default="cnn")
  add("--image_size", type=arguments.number, default=28)
  add("--dtype", choices=layers.DTYPES, default="float32")
  add("--batch_size", type=arguments.number, default=32)
  add(
    "--samplers",
    type=arguments.names(tuple(SAMPLERS), between=";"),
    default=["uniform", "prediction_gain", "prediction_gain, own arms"],
    metavar="NAME;...",
  )
  add("--num_examples", type=arguments.number, default=20_000)
  add("--chunk_steps", type=arguments.number, default=25)
  arguments.add_rounds(parser, rounds=20, seconds=0.5)
  arguments.add_out(parser, "watching")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  rows = []
  for sampler in args.samplers:
    rows += measure(args, sampler)
    # Saved each time, so that an interrupted run has its results.
    table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
