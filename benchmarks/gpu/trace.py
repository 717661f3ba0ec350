"""python -m benchmarks.gpu.trace [--sampler prediction_gain] [...]

Traces the steps of a sampler with `jax.profiler`. The table has

  total      the time of a step under the trace, and how much of it an
             operation runs
  gap        the pauses between two operations, by the operation before and
             after; the largest sums first
  operation  the operations with the largest sums, and where in the network
             the compiler took them from

Times are milliseconds a step. On a CPU, operations overlap.
"""

import argparse
import collections
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.profiler import ProfileData

from alcurr.models import layers
from benchmarks import arguments, step, tables
from benchmarks.gpu import fused

COLUMNS = (*("kind", "name", "calls", "ms", "share", "source"),)
# They enclose the operations of their bodies.
_ENCLOSING = re.compile(r"(while|call|conditional)\b")
_SHOWN = 15  # of each kind


class Event(NamedTuple):
  """An operation that ran, in nanoseconds since the start of the trace."""

  start: float
  end: float
  name: str


class Gap(NamedTuple):
  """A pause in which no operation ran."""

  seconds: float
  before: str  # the operation that ended last
  after: str


def read_events(folder: pathlib.Path) -> list[Event]:
  """Returns the operations of a trace.

  On an accelerator they are those of its streams, copies included. A CPU has
  no stream; its operations are those with the name of one in the program.
  """
  path = max(folder.rglob("*.xplane.pb"))
  planes = list(ProfileData.from_file(str(path)).planes)
  streams = [
    line
    for plane in planes
    if plane.name.startswith("/device:")
    for line in plane.lines
    if line.name.startswith("Stream")
  ]
  lines = streams or [line for plane in planes for line in plane.lines]
  events = []
  for line in lines:
    for event in line.events:
      name = dict(event.stats).get("hlo_op") or (streams and event.name)
      if name and event.duration_ns and not _ENCLOSING.match(name):
        end = event.start_ns + event.duration_ns
        events.append(Event(event.start_ns, end, name))
  return events


def find_gaps(events: Iterable[Event]) -> Iterator[Gap]:
  """Yields the pauses between operations, which may overlap."""
  last = None
  for event in sorted(events):
    if last and event.start > last.end:
      yield Gap((event.start - last.end) / 1e9, last.name, event.name)
    if last is None or event.end > last.end:
      last = event


def find_sources(program: jax.stages.Compiled) -> dict[str, str]:
  """Returns where the operations of a program come from, by their names."""
  named = re.compile(r'%?([\w.-]+) = .*metadata=\{.*?op_name="([^"]*)"')
  return dict(named.findall(program.as_text()))


def summarise(
  events: Sequence[Event],
  sources: dict[str, str],
  seconds: float,
  steps: int,
) -> list[dict[str, Any]]:
  """Returns the rows of a trace of some steps that took some seconds."""
  gaps = list(find_gaps(events))
  idle = sum(gap.seconds for gap in gaps)
  span = max(e.end for e in events) - min(e.start for e in events)
  busy = span / 1e9 - idle

  def row(kind: str, name: str, calls: int, taken: float) -> dict[str, Any]:
    ms = 1e3 * taken / steps
    values = {"calls": calls, "ms": ms, "share": taken / seconds}
    return {"kind": kind, "name": name, **values}

  rows = [
    row("total", "steps", steps, seconds),
    row("total", "operations", len(events), busy),
    row("total", "gaps between operations", len(gaps), idle),
  ]
  pauses, runs = collections.defaultdict(list), collections.defaultdict(list)
  for gap in gaps:
    pauses[f"{gap.before} -> {gap.after}"].append(gap.seconds)
  for event in events:
    runs[event.name].append((event.end - event.start) / 1e9)
  for kind, found in (("gap", pauses), ("operation", runs)):
    largest = sorted(found, key=lambda name: -sum(found[name]))[:_SHOWN]
    rows += [row(kind, x, len(found[x]), sum(found[x])) for x in largest]
  for one in rows:
    one["source"] = sources.get(one["name"], "")
  return rows


def measure(
  args: argparse.Namespace, folder: pathlib.Path
) -> list[dict[str, Any]]:
  """Traces the steps into a folder; returns the rows."""
  args.chunk_steps = args.steps
  setting = step.Setting(args, args.batch_size)
  program, state = fused.compile_steps(setting, args.sampler, args.steps)
  inputs = jnp.int32(args.steps), setting.pool, setting.pool
  for _ in range(2):
    state, _ = jax.block_until_ready(program(state, *inputs))
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  with jax.profiler.trace(folder, profiler_options=options):
    started = time.perf_counter()
    jax.block_until_ready(program(state, *inputs))
    seconds = time.perf_counter() - started
  shared = {
    "model": args.model,
    "pixels": args.image_size,
    "dtype": args.dtype,
    "batch": args.batch_size,
    "sampler": args.sampler,
  }
  rows = summarise(
    read_events(folder), find_sources(program), seconds, args.steps
  )
  return [shared | row for row in rows]


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.gpu.trace",
    description="What runs on the device in a step, and when nothing does.",
  )
  fused.add_setting(parser)
  add = parser.add_argument
  add("--batch_size", type=arguments.number, default=512)
  add("--dtype", choices=layers.DTYPES, default="float32")
  add("--steps", type=arguments.number, default=9, help="that are traced")
  arguments.add_out(parser, "trace")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  with tempfile.TemporaryDirectory() as folder:
    rows = measure(args, pathlib.Path(folder))
  table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
