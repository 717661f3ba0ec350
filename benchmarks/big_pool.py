"""python -m benchmarks.big_pool [--sizes 100000,50000000] [--processes 1,2]

Measures runs on drawings in mapped files that each process reads its slice of:
the time of a step, the drawings that a process looks up for it, and memory.
Each process has one device and a batch of `--batch_size` drawings; they talk
over the loopback. A sampler without a signal prefetches, as in a run.

Files are as long as those of real drawings (see `drawings`), with one block of
drawings again and again. They have just been written, so the system has them in
its cache, which all processes share.
"""

import argparse
import concurrent.futures
import functools
import math
import multiprocessing
import os
import pathlib
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from alcurr.data.host_store import make_fetch, make_lookup
from alcurr.data.pool import make_gather
from alcurr.data.render import make_render
from alcurr.models import MODELS
from alcurr.training import memory, meshes, parallel, prefetch, processes
from alcurr.training.run import RunSpec, compile_chunks, init_trials
from alcurr.training.scoring import make_score
from alcurr.types import Pool, Stored, Strokes
from benchmarks import arguments, drawings, loops, pools, tables

SAMPLERS = {
  "uniform": {"name": "uniform"},
  "prediction_gain": {
    "name": "active_bandit",
    "bandit": "softmax",
    "reward": "rank",
    "gain": "prediction_gain",
  },
  "loss_proportional": {"name": "loss_proportional"},
}
COLUMNS = (
  *("sampler", "examples", "processes", "batch", "ms", "cpu_ms", "report_ms"),
  *("looked_up", "pool_mb", "state_mb", "temp_mb", "peak_gb", "mapped_gb"),
)
_BLOCK = 1_000_000  # drawings that are generated
_STEPS = 25  # of a chunk
_CHUNKS = 8  # the first two are not timed
_FILES = {name: f"{name}.npy" for name in Strokes._fields}


class Task(NamedTuple):
  """The work of a process."""

  sampler: str
  folder: str  # of the store
  processes: int
  port: int  # of the first process
  batch_size: int  # of all processes
  image_size: int


def write_store(folder: pathlib.Path, num_drawings: int) -> None:
  """Writes packed drawings, a block of them after another."""
  block = drawings.make_strokes(math.gcd(num_drawings, _BLOCK))
  repeats = num_drawings // (len(block.drawing_start) - 1)
  for name, array in block._asdict().items():
    is_start = array.ndim == 1
    size = len(array) - is_start
    whole = np.lib.format.open_memmap(
      folder / _FILES[name],
      "w+",
      array.dtype,
      (repeats * size + is_start, *array.shape[1:]),
    )
    for number in range(repeats):
      first, shift = number * size, number * int(array[-1]) if is_start else 0
      whole[first : first + len(array)] = array + array.dtype.type(shift)
    whole.flush()


def read_store(folder: str) -> Strokes:
  arrays = {
    name: np.load(pathlib.Path(folder) / file, mmap_mode="r")
    for name, file in _FILES.items()
  }
  return Strokes(**arrays)


def measure(task: Task, number: int) -> dict[str, Any]:
  """Returns the row of a process."""
  if task.processes > 1:
    os.environ["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{task.port}"
    os.environ["JAX_NUM_PROCESSES"] = str(task.processes)
    os.environ["JAX_PROCESS_ID"] = str(number)
    processes.join(True)
  lookup, looked_up = make_lookup(store := read_store(task.folder)), []

  def find(row: np.ndarray, count: int) -> Strokes:
    looked_up.append(len(row))
    return lookup.find(row, count)

  run, pool = _make_run(task, store, lookup._replace(find=find))
  state = init_trials(run, parallel.local(pool))
  pools_of = {"train": pool, "probe": pool}
  compiled = compile_chunks(run, state, pools_of)
  state = parallel.put(run.mesh, state, parallel.BY_TRIAL)
  pool_of_chunk = prefetch.chunk_pools(
    compiled.prefetch, state, [_STEPS] * _CHUNKS, pool, run.mesh
  )
  exchange = run.mesh and processes.Exchange(run.mesh, lambda: None)
  seconds, busy, reports = [], [], []
  for own in pool_of_chunk:
    started, busy_before = time.perf_counter(), time.process_time()
    state, _ = compiled.program(state, np.int32(_STEPS), own, pool)
    jax.block_until_ready(state)
    seconds.append(time.perf_counter() - started)
    busy.append(time.process_time() - busy_before)
    if exchange:
      exchange.receive(exchange.send(state, False))
      reports.append(time.perf_counter() - started - seconds[-1])
  temporaries = compiled.program.memory_analysis().temp_size_in_bytes
  return {
    "ms": 1e3 * float(np.median(seconds[2:])) / _STEPS,
    "cpu_ms": 1e3 * float(np.median(busy[2:])) / _STEPS,
    "report_ms": 1e3 * float(np.median(reports[2:])) if reports else None,
    "looked_up": sum(looked_up) / (_STEPS * _CHUNKS),
    "pool_mb": memory.num_bytes(pool) / 1e6,
    "state_mb": memory.num_bytes(state.sampler_state) / 1e6,
    "temp_mb": temporaries / 1e6,
    "peak_gb": _memory("VmHWM"),
    "mapped_gb": _memory("RssFile"),
  }


def _memory(name: str) -> float | None:
  """Returns a number of this process's memory in GB; None but on Linux."""
  path = pathlib.Path("/proc/self/status")
  lines = path.read_text().splitlines() if path.exists() else []
  found = [line for line in lines if line.startswith(f"{name}:")]
  return int(found[0].split()[1]) * 1024 / 1e9 if found else None


def _make_run(task: Task, store: Strokes, lookup: Any) -> tuple[RunSpec, Pool]:
  num = len(store.drawing_start) - 1
  sampler = loops.make_sampler(SAMPLERS[task.sampler], task.batch_size, 1000)
  size = task.image_size
  gather = make_gather(make_render(size=size), make_fetch(lookup))
  model = MODELS["mlp"](
    input_shape=(size, size, 1), num_classes=pools.NUM_CLASSES
  )
  mesh = meshes.make_mesh(
    f"data={task.processes}", 1, [task.batch_size], jax.devices()
  )
  rng, row = np.random.default_rng(0), np.arange(num, dtype=np.int32)
  label = rng.integers(pools.NUM_CLASSES, size=num, dtype=np.int32)
  partitions = {
    name: pools.scatter(num, pools.NUM_ARMS) for name in sampler.spec.partitions
  }
  score = make_score(model, gather, task.batch_size, "map")
  run = RunSpec(
    sampler=sampler,
    model=model,
    tx=optax.adam(1e-3),
    gather=gather,
    num_steps=_STEPS * _CHUNKS,
    batch_size=task.batch_size,
    seeds=(0,),
    trials_by="map",
    num_evals=1,
    chunk_steps=_STEPS,
    score=score,
    lookup=lookup,
    mesh=mesh,
  )
  put = parallel.replicator(mesh)
  return run, put(Pool(Stored(row), label, {}, partitions))


def _free_port() -> int:
  with socket.socket() as any_socket:
    any_socket.bind(("127.0.0.1", 0))
    return any_socket.getsockname()[1]


def measure_all(args: argparse.Namespace) -> list[dict[str, Any]]:
  """Returns a row for each sampler, size and number of processes."""
  rows, spawn = [], multiprocessing.get_context("spawn")
  for num in args.sizes:
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
      write_store(pathlib.Path(folder), num)
      for name in args.samplers:
        for count in args.processes:
          print(f"{name}, {num} drawings, {count} processes", file=sys.stderr)
          batch_size = count * args.batch_size
          task = Task(
            name, folder, count, _free_port(), batch_size, args.image_size
          )
          with concurrent.futures.ProcessPoolExecutor(count, spawn) as workers:
            work = functools.partial(measure, task)
            found = list(workers.map(work, range(count)))
          common = {
            "sampler": name,
            "examples": num,
            "processes": count,
            "batch": batch_size,
          }
          # The slowest, and the one with the most memory, count.
          most = {
            k: None if row is None else max(each[k] for each in found)
            for k, row in found[0].items()
          }
          rows.append(common | most)
  return rows


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.big_pool",
    description="Steps on pools in mapped files, in one and several processes.",
  )
  add = parser.add_argument
  add("--sizes", type=arguments.numbers, default=[100_000, 50_000_000])
  add("--processes", type=arguments.numbers, default=[1, 2])
  add(
    "--samplers",
    type=arguments.names(tuple(SAMPLERS)),
    default=list(SAMPLERS),
    metavar="NAME,...",
  )
  add("--batch_size", type=arguments.number, default=32, help="of a process")
  add("--image_size", type=arguments.number, default=28)
  add("--folder", type=pathlib.Path, help="for the files, 5.5 GB by default")
  arguments.add_out(parser, "big_pool")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  table = tables.save(measure_all(args), args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
