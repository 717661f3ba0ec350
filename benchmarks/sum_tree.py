"""python -m benchmarks.sum_tree [--sizes 10000,...] [--batch_size 32] [...]

Measures what a draw in proportion to N weights costs, from pools of 10^4 to
5 x 10^7 examples. The contestants draw a batch with replacement:

  uniform   without any weights
  draw      by a sum tree, whose weights stay
  step      the same, and new weights for the batch, as a sampler needs
  cumsum    by a binary search in the cumulative sums, which are computed for
            each draw, as weights change at each step

They run in a loop of one program each and take turns (see `timing`). The ratio
is to `uniform` at the same size, in the same round.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.samplers import _sum_tree
from benchmarks import arguments, tables, timing

SIZES = [10_000, 1_000_000, 50_000_000]
COLUMNS = (
  *("what", "examples", "batch", "us", "us_10%", "us_90%"),
  *("ratio", "ratio_10%", "ratio_90%", "state_mb", "temp_mb"),
)
# (key, state, N, B) -> (index [B], state)
Draw = Callable[[jax.Array, Any, int, int], tuple[jax.Array, Any]]


def _uniform(key, state, num_examples, size):
  return jax.random.randint(key, (size,), 0, num_examples, jnp.int32), state


def _draw(key, state, num_examples, size):
  index, _ = _sum_tree.draw(key, state, num_examples, size)
  return index, state


def _step(key, state, num_examples, size):
  key_draw, key_weight = jax.random.split(key)
  index, _ = _sum_tree.draw(key_draw, state, num_examples, size)
  weight = jax.random.uniform(key_weight, (size,))
  return index, _sum_tree.put(state, index, weight)


def _cumsum(key, state, num_examples, size):
  key_draw, key_weight = jax.random.split(key)
  summed = jnp.cumsum(state)
  place = jax.random.uniform(key_draw, (size,)) * summed[-1]
  index = jnp.searchsorted(summed, place, side="right").astype(jnp.int32)
  weight = jax.random.uniform(key_weight, (size,))
  return index, state.at[index].set(weight, mode="drop")


DRAWS: dict[str, Draw] = {
  "uniform": _uniform,
  "draw": _draw,
  "step": _step,
  "cumsum": _cumsum,
}


def make_run(
  draw: Draw, state: Any, num_examples: int, size: int
) -> tuple[timing.Contestant, float]:
  """Returns a contestant, and the temporaries of its program in megabytes."""

  def one(i, carry):
    state, total = carry
    key = jax.random.fold_in(jax.random.key(0), i)
    index, state = draw(key, state, num_examples, size)
    return state, total + index.sum(dtype=jnp.int32)

  def many(carry, num):
    return jax.lax.fori_loop(0, num, one, carry)

  carry = state, jnp.int32(0)
  program = jax.jit(many, donate_argnums=0).lower(carry, jnp.int32(0)).compile()
  # Donated, as a run's state is: it is changed in place.
  holder = [jax.tree.map(jnp.copy, carry)]

  def steps(num: int) -> None:
    holder[0] = jax.block_until_ready(program(holder[0], jnp.int32(num)))

  temp = program.memory_analysis().temp_size_in_bytes / 1e6
  return functools.partial(timing.timed, steps), temp


def measure(args: argparse.Namespace) -> list[dict]:
  """Returns rows of every contestant and size."""
  rows: dict[tuple, dict] = {}
  contestants: dict[tuple, timing.Contestant] = {}
  for num in args.sizes:
    print(f"{num} examples", file=sys.stderr)
    weight = np.random.default_rng(0).exponential(size=num).astype(np.float32)
    tree = jax.jit(_sum_tree.build)(weight)
    states = {"uniform": (), "cumsum": jnp.asarray(weight)}
    for what, draw in DRAWS.items():
      state = states.get(what, tree)
      run, temp = make_run(draw, state, num, args.batch_size)
      run(1)
      contestants[what, num] = run
      rows[what, num] = {
        "what": what,
        "examples": num,
        "batch": args.batch_size,
        "state_mb": sum(x.nbytes for x in jax.tree.leaves(state)) / 1e6,
        "temp_mb": temp,
      }
  times = timing.interleave(contestants, args.rounds, args.seconds)
  for (what, num), seconds in times.items():
    rows[what, num] |= tables.times(seconds, times["uniform", num], "us")
  return list(rows.values())


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.sum_tree",
    description="Draws in proportion to the weights of pools of all sizes.",
  )
  add = parser.add_argument
  add("--sizes", type=arguments.numbers, default=SIZES, metavar="N,...")
  add("--batch_size", type=arguments.number, default=32)
  arguments.add_rounds(parser, rounds=10, seconds=0.1)
  arguments.add_out(parser, "sum_tree")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  table = tables.save(measure(args), args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
