"""python -m benchmarks.render [--image_sizes 28,64,128] [--data DIR] [...]

Measures drawings a second to batches of images. Contestants are the renderer
inside the step; precomputed uint8 images, which are only gathered; and OpenCV,
Pillow and aggdraw on the CPU, with a process for each core.

The second table has the cost of rendering in a training step of a network, over
the same step on precomputed images. The limit is 1.15 for MobileNet at 64
pixels. Contestants take turns (see `timing`). Drawings are as long as real ones
(see `drawings`), or come from a folder.
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

IN_STEP, PRECOMPUTED = "in the step", "precomputed"
LIMIT = 1.15
# Batches that a contestant cycles through, so that none stays in a cache.
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
  """Returns a contestant that gathers batches in a loop of one program."""
  pool = pools.make_pool(source, count(source))
  index = jnp.asarray(index, jnp.int32)

  @jax.jit
  def batches(pool: Pool, index: jax.Array, num: jax.Array):
    def gather_one(i, total):
      # Uses every pixel, so that XLA computes all of them.
      return total + gather(pool, index[i % BATCHES]).inputs.mean(0)

    shape = jax.eval_shape(gather, pool, index[0]).image.shape[1:]
    return jax.lax.fori_loop(0, num, gather_one, jnp.zeros(shape))

  def steps(num: int) -> None:
    jax.block_until_ready(batches(pool, index, jnp.int32(num)))

  return functools.partial(timing.timed, steps)


def precomputed(strokes: Strokes, size: int) -> Images:
  """Returns noise instead of the images: gathering it costs the same."""
  return pools.noise(count(strokes), size)


def measure_rendering(
  args: argparse.Namespace,
  strokes: Strokes,
  processes: Processes,
  size: int,
  batch_size: int,
) -> list[dict]:
  """Returns rows of images a second; above 1, alcurr is faster."""
  rng = np.random.default_rng(0)
  index = rng.integers(count(strokes), size=(BATCHES, batch_size))
  contestants = {
    IN_STEP: make_rendering(
      strokes, make_gather(make_render(size=size)), index
    ),
    PRECOMPUTED: make_rendering(
      precomputed(strokes, size), make_gather(), index
    ),
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
  """Returns rows of a training step, rendering in it and in advance."""
  model = MODELS[args.model](
    input_shape=(size, size, 1), num_classes=pools.NUM_CLASSES, dtype=args.dtype
  )
  tx = optax.adam(1e-3)
  sampler = samplers.uniform(batch_size=batch_size)
  contestants = {}
  for name, source, gather in (
    (PRECOMPUTED, precomputed(strokes, size), make_gather()),
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
    row |= tables.times(seconds, times[PRECOMPUTED])
    if (name, args.model, size) == (IN_STEP, "mobilenet", 64):
      row["limit"] = LIMIT
    rows.append(row)
  return rows


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.render",
    description="Rendering drawings, and its cost in a training step.",
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
    help="image sizes in pixels for training",
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
    # Saved each time, so that an interrupted run has its results.
    table = tables.save(rows, args.out)
  processes.stop()
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
