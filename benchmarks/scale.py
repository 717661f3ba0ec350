"""python -m benchmarks.scale [--sizes 10000,...] [--batch_size 32] [...]

Measures the effect of the pool size on sampling a batch, with and without
rendering it. Pools have 10^4 to 5 x 10^7 drawings as packed strokes, as long as
real drawings (see `drawings`). Draws run in a loop of one program, and sizes
take turns (see `timing`). The ratio is to the smallest pool in the same round.

The table also has the bytes of the strokes, of the whole pool on the device,
and of the programs' temporaries. `correct` says whether drawings were rendered
the same as when taken from the strokes on the CPU.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data.pool import make_gather
from alcurr.data.render import make_render
from alcurr.data.strokes import take_strokes
from alcurr.types import Pool, Sampler, Strokes
from benchmarks import arguments, drawings, loops, pools, tables, timing

SIZES = [10_000, 100_000, 1_000_000, 10_000_000, 50_000_000]
SAMPLERS = {
  "uniform": {"name": "uniform"},
  "active_bandit": {
    "name": "active_bandit",
    "bandit": "softmax",
    "reward": "rank",
    "gain": "random_gain",
    "arms_per_batch": None,  # an arm for every example
  },
  "curriculum": {"name": "curriculum"},
}
# Drawings that are rendered and compared, including the last of the pool.
NUM_COMPARED = 64
COLUMNS = (
  *("sampler", "what", "examples", "points", "batch", "pixels"),
  *("us", "us_10%", "us_90%", "ratio", "ratio_10%", "ratio_90%"),
  *("strokes_gb", "pool_gb", "temp_mb", "correct"),
)


def make_draws(
  sampler: Sampler, gather: Callable | None
) -> Callable[[Any, jax.Array, Pool], tuple[Any, jax.Array]]:
  """Returns repeated draws: (state, num, pool) -> (state, a sum)."""

  def draw_one(i, carry, pool):
    state, total = carry
    draw = sampler.sample(jax.random.fold_in(jax.random.key(0), i), state, pool)
    if gather is None:
      value = draw.index.sum().astype(jnp.float32)
    else:
      value = gather(pool, draw.index).inputs.sum()
    return sampler.update(state, draw, ()), total + value

  def draws(state, num, pool):
    body = functools.partial(draw_one, pool=pool)
    return jax.lax.fori_loop(0, num, body, (state, jnp.float32(0)))

  return draws


def is_correct(pool: Pool, strokes: Strokes, gather: Callable) -> bool:
  """Returns whether drawings render the same as when taken out on the CPU."""
  num = pool.label.shape[0]
  index = np.random.default_rng(0).integers(num, size=NUM_COMPARED)
  index[-1] = num - 1
  strokes = jax.tree.map(jnp.asarray, take_strokes(strokes, index))
  small = Pool(
    strokes,
    pool.label[index],
    {"difficulty": pool.scores["difficulty"][index]},
    {},
  )
  from_pool = jax.jit(gather)(pool, jnp.asarray(index, jnp.int32))
  from_small = jax.jit(gather)(small, jnp.arange(NUM_COMPARED))
  return bool(jnp.array_equal(from_pool.inputs, from_small.inputs))


def nbytes(tree: Any) -> int:
  """Returns the bytes of all arrays of a tree."""
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def measure(args: argparse.Namespace) -> list[dict]:
  """Returns rows of every sampler and size, with and without gathering."""
  gather = make_gather(make_render(size=args.image_size))
  rows: dict[tuple, dict] = {}
  contestants: dict[tuple, timing.Contestant] = {}
  for num in args.sizes:
    print(f"{num} drawings", file=sys.stderr)
    strokes = drawings.make_strokes(num)
    pool = pools.make_pool(strokes, num)
    facts = {
      "examples": num,
      "points": len(strokes.points),
      "batch": args.batch_size,
      "pixels": args.image_size,
      "strokes_gb": nbytes(pool.source) / 1e9,
      "pool_gb": nbytes(pool) / 1e9,
      "correct": is_correct(pool, strokes, gather),
    }
    del strokes
    for name in args.samplers:
      for what, gather_fn in (("sample", None), ("sample + gather", gather)):
        sampler = loops.make_sampler(SAMPLERS[name], args.batch_size, 1000)
        run, temp = make_run(sampler, gather_fn, pool)
        run(1)
        key = (name, what, num)
        contestants[key] = run
        rows[key] = {"sampler": name, "what": what, **facts, "temp_mb": temp}
  times = timing.interleave(contestants, args.rounds, args.seconds)
  for key, seconds in times.items():
    smallest = times[(*key[:2], args.sizes[0])]
    rows[key] |= tables.times(seconds, smallest, "us")
  return [rows[key] for key in sorted(rows)]


def make_run(
  sampler: Sampler, gather: Callable | None, pool: Pool
) -> tuple[timing.Contestant, float]:
  """Returns a contestant, and the temporaries of its program in megabytes."""
  state = sampler.init(jax.random.key(0), pool)
  program = (
    jax.jit(make_draws(sampler, gather))
    .lower(state, jnp.int32(0), pool)
    .compile()
  )

  def steps(num: int) -> None:
    jax.block_until_ready(program(state, jnp.int32(num), pool))

  temp = program.memory_analysis().temp_size_in_bytes / 1e6
  return functools.partial(timing.timed, steps), temp


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.scale",
    description="Sampling and gathering a batch from pools of all sizes.",
  )
  add = parser.add_argument
  add("--sizes", type=arguments.numbers, default=SIZES, metavar="N,...")
  add(
    "--samplers",
    type=arguments.names(tuple(SAMPLERS)),
    default=list(SAMPLERS),
    metavar="NAME,...",
  )
  add("--batch_size", type=arguments.number, default=32)
  add("--image_size", type=arguments.number, default=28)
  arguments.add_rounds(parser, rounds=10, seconds=0.1)
  arguments.add_out(parser, "scale")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  table = tables.save(measure(args), args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
