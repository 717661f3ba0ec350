"""python -m benchmarks.gpu.memory [--batch_sizes 512] [--dtypes float32,...]

Measures the memory that training with a sampler takes of the device, each time
in a process of its own: the peak that the allocator reports (`memory_stats`)
beside what the compiler foresees for the program. Without an accelerator, the
peak is that of the process.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from alcurr.models import layers
from alcurr.training.memory import num_bytes
from benchmarks import arguments, jax_device, step, tables, timing
from benchmarks.gpu import fused

COLUMNS = (
  *("model", "pixels", "dtype", "batch", "sampler", "pool_mb", "state_mb"),
  *("temp_mb", "peak_mb", "note"),
)


def make_program(*, sampler: str, batch_size: int, **setting) -> timing.Program:
  setting = step.Setting(argparse.Namespace(**setting), batch_size)
  program, state = fused.compile_steps(setting, sampler, setting.chunk_steps)
  analysis = program.memory_analysis()
  facts = jax_device.make_facts(num_bytes(state.params) // 4) | {
    "pool_mb": num_bytes(setting.pool) / 1e6,
    "state_mb": num_bytes(state) / 1e6,
    "temp_mb": analysis.temp_size_in_bytes / 1e6,
  }

  def run(steps: int) -> None:
    nonlocal state
    for _ in range(steps):
      state, _ = program(state, jnp.int32(1), setting.pool, setting.pool)
    jax.block_until_ready(state)

  return timing.Program(run, facts, jax_device.peak())


def measure(args: argparse.Namespace, dtype: str, batch_size: int) -> dict:
  """Returns the row of a dtype and batch size."""
  row: dict[str, Any] = {
    "model": args.model,
    "pixels": args.image_size,
    "dtype": dtype,
    "batch": batch_size,
    "sampler": args.sampler,
  }
  names = "model", "image_size", "num_examples", "sampler"
  options = {name: getattr(args, name) for name in names}
  options |= {"dtype": dtype, "batch_size": batch_size, "chunk_steps": 1}
  worker = timing.start("benchmarks.gpu.memory", options, row)
  if worker:
    worker(2)
    row["compile_peak_mb"] = worker.first_peak / 1e6
    row["peak_mb"] = worker.stop() / 1e6
  return row


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.gpu.memory",
    description="The device memory of training, measured and foreseen.",
  )
  fused.add_setting(parser)
  add = parser.add_argument
  add("--batch_sizes", type=arguments.numbers, default=[512], metavar="N,...")
  add(
    "--dtypes",
    type=arguments.names(layers.DTYPES),
    default=["float32", "bfloat16"],
    metavar="NAME,...",
  )
  arguments.add_out(parser, "memory")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  # This process needs none of the device's memory, only its name.
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  rows = []
  for dtype, batch_size in itertools.product(args.dtypes, args.batch_sizes):
    rows.append(measure(args, dtype, batch_size))
    table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
