"""python -m benchmarks.render [--image_sizes 28,64,128] [--data DIR] [...]

Drawings a second to images of a batch: by the renderer inside the step, as
uint8 images that were rendered ahead (what is left is to gather them), and by
OpenCV, Pillow and aggdraw on the host, as many processes as there are cores.

Then what rendering in the step adds to a training step of a network, beside
the same step on images rendered ahead. Limit: 1.15 for MobileNet at 64 pixels.
In turns, see `timing`; lengths as of real drawings (see `drawings`), or the
drawings of a folder.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alcurr import samplers
from alcurr.data.pool import make_gather
from alcurr.data.quickdraw import reader
from alcurr.data.render import make_render
from alcurr.models import MODELS, layers
from alcurr.types import Images, Pool, Strokes
from benchmarks import arguments, drawings, loops, pools, tables, timing
from benchmarks.rasterisers import RASTERISERS, Processes, installed

IN_STEP, AHEAD = "in the step", "ahead"
LIMIT = 1.15
# Batches that a contestant goes through, so that none stays in a cache.
BATCHES = 16
COLUMNS = (
  *("what", "model", "dtype", "pixels", "batch", "contestant"),
  *("images_per_second", "ms", "ms_10%", "ms_90%"),
  *("ratio", "ratio_10%", "ratio_90%", "limit", "note"),
)


def get_strokes(args: argparse.Namespace) -> Strokes:
  if args.data is None:
    return drawings.make_strokes(args.num_examples)
  dataset, _ = reader.load(args.data, max_per_class=100)
  return dataset.source


def count(source: Images | Strokes) -> int:
  if isinstance(source, Images):
    return len(source.image)
  return len(source.drawing_start) - 1


def make_rendering(
  source: Images | Strokes, gather: Callable, index: np.ndarray
) -> timing.Contestant:
  """Batches of a pool, one after the other in a loop of one program."""
  pool = pools.make_pool(source, count(source))
  index = jnp.asarray(index, jnp.int32)

  @jax.jit
  def batches(pool: Pool, index: jax.Array, num: jax.Array):
    def one(i, total):
      # All of it is asked for, so that none of it is left out.
      return total + gather(pool, index[i % BATCHES]).image.mean(0)

    shape = jax.eval_shape(gather, pool, index[0]).image.shape[1:]
    return jax.lax.fori_loop(0, num, one, jnp.zeros(shape))

  def steps(num: int) -> None:
    jax.block_until_ready(batches(pool, index, jnp.int32(num)))

  return functools.partial(timing.timed, steps)


def ahead(strokes: Strokes, size: int) -> Images:
  """Noise in place of the images: gathering them costs the same."""
  return pools.noise(count(strokes), size)


def measure_rendering(
  args: argparse.Namespace,
  strokes: Strokes,
  processes: Processes,
  size: int,
  batch_size: int,
) -> list[dict]:
  """Rows of images a second, a ratio above 1 where ours is faster."""
  rng = np.random.default_rng(0)
  index = rng.integers(count(strokes), size=(BATCHES, batch_size))
  contestants = {
    IN_STEP: make_rendering(
      strokes, make_gather(make_render(size=size)), index
    ),
    AHEAD: make_rendering(ahead(strokes, size), make_gather(), index),
  }

  def on_host(name: str, num: int) -> None:
    for i in range(num):
      processes.render(name, index[i % BATCHES], size)

  rows = {}
  for name in RASTERISERS:
    if installed(name):
      run = functools.partial(on_host, name)
      contestants[name] = functools.partial(timing.timed, run)
    else:
      rows[name] = {"note": "not installed"}
  for run in contestants.values():
    run(1)
  times = timing.interleave(contestants, args.rounds, args.seconds)
  for name, seconds in times.items():
    rows[name] = tables.times(seconds, times[IN_STEP])
    rows[name]["images_per_second"] = 1e3 * batch_size / rows[name]["ms"]
  shared = {"what": "images", "pixels": size, "batch": batch_size}
  return [{**shared, "contestant": name, **row} for name, row in rows.items()]


def measure_training(
  args: argparse.Namespace, strokes: Strokes, size: int, batch_size: int
) -> list[dict]:
  """Rows of a training step, rendering in it and ahead of it."""
  model = MODELS[args.model](
    image_shape=(size, size, 1), num_classes=pools.NUM_CLASSES, dtype=args.dtype
  )
  tx = optax.adam(1e-3)
  sampler = samplers.uniform(batch_size=batch_size)
  contestants = {}
  for name, source, gather in (
    (AHEAD, ahead(strokes, size), make_gather()),
    (IN_STEP, strokes, make_gather(make_render(size=size))),
  ):
    pool = pools.make_pool(source, count(source))
    contestants[name] = loops.fused(
      model, tx, sampler, gather, pool, chunk_steps=args.chunk_steps
    )
    contestants[name](1)
  times = timing.interleave(contestants, args.rounds, args.seconds)
  shared = {
    "what": "training",
    "model": args.model,
    "dtype": args.dtype,
    "pixels": size,
    "batch": batch_size,
  }
  rows = []
  for name, seconds in times.items():
    row = {**shared, "contestant": name}
    row |= tables.times(seconds, times[AHEAD])
    if (name, args.model, size) == (IN_STEP, "mobilenet", 64):
      row["limit"] = LIMIT
    rows.append(row)
  return rows


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.render",
    description="Drawings to images, and what that adds to a training step.",
  )
  add = parser.add_argument
  add(
    "--image_sizes",
    type=arguments.numbers,
    default=[28, 64, 128],
    metavar="N,...",
  )
  add(
    "--batch_sizes", type=arguments.numbers, default=[32, 512], metavar="N,..."
  )
  add("--model", choices=tuple(MODELS), default="mobilenet")
  add(
    "--train_sizes",
    type=arguments.numbers,
    default=[64],
    metavar="N,...",
    help="pixels at which the network trains",
  )
  add("--dtype", choices=layers.DTYPES, default="float32")
  add("--data", type=pathlib.Path, help="a folder of <class>.ndjson files")
  add("--num_examples", type=arguments.number, default=20_000)
  add("--chunk_steps", type=arguments.number, default=8)
  arguments.add_rounds(parser, rounds=10, seconds=1.0)
  arguments.add_out(parser, "render")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  strokes = get_strokes(args)
  processes = Processes(strokes)
  rows = []
  for batch_size in args.batch_sizes:
    for size in args.image_sizes:
      print(f"images, batch {batch_size}, {size} pixels", file=sys.stderr)
      rows += measure_rendering(args, strokes, processes, size, batch_size)
    for size in args.train_sizes:
      print(f"training, batch {batch_size}, {size} pixels", file=sys.stderr)
      rows += measure_training(args, strokes, size, batch_size)
    # After each, so that a run cut short leaves what it measured.
    table = tables.save(rows, args.out)
  processes.stop()
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
