"""python -m benchmarks.models [--models NAME,...] [--batch_sizes 32,...] [...]

Measures images a second of training each network, in alcurr and in PyTorch.
These are whole training steps (forward in train mode, cross-entropy, backward,
SGD with momentum) on the same batch of noise. Each framework trains in its
usual way: PyTorch step by step, alcurr in the loop of one program, as in
`alcurr.main`. Each contestant has its own process. They take turns (see
`timing`) of at least as many steps as `alcurr.main` runs in a call: each call
gets its memory from the system, which takes a tenth of a second a gigabyte.

The ratio is images a second of alcurr over the other's: above 1, alcurr is
faster. Compile time is that of the first step. Peak memory is that of the GPU
or, without one, of the process, above its memory after imports. There are two
peaks: while training, and until the end of the first step, with compilation.
"""

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any

from alcurr.models import MODELS, layers, lowerings
from benchmarks import arguments, tables, timing
from configs import default

NETWORKS = tuple(name for name in MODELS if name != "cnn")
OURS = "alcurr"
# Columns that are printed; the file has all.
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
    description="Images a second of training, in alcurr and in PyTorch.",
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
    help="of both axes; a network that needs more gets its minimum",
  )
  add("--dtype", choices=layers.DTYPES, default="float32")
  add("--conv", choices=lowerings.LOWERINGS, default="auto")
  add(
    "--compile",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="whether torch.compile is a contestant",
  )
  arguments.add_rounds(parser, rounds=20, seconds=3.0)
  add(
    "--least",
    type=arguments.number,
    default=default.get_config().chunk_steps,
    metavar="STEPS",
    help="of a contestant in a round, however long they take",
  )
  arguments.add_threads(parser)
  arguments.add_out(parser, "models")
  return parser.parse_args(argv)


def contestants(
  args: argparse.Namespace, setting: dict[str, Any]
) -> dict[str, tuple[str, dict[str, Any]]]:
  """Returns by name the module of the program, and its options."""
  eager = ("benchmarks.torch_models", setting | {"compiled": False})
  programs = {
    OURS: ("benchmarks.jax_models", setting | {"conv": args.conv}),
    "PyTorch": eager,
  }
  if args.compile:
    programs["torch.compile"] = (eager[0], setting | {"compiled": True})
  return programs


def measure(args: argparse.Namespace, setting: dict[str, Any]) -> list[dict]:
  """Returns a row for each contestant, for one network and batch size."""
  workers, rows = {}, {}
  for name, (module, options) in contestants(args, setting).items():
    print(f"{name}: compiling {setting['model']}", file=sys.stderr)
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
  times = timing.interleave(workers, args.rounds, args.seconds, args.least)
  for name, worker in workers.items():
    rows[name]["peak_mb"] = worker.stop() / 1e6
  add_rates(rows, times, setting["batch_size"])
  return list(rows.values())


def check_platforms(rows: dict[str, dict]) -> None:
  """Exits if one framework has a GPU and the other does not."""
  platforms = {row["platform"] for row in rows.values() if "platform" in row}
  if len(platforms) > 1:
    sys.exit(
      "Expected all frameworks on the same platform, got "
      f"{' and '.join(sorted(platforms))}; hide the GPU from all with "
      "JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES="
    )


def add_rates(rows: dict[str, dict], times: dict, batch_size: int) -> None:
  """Adds images a second, and the ratios to alcurr within the rounds."""
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
  timing.limit_cores(args.threads)
  # Two processes share a GPU, so neither may preallocate its memory.
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  rows = []
  for model in args.models:
    min_size = inspect.getmodule(MODELS[model]).MIN_SIZE
    for batch_size in args.batch_sizes:
      setting = {
        "model": model,
        "batch_size": batch_size,
        "image_size": max(args.image_size, min_size),
        "dtype": args.dtype,
      }
      rows += measure(args, setting)
      # Saved each time, so that an interrupted run has its results.
      table = tables.save(rows, args.out)
  tables.show(table, SHOWN, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
