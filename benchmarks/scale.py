"""python -m benchmarks.scale [--sizes 10000,...] [--batch_size 32] [...]

What the size of the pool costs: choosing a batch, and choosing and rendering
it, from pools of 10^4 to 5 x 10^7 drawings in packed strokes, whose lengths
are those of real drawings (see `drawings`). Draws in a loop of one program,
the sizes in turns, see `timing`; a line's ratio is that to the smallest pool
in the same round.

Beside the times: the bytes of the pool's strokes and of all that the device
holds of it, those of the programs' temporaries, and whether what was rendered
is what the host takes out of the same strokes by itself.
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
from alcurr.data.quickdraw.strokes import take_strokes
from alcurr.data.render import make_render
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
    "arms_per_batch": None,  # the batch size
  },
  "curriculum": {"name": "curriculum"},
}
# Drawings that are rendered and compared, the last of the pool among them.
COMPARED = 64
COLUMNS = (
  *("sampler", "what", "examples", "points", "batch", "pixels"),
  *("us", "us_10%", "us_90%", "ratio", "ratio_10%", "ratio_90%"),
  *("strokes_gb", "pool_gb", "temp_mb", "right"),
)


def make_draws(
  sampler: Sampler, gather: Callable | None
) -> Callable[[Any, jax.Array, Pool], tuple[Any, jax.Array]]:
  """Draws one after the other: (state, num, pool) -> (state, a sum)."""

  def one(i, carry, pool):
    state, total = carry
    draw = sampler.sample(jax.random.fold_in(jax.random.key(0), i), state, pool)
    if gather is None:
      seen = draw.index.sum().astype(jnp.float32)
    else:
      seen = gather(pool, draw.index).image.sum()
    return sampler.update(state, draw, ()), total + seen

  def draws(state, num, pool):
    body = functools.partial(one, pool=pool)
    return jax.lax.fori_loop(0, num, body, (state, jnp.float32(0)))

  return draws


def is_right(pool: Pool, strokes: Strokes, gather: Callable) -> bool:
  """Whether drawings are rendered as when the host takes them out."""
  num = pool.label.shape[0]
  lots = np.random.default_rng(0).integers(num, size=COMPARED)
  lots[-1] = num - 1
  few = jax.tree.map(jnp.asarray, take_strokes(strokes, lots))
  small = Pool(
    few, pool.label[lots], {"difficulty": pool.scores["difficulty"][lots]}, {}
  )
  here = jax.jit(gather)(pool, jnp.asarray(lots, jnp.int32))
  there = jax.jit(gather)(small, jnp.arange(COMPARED))
  return bool(jnp.array_equal(here.image, there.image))


def nbytes(tree: Any) -> int:
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def measure(args: argparse.Namespace) -> list[dict]:
  """Rows of every sampler at every size, with gathering and without."""
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
      "right": is_right(pool, strokes, gather),
    }
    del strokes
    for name in args.samplers:
      for what, how in (("sample", None), ("sample + gather", gather)):
        sampler = loops.make_sampler(SAMPLERS[name], args.batch_size, 1000)
        run, temp = make_run(sampler, how, pool)
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
  """A contestant, and the megabytes of its program's temporaries."""
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
    description="Choosing and gathering a batch from pools of all sizes.",
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
