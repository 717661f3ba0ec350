"""python -m benchmarks.models [--models NAME,...] [--batch_sizes 32,...] [...]

Images a second that each network trains on, here and in PyTorch: whole
training steps (forward in train mode, cross entropy, backward, SGD with
momentum) on the same batch of noise, each framework as it trains: PyTorch a
step after the other, alcurr with the steps of a turn in the loop of one
program, as in `alcurr.main`. Each contestant has a process of its own and they
take turns, see `timing`.

The ratio is images a second of alcurr over the other's: above 1, alcurr is
faster. Compile time is that of the first step. Peak memory is the GPU's, or
else the process's above what it held after imports: while it trains, and up to
the end of the first step, compilation included.
"""

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any

from alcurr.models import MODELS, layers, lowerings
from benchmarks import arguments, tables, timing

NETWORKS = tuple(name for name in MODELS if name != "cnn")
OURS = "alcurr"
# Columns of the table on the terminal; the file has all.
SHOWN = (
  "model",
  "batch",
  "pixels",
  "contestant",
  "images_per_second",
  "ratio",
  "ratio_10%",
  "ratio_90%",
  "compile_s",
  "peak_mb",
  "compile_peak_mb",
  "note",
)


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.models",
    description="Images a second of training, here and in PyTorch.",
  )
  add = parser.add_argument
  add(
    "--models",
    type=arguments.names(NETWORKS),
    default=NETWORKS,
    metavar="NAME,...",
  )
  add("--batch_sizes", type=arguments.numbers, default=[32], metavar="N,...")
  add(
    "--image_size",
    type=arguments.number,
    default=64,
    help="of both axes; a network that needs more gets its least",
  )
  add("--dtype", choices=layers.DTYPES, default="float32")
  add("--conv", choices=lowerings.LOWERINGS, default="auto")
  add(
    "--compile",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="whether torch.compile is a contestant too",
  )
  arguments.add_rounds(parser, rounds=20, seconds=3.0)
  arguments.add_threads(parser)
  arguments.add_out(parser, "models")
  return parser.parse_args(argv)


def contestants(
  args: argparse.Namespace, setting: dict[str, Any]
) -> dict[str, tuple[str, dict[str, Any]]]:
  """Name -> the module of its program, and its options."""
  eager = ("benchmarks.torch_models", setting | {"compiled": False})
  found = {
    OURS: ("benchmarks.jax_models", setting | {"conv": args.conv}),
    "PyTorch": eager,
  }
  if args.compile:
    found["torch.compile"] = (eager[0], setting | {"compiled": True})
  return found


def measure(args: argparse.Namespace, setting: dict[str, Any]) -> list[dict]:
  """A row for each contestant of one network at one batch size."""
  workers, rows = {}, {}
  for name, (module, options) in contestants(args, setting).items():
    print(f"{name}: compiles {setting['model']}", file=sys.stderr)
    rows[name] = {
      "model": setting["model"],
      "batch": setting["batch_size"],
      "pixels": setting["image_size"],
      "dtype": setting["dtype"],
      "conv": args.conv if name == OURS else "",
      "contestant": name,
    }
    worker = timing.start(module, options, rows[name])
    if worker:
      workers[name] = worker
      rows[name]["compile_peak_mb"] = worker.first_peak / 1e6
  check_platforms(rows)
  times = timing.interleave(workers, args.rounds, args.seconds)
  for name, worker in workers.items():
    rows[name]["peak_mb"] = worker.stop() / 1e6
  add_rates(rows, times, setting["batch_size"])
  return list(rows.values())


def check_platforms(rows: dict[str, dict]) -> None:
  """Stops where one framework has a GPU and the other does not."""
  platforms = {row["platform"] for row in rows.values() if "platform" in row}
  if len(platforms) > 1:
    sys.exit(
      "One framework has a GPU and the other does not; hide it from both with "
      "JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES= or install both for it."
    )


def add_rates(rows: dict[str, dict], times: dict, batch_size: int) -> None:
  """Enters images a second, and the ratios to ours within the rounds."""
  for name, seconds in times.items():
    row = rows[name]
    row["rounds"] = len(seconds)
    row["images_per_second"] = timing.spread(batch_size / seconds).median
    if name != OURS and OURS in times:
      row["ratio"], row["ratio_10%"], row["ratio_90%"] = timing.spread(
        seconds / times[OURS]
      )


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  timing.keep_to(args.threads)
  # Two processes share a GPU: neither may take what it does not need.
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  rows = []
  for model in args.models:
    least = inspect.getmodule(MODELS[model]).MIN_SIZE
    for batch_size in args.batch_sizes:
      setting = {
        "model": model,
        "batch_size": batch_size,
        "image_size": max(args.image_size, least),
        "dtype": args.dtype,
      }
      rows += measure(args, setting)
      # After each, so that a run cut short leaves what it measured.
      table = tables.save(rows, args.out)
  tables.show(table, SHOWN, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
