"""Where the time of a run's steps goes: one chunk of them, traced.

`profile` leaves in its folder

  summary.json     seconds, utilisation, and how far from the device's peak
  parts.csv        milliseconds of each part of a step: what choosing costs
  operations.csv   the same of each operation
  cost.csv         FLOPs, bytes and memory, as the compiler counts them
  program.hlo.txt  the chunk's program, optimised
  plugins/profile/<date>/perfetto_trace.json.gz
                   the trace, for ui.perfetto.dev or chrome://tracing; beside
                   it the files that TensorBoard and XProf read
"""

import contextlib
import io
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from absl import logging

from alcurr.core import cpu, files
from alcurr.training import compilation, step, traces
from alcurr.training.run import CompiledRun, RunSpec, make_steps
from alcurr.types import Pool

# What is in no scope of a step: its loops, and the copies of their carries.
REST = "rest"
# Operations that run others. Their own time is that between two of them, when
# the device waits to be given the next.
CONTROL = ("call", "conditional", "while")
# A step's gradient is one scope and two parts.
PARTS = (
  *("prepare", "draw", "gather_batch", "forward", "backward", "optimizer"),
  *("signal", "sampler_update", "laws", REST),
)


@contextlib.contextmanager
def profile(
  folder: pathlib.Path,
  name: str,
  run: RunSpec,
  plan: CompiledRun,
  pools: Mapping[str, Pool],
  steps: int,
) -> Iterator[None]:
  """Traces what runs inside, and writes and logs what the trace tells.

  Args:
    folder: the profile's own; what an earlier one left is removed.
    name: the sampler's, for the log.
    run: what is trained.
    plan: of this run.
    pools: "train" and "probe", as the run has them.
    steps: of each trial, that the program makes inside the context, alone on
      the device.
  """
  shutil.rmtree(folder, ignore_errors=True)
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # the host is to be in the trace, not Python
  with jax.profiler.trace(
    folder, create_perfetto_trace=True, profiler_options=options
  ):
    started, cpu_started = time.perf_counter(), time.process_time()
    yield
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - cpu_started
  text = plan.chunks.program.as_text()
  files.write_file(
    folder / "program.hlo.txt", lambda file: file.write(text.encode())
  )
  program = traces.instructions(text)
  (file,) = folder.rglob("*.xplane.pb")
  turns = steps * len(run.seeds)
  operations = operations_table(
    traces.by_operation(traces.read(file, program)), program, turns
  )
  parts = parts_table(operations)
  for table, frame in (
    ("operations", operations),
    ("parts", parts),
    ("cost", cost_table(run, plan, pools)),
  ):
    _write_csv(folder / f"{table}.csv", frame)
  busy = busy_seconds(operations)
  peak = peak_flops()
  summary = {
    "device": jax.devices()[0].device_kind,
    "steps": steps,
    "trials": len(run.seeds),
    "seconds": seconds,
    "busy_seconds": busy,
    "utilisation": busy / seconds,
    "cpu_cores_busy": cpu_seconds / seconds,
    "ms_per_step": 1e3 * seconds / turns,
    "gflops_per_second": plan.flops_per_step * turns / seconds / 1e9,
    "peak_gflops_per_second": peak / 1e9,
    "floor_ms_per_step": 1e3 * plan.flops_per_step / peak,
  }
  files.write_json(folder / "summary.json", summary)
  logging.info("%s", render(name, folder, summary, parts, operations))


def operations_table(
  operations: list[traces.Operation],
  program: Mapping[str, traces.Instruction],
  turns: int,
) -> pd.DataFrame:
  """A row for each operation of a trace, those that took most first.

  The shares are of the time of all of them, the loops' own time too.

  Args:
    operations: of the trace.
    program: what each is.
    turns: steps that the trace holds, over all trials.
  """
  total = sum(operation.seconds for operation in operations)
  rows = []
  for operation in operations:
    known = program.get(operation.name, traces.Instruction("", ""))
    rows.append(
      {
        "operation": operation.name,
        "opcode": known.opcode,
        "part": _part(known.source),
        "calls": operation.calls,
        "milliseconds": 1e3 * operation.seconds,
        "ms_per_step": 1e3 * operation.seconds / turns,
        "share": operation.seconds / total,
        "source": known.source,
      }
    )
  if not rows:
    logging.warning("The trace holds no operations of this device.")
  columns = ("operation", "opcode", "part", "calls", "milliseconds")
  return pd.DataFrame(
    rows, columns=[*columns, "ms_per_step", "share", "source"]
  )


def _part(source: str) -> str:
  part = traces.part_of(source, step.SCOPES) or REST
  if part == "forward_backward":
    return "backward" if "transpose(" in source else "forward"
  return part


def busy_seconds(operations: pd.DataFrame) -> float:
  """The time in which the device was at work, of a table of operations."""
  work = ~operations["opcode"].isin(CONTROL)
  return operations["milliseconds"][work].sum() / 1e3


def parts_table(operations: pd.DataFrame) -> pd.DataFrame:
  """A row for each part of a step: the sums over its operations."""
  columns = ["calls", "milliseconds", "ms_per_step", "share"]
  sums = operations.groupby("part")[columns].sum()
  order = [part for part in PARTS if part in sums.index]
  return sums.loc[order].reset_index()


def cost_table(
  run: RunSpec, plan: CompiledRun, pools: Mapping[str, Pool]
) -> pd.DataFrame:
  """The compiler's count of each part of a step that runs, and of the chunk.

  The parts are those of one trial. The chunk is the whole program: its FLOPs
  and bytes count one turn of each loop, its memory holds all trials.
  """
  init = step.make_init(run.model, run.tx, run.sampler)
  state = jax.eval_shape(init, jax.random.key(0), pools["train"])
  steps = make_steps(run)
  counted = compilation.count_parts(
    steps, state, pools["train"], pools["probe"]
  )
  rows = [
    _cost(name, program) | {"times_per_step": share}
    for name, (share, program) in counted.items()
  ]
  rows.append(_cost("chunk", plan.chunks.program))
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


def peak_flops(repeats: int = 10) -> float:
  """FLOP/s of this device in what it is fastest at: a large matrix product.

  The fastest of a few, in float32 as JAX multiplies it here and in bfloat16.
  """
  size = 1024 if jax.default_backend() == "cpu" else 4096
  product = jax.jit(jnp.matmul)
  fastest = float("inf")
  for dtype in (jnp.float32, jnp.bfloat16):
    x = jnp.ones((size, size), dtype)
    product(x, x).block_until_ready()
    for _ in range(repeats):
      started = time.perf_counter()
      product(x, x).block_until_ready()
      fastest = min(fastest, time.perf_counter() - started)
  return 2 * size**3 / fastest


def render(
  name: str,
  folder: pathlib.Path,
  summary: Mapping[str, Any],
  parts: pd.DataFrame,
  operations: pd.DataFrame,
) -> str:
  """The profile as text for a terminal, with the ten longest operations."""
  lines = [
    f"Profile of {name}: {summary['steps']} steps of {summary['trials']} "
    f"trials in {summary['seconds']:.3g} s, {summary['ms_per_step']:.3g} ms a "
    "step and trial.",
    f"Utilisation {100 * summary['utilisation']:.1f} %, "
    f"{summary['cpu_cores_busy']:.1f} of {cpu.cores()} cores busy; "
    f"{summary['gflops_per_second']:.4g} GFLOP/s, of matrix products "
    f"{summary['peak_gflops_per_second']:.4g}: at that rate a step takes "
    f"{summary['floor_ms_per_step']:.3g} ms.",
  ]
  top = operations.head(10).copy()
  # The end of a source says most: the layer and the primitive.
  top["source"] = ["/".join(s.split("/")[-3:]) for s in top["source"]]
  for table, columns in ((parts, ["part"]), (top, ["operation", "part"])):
    text = table[columns].copy()
    text["ms a step"] = table["ms_per_step"].map("{:.4f}".format)
    text["share %"] = (100 * table["share"]).map("{:.1f}".format)
    if "source" in table:
      text["source"] = table["source"]
    lines.append("\n" + text.to_string(index=False))
  lines.append(f"\nAll of it: {folder}")
  return "\n".join(lines)


def _write_csv(path: pathlib.Path, table: pd.DataFrame) -> None:
  text = io.StringIO()
  table.to_csv(text, index=False, float_format="%.6g")
  files.write_file(path, lambda file: file.write(text.getvalue().encode()))
