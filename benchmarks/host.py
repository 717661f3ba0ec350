"""python -m benchmarks.host [--model NAME] [--num_examples 1000000] [...]

Measures the cost of a pool on the host: the fused step with the drawings on the
device, in host memory, and in memory-mapped files, in turns (see `timing`). The
ratio is to the pool on the device, within a round. Strokes have the lengths of
real ones (see `drawings`). Samplers without a signal prefetch their examples,
as in a run. For comparison they also fetch in the middle of each step.

The files have just been written, so they are in the system's cache. A cold disk
adds its own time: on Linux, `--cold` drops the files from the cache before each
turn.
"""

import argparse
import mmap
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax

from alcurr.data.host_store import make_fetch, make_lookup
from alcurr.data.pool import make_gather
from alcurr.data.render import make_render
from alcurr.models import MODELS
from alcurr.types import Stored, Strokes
from benchmarks import arguments, drawings, loops, pools, tables, timing
from benchmarks.step import SAMPLERS, get_sampler

DEVICE = "device"
COLUMNS = (
  *("model", "pixels", "batch", "examples", "sampler", "pool"),
  *("ms", "ms_10%", "ms_90%", "ratio", "ratio_10%", "ratio_90%"),
)


def mapped(strokes: Strokes, folder: pathlib.Path) -> Strokes:
  """Returns the same strokes in memory-mapped files."""
  arrays = {}
  for name, array in strokes._asdict().items():
    np.save(folder / f"{name}.npy", array)
    arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
  return Strokes(**arrays)


def after_dropping(
  store: Strokes, contestant: timing.Contestant
) -> timing.Contestant:
  """Returns a contestant whose store is read from the disk in each turn."""

  def cold(num: int) -> float:
    for array in store:
      # The system does not drop pages that a process has mapped.
      array.base.madvise(mmap.MADV_DONTNEED)
      with open(array.filename, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return contestant(num)

  return cold


def measure(
  args: argparse.Namespace, batch_size: int, folder: pathlib.Path
) -> list[dict]:
  """Returns a row for each sampler and each place of the pool."""
  num, size = args.num_examples, args.image_size
  model = MODELS[args.model](
    input_shape=(size, size, 1), num_classes=pools.NUM_CLASSES
  )
  render = make_render(size=size)
  strokes = drawings.make_strokes(num)
  device = pools.make_pool(strokes, num)
  host = device._replace(source=Stored(jnp.arange(num, dtype=jnp.int32)))
  stores = {"host": strokes, "host, mapped": mapped(strokes, folder)}
  places = {DEVICE: (device, None, None)}
  for place, store in stores.items():
    lookup = make_lookup(store)
    fetch = make_fetch(lookup)
    places[place] = (host, fetch, lookup)
    places[f"{place}, in the step"] = (host, fetch, None)
  rows = []
  for name in args.samplers:
    contestants = {}
    for place, (pool, fetch, lookup) in places.items():
      has_signal = get_sampler(name, batch_size).signal is not None
      if fetch and not lookup and has_signal:
        continue  # it never prefetches: the same as with a lookup
      print(f"{batch_size}, {name}, {place}: first steps", file=sys.stderr)
      contestants[place] = loops.fused(
        model,
        optax.adam(1e-3),
        get_sampler(name, batch_size),
        make_gather(render, fetch),
        pool,
        chunk_steps=args.chunk_steps,
        lookup=lookup,
      )
      contestants[place](1)
      if args.cold and "mapped" in place:
        contestants[place] = after_dropping(
          stores["host, mapped"], contestants[place]
        )
    times = timing.interleave(contestants, args.rounds, args.seconds)
    rows += [
      {
        "model": args.model,
        "pixels": size,
        "batch": batch_size,
        "examples": num,
        "sampler": name,
        "pool": place,
        **tables.times(seconds, times[DEVICE]),
      }
      for place, seconds in times.items()
    ]
  return rows


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.host",
    description="The cost of a pool on the host for a training step.",
  )
  add = parser.add_argument
  add("--model", choices=tuple(MODELS), default="cnn")
  add("--image_size", type=arguments.number, default=28)
  add("--batch_sizes", type=arguments.numbers, default=[32, 512])
  add(
    "--samplers",
    type=arguments.names(tuple(SAMPLERS), between=";"),
    default=["uniform", "prediction_gain"],
    metavar="NAME;...",
  )
  add("--num_examples", type=arguments.number, default=1_000_000)
  add("--chunk_steps", type=arguments.number, default=25)
  add("--cold", action="store_true", help="drop mapped files from the cache")
  arguments.add_rounds(parser, rounds=20, seconds=0.2)
  arguments.add_out(parser, "host")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  rows = []
  for batch_size in args.batch_sizes:
    with tempfile.TemporaryDirectory() as folder:
      rows += measure(args, batch_size, pathlib.Path(folder))
    # Saved each time, so that an interrupted run has its results.
    table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
