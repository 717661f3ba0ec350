"""python -m benchmarks.watching [--model NAME] [--batch_size 32] [...]

What it costs to watch a run: the fused step whose metrics carry what broke a
law and which examples were drawn, with the host's count of them after each
chunk, against the same step whose metrics do not, so that XLA leaves the laws
out. All in one process, as loops of one program, in turns, see `timing`; the
ratio is that to the step unwatched within the rounds, and the FLOPs are the
compiled program's.

Limit that alcurr holds itself to: 1.02, at default settings.
"""

import argparse
import sys
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


def blind(steps: step.Steps) -> step.Steps:
  """The steps without what watching asks of them."""

  def without(part):
    def train_step(*args):
      state, metrics = part(*args)
      return state, metrics._replace(index=jnp.int32(0), wrong=jnp.int32(0))

    return train_step

  return steps._replace(
    measured=without(steps.measured), plain=without(steps.plain)
  )


class Setting:
  """A model, a pool and a sampler, one trial."""

  def __init__(self, args: argparse.Namespace, sampler: str):
    size = args.image_size
    self.model = MODELS[args.model](
      image_shape=(size, size, 1),
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
    """Unwatched first."""
    return {
      UNWATCHED: self._contestant(blind(self._steps()), "stop", counted=False),
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
    so_far = exposure.init_exposure(1, self.pool.label.shape[0])

    def read(metrics: step.Metrics, length: int) -> None:
      nonlocal so_far
      metrics = jax.device_get(metrics)
      if counted:
        metrics = jax.tree.map(lambda x: x[:, :length], metrics)
        so_far = exposure.add(so_far, metrics, 0, on_nonfinite, "benchmark")

    def run(num: int) -> None:
      """The host reads a chunk while the device is at the next, as in runs."""
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
    """Of a step, over one that is not watched."""
    init = step.make_init(self.model, self.tx, self.sampler)
    state = jax.eval_shape(init, jax.random.key(0), self.pool)

    def count(steps: step.Steps) -> float:
      return compilation.step_flops(steps, state, self.pool, self.pool)

    base = count(blind(self._steps()))
    return {UNWATCHED: 1.0} | {
      name: count(self._steps(name)) / base for name in step.ON_NONFINITE
    }


def measure(args: argparse.Namespace, sampler: str) -> list[dict]:
  """A row for each contestant."""
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
    description="What watching the laws of a run costs.",
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
    # After each, so that a run cut short leaves what it measured.
    table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
