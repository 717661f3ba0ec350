"""Profiles one chunk of a run's steps.

`profile` writes to its folder:

    summary.json      seconds, milliseconds a step, FLOP rates
    cost.csv          `cost_table`
    plugins/profile/  the trace: perfetto_trace.json.gz for ui.perfetto.dev,
                      and the files of TensorBoard and XProf
"""

import contextlib
import functools
import pathlib
import shutil
import time
import timeit
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from absl import logging

from alcurr.core import files
from alcurr.training import compilation, step
from alcurr.training.run import CompiledRun, RunSpec, make_steps
from alcurr.types import Pool


@contextlib.contextmanager
def profile(
  folder: pathlib.Path,
  run: RunSpec,
  compiled: CompiledRun,
  pools: Mapping[str, Pool],
  steps: int,
) -> Iterator[None]:
  """Traces a context, then writes and logs the profile.

  An earlier profile in the folder is deleted. The context does `steps` of each
  trial, alone on the device, with the pools "train" and "probe".
  """
  shutil.rmtree(folder, ignore_errors=True)
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # the runtime matters, not Python's calls
  with jax.profiler.trace(
    folder, create_perfetto_trace=True, profiler_options=options
  ):
    started, cpu_started = time.perf_counter(), time.process_time()
    yield
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - cpu_started
  table = cost_table(run, compiled, pools)
  files.write_file(
    folder / "cost.csv",
    lambda file: table.to_csv(file, index=False, float_format="%.6g"),
  )
  trial_steps = steps * len(run.seeds)
  flops, peak = compiled.flops_per_step, peak_flops()
  summary = {
    "device": jax.devices()[0].device_kind,
    "steps": steps,
    "trials": len(run.seeds),
    "seconds": seconds,
    "cpu_cores_busy": cpu_seconds / seconds,
    "ms_per_step": 1e3 * seconds / trial_steps,
    "gflops_per_second": flops * trial_steps / seconds / 1e9,
    "peak_gflops_per_second": peak / 1e9,
    "min_ms_per_step": 1e3 * flops / peak,
  }
  files.write_json(folder / "summary.json", summary)
  logging.info(
    "%s: %.3g ms per step and trial, %.3g at this device's peak of %.4g "
    "GFLOP/s; the trace is in %s.",
    run.name,
    summary["ms_per_step"],
    summary["min_ms_per_step"],
    summary["peak_gflops_per_second"],
    folder,
  )


def cost_table(
  run: RunSpec, compiled: CompiledRun, pools: Mapping[str, Pool]
) -> pd.DataFrame:
  """Returns the compiler's counts, a row for each part of a step and the chunk.

  The parts are those of one trial. FLOPs and bytes of the chunk count each
  loop's body once; its memory is that of all trials.
  """
  pool = pools["train"]
  init = step.make_init(run.model, run.tx, run.sampler, run.loss)
  state = jax.eval_shape(init, jax.random.key(0), pool)
  parts = compilation.count_parts(make_steps(run), state, pool, pools["probe"])
  rows = [
    _cost(name, program) | {"times_per_step": share}
    for name, (share, program) in parts.items()
  ]
  rows.append(_cost("chunk", compiled.chunks.program))
  return pd.DataFrame(rows)


def _cost(name: str, program: jax.stages.Compiled) -> dict[str, Any]:
  cost, memory = program.cost_analysis(), program.memory_analysis()
  flops, accessed = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
  return {
    "program": name,
    "flops": flops,
    "bytes_accessed": accessed,
    "flops_per_byte": flops / accessed if accessed else None,
    "argument_bytes": memory.argument_size_in_bytes,
    "output_bytes": memory.output_size_in_bytes,
    "temp_bytes": memory.temp_size_in_bytes,
  }


def peak_flops() -> float:
  """Measures the device's FLOP/s in a large matrix product.

  Returns the best of ten products each in float32 and bfloat16.
  """
  size = 1024 if jax.default_backend() == "cpu" else 4096
  seconds = []
  for dtype in (jnp.float32, jnp.bfloat16):
    x = jnp.ones((size, size), dtype)
    run = functools.partial(lambda x: (x @ x).block_until_ready(), x)
    seconds += timeit.repeat(run, run, repeat=10, number=1)
  return 2 * size**3 / min(seconds)
