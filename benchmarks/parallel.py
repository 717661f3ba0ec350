"""python -m benchmarks.parallel [--devices 1,2,4,8] [--batch_size 32] [...]

Counts what devices send one another in a step of a batch that is split over
them: each collective of the compiled program and its bytes on a device. On a
CPU the devices are made up, and share its cores: there only the counts mean
something. On a machine with several GPUs the steps are timed too.

The first rows are the part of a host, by weak scaling: the examples a second
that one process fetches from a mapped store, and two processes at once, with a
batch twice as large of which each fetches its half.
"""

import argparse
import multiprocessing
import pathlib
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax

from alcurr.data.host_store import make_lookup
from alcurr.data.pool import make_gather
from alcurr.models import MODELS
from alcurr.training import meshes, parallel
from alcurr.training.losses import softmax_cross_entropy
from alcurr.training.run import RunSpec, compile_chunks, init_trials
from alcurr.training.scoring import make_score
from alcurr.types import Images
from benchmarks import arguments, loops, pools, tables

SAMPLERS = {
  "uniform": {"name": "uniform"},
  "prediction_gain": {
    "name": "active_bandit",
    "bandit": "softmax",
    "reward": "rank",
    "gain": "prediction_gain",
  },
  "gradient_prediction_gain": {
    "name": "active_bandit",
    "bandit": "softmax",
    "reward": "rank",
    "gain": "gradient_prediction_gain",
  },
  "loss_proportional": {"name": "loss_proportional"},
  "rho_loss": {"name": "rho_loss", "keep": 0.25},
}
COLUMNS = (
  *("what", "sampler", "model", "data", "batch", "parameters_mb"),
  *("all_reduce", "all_gather", "others", "mb_per_step", "mb_per_chunk"),
  *("state_mb", "ms", "examples_per_s", "examples_per_cpu_s"),
)
_STEPS = 5  # of a chunk
_HOST_BATCH, _HOST_CHUNKS = 512, 200  # that a process fetches
_COLLECTIVE = re.compile(
  r"= (?P<shapes>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
  r"collective-permute)(?:-start)?\("
)
_SHAPE = re.compile(r"(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


def count_collectives(text: str) -> tuple[Counter, float, float]:
  """Reads the collectives of a compiled program's text.

  Returns how many of each kind a step has, and the bytes that they result in
  on a device, of a step and of the rest of a chunk. What is in a loop counts
  once: a chunk of steps that all measure is one loop.
  """
  kinds, in_loops, outside, is_entry = Counter(), 0.0, 0.0, False
  for line in text.splitlines():
    if line and not line[0].isspace():
      is_entry = line.startswith("ENTRY")
    if not (found := _COLLECTIVE.search(line)):
      continue
    sizes = [
      int(np.prod([int(n) for n in dims.split(",") if n], dtype=np.int64))
      * max(int(bits or 8) // 8, 1)
      for _, bits, dims in _SHAPE.findall(found["shapes"])
    ]
    if is_entry:
      outside += sum(sizes)
    else:
      in_loops += sum(sizes)
      kinds[found["kind"]] += 1
  return kinds, in_loops, outside


def _make_run(
  name: str, model_name: str, batch_size: int, size: int, num_devices: int
) -> RunSpec:
  sampler = loops.make_sampler(SAMPLERS[name], batch_size, 1000)
  model = MODELS[model_name](
    input_shape=(size, size, 1), num_classes=pools.NUM_CLASSES
  )
  gather, devices = make_gather(), jax.devices()[:num_devices]
  mesh = meshes.make_mesh(f"data={num_devices}", 1, [batch_size], devices)
  return RunSpec(
    sampler=sampler,
    model=model,
    tx=optax.adam(1e-3),
    gather=gather,
    num_steps=_STEPS,
    batch_size=batch_size,
    seeds=(0,),
    trials_by="map",
    num_evals=1,
    chunk_steps=_STEPS,
    score=make_score(model, gather, batch_size, "map", softmax_cross_entropy),
    mesh=mesh,
  )


def _megabytes(tree: Any) -> float:
  leaves = jax.tree.leaves(tree)
  return sum(x.size * x.dtype.itemsize for x in leaves) / 1e6


def measure_devices(args: argparse.Namespace) -> list[dict[str, Any]]:
  """Returns a row for each sampler and number of devices."""
  pool = pools.make_pool(pools.noise(10_000, args.image_size), 10_000)
  pool.scores["irreducible"] = pool.scores["difficulty"]
  rows = []
  for name in args.samplers:
    for num in args.devices:
      print(f"{name}, data={num}", file=sys.stderr)
      run = _make_run(name, args.model, args.batch_size, args.image_size, num)
      state = init_trials(run, pool)
      program = compile_chunks(run, state, {"train": pool, "probe": pool})
      text = program.program.as_text()
      kinds, in_loops, outside = count_collectives(text)
      rows.append(
        {
          "what": "devices",
          "sampler": name,
          "model": args.model,
          "data": num,
          "batch": args.batch_size,
          "parameters_mb": _megabytes(state.params),
          "state_mb": _megabytes(state.sampler_state),
          "all_reduce": kinds.pop("all-reduce", 0),
          "all_gather": kinds.pop("all-gather", 0),
          "others": kinds.total(),
          "mb_per_step": in_loops / 1e6,
          "mb_per_chunk": outside / 1e6,
        }
      )
      if jax.default_backend() != "cpu":
        rows[-1]["ms"] = _time(run, program.program, state, pool)
  return rows


def _time(
  run: RunSpec, program: jax.stages.Compiled, state: Any, pool: Any
) -> float:
  """Returns the milliseconds of a step, the best of ten chunks."""
  put = parallel.replicator(run.mesh)
  state, pool = parallel.put(run.mesh, state, parallel.BY_TRIAL), put(pool)
  seconds = []
  for _ in range(10):
    started = time.perf_counter()
    state, _ = program(state, np.int32(_STEPS), pool, pool)
    jax.block_until_ready(state)
    seconds.append(time.perf_counter() - started)
  return 1e3 * min(seconds) / _STEPS


def _fetch(path: str, part: int, parts: int, start: Any) -> tuple[float, float]:
  """Fetches a process's part of all chunks; returns the time, and the CPU's."""
  lookup = make_lookup(Images(np.load(path, mmap_mode="r")))
  rng, count = np.random.default_rng(0), _STEPS * _HOST_BATCH
  start.wait()
  started, busy = time.perf_counter(), time.process_time()
  for _ in range(_HOST_CHUNKS):
    # All compute the same draws, and fetch their own.
    index = rng.integers(0, 200_000, (_STEPS, parts * _HOST_BATCH))
    lookup.find(np.unique(np.split(index, parts, axis=1)[part]), count)
  return time.perf_counter() - started, time.process_time() - busy


def measure_hosts(args: argparse.Namespace) -> list[dict[str, Any]]:
  """Returns a row for one process, and one for two at once."""
  rows, size = [], args.image_size
  context = multiprocessing.get_context("spawn")
  with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder) / "images.npy")
    np.save(path, pools.noise(200_000, size).image)
    for parts in (1, 2):
      batch = parts * _HOST_BATCH
      with context.Manager() as manager, context.Pool(parts) as workers:
        start = manager.Barrier(parts)
        jobs = [(path, part, parts, start) for part in range(parts)]
        times = workers.starmap(_fetch, jobs, chunksize=1)
      seconds, busy = zip(*times, strict=True)
      count = _HOST_CHUNKS * _STEPS * batch
      rows.append(
        {
          "what": "hosts",
          "data": parts,
          "batch": batch,
          "examples_per_s": count / max(seconds),
          "examples_per_cpu_s": count / sum(busy),
        }
      )
  return rows


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.parallel",
    description="What a step sends between devices, and what hosts fetch.",
  )
  add = parser.add_argument
  add("--devices", type=arguments.numbers, default=[1, 2, 4, 8])
  add(
    "--samplers",
    type=arguments.names(tuple(SAMPLERS)),
    default=list(SAMPLERS),
    metavar="NAME,...",
  )
  add("--model", default="cnn", choices=list(MODELS))
  add("--batch_size", type=arguments.number, default=32)
  add("--image_size", type=arguments.number, default=28)
  arguments.add_out(parser, "parallel")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  # Of no effect where there is an accelerator.
  jax.config.update("jax_num_cpu_devices", max(args.devices))
  rows = measure_hosts(args) + measure_devices(args)
  table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
