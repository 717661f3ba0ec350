"""What the commands share: one sampler's config, and its trials step by step.

Nothing is kept of such a run but what its command makes of it: no checkpoints,
no rows, no report.
"""

import argparse
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pandas as pd
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core import files, lock, paths
from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.data.pool import make_pool
from alcurr.experiments import preemption, runner, setup
from alcurr.experiments.config import build, loader
from alcurr.experiments.sampler_run import ExperimentContext
from alcurr.report import tables
from alcurr.training import exposure, step
from alcurr.training.run import (
  RunSpec,
  chunk_lengths,
  chunk_pools,
  compile_chunks,
  make_steps,
)
from alcurr.types import Pool, TrainState


class Stretch(NamedTuple):
  """What a chunk of steps has come to."""

  done: int  # steps of each trial, this chunk's too
  state: TrainState  # [S]; the next chunk overwrites it
  metrics: step.Metrics  # [S, T, ...] of this chunk, on the host
  exposure: exposure.Exposure  # of all chunks so far


def follow(
  run: RunSpec, pools: Mapping[str, Pool], state: TrainState
) -> Iterator[Stretch]:
  """Trains all trials of a run, chunk by chunk.

  Args:
    run: what to train and how.
    pools: "train", and "probe" for the sampler's signals.
    state: [S], where they begin; it is given away.

  Raises:
    FaultError: a law of `laws` was broken.
  """
  pool, probe = pools["train"], pools["probe"]
  steps = make_steps(run)
  lengths, _ = chunk_lengths(
    run.num_steps, run.num_evals, run.chunk_steps, steps.cycle
  )
  chunks = compile_chunks(run, steps, lengths, state, pools)
  pool_of = chunk_pools(chunks, state, pool)
  so_far = exposure.init_exposure(len(run.seeds), pool.label.shape[0])
  done = 0
  for length in lengths:
    state, metrics = chunks.program(
      state, jnp.int32(length), next(pool_of), probe
    )
    metrics = jax.device_get(metrics)
    metrics = jax.tree.map(lambda x, n=length: x[:, :n], metrics)
    so_far = exposure.add(so_far, metrics, done, run.on_nonfinite, run.name)
    done += length
    yield Stretch(done, state, metrics, so_far)


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
  """The options of every command."""
  parser.add_argument(
    "--config", required=True, metavar="FILE", help="as of alcurr.main"
  )
  parser.add_argument(
    "--sampler",
    metavar="NAME",
    help="one of the config's; default its baseline",
  )
  parser.add_argument(
    "--out",
    metavar="DIR",
    type=pathlib.Path,
    default=pathlib.Path(out),
    help="a new or empty folder for table and plot; default %(default)s",
  )


def load_config(
  args: argparse.Namespace, options: Sequence[str], goes_on: str | None = None
) -> ConfigDict:
  """The config of one sampler alone, checked; nothing is made.

  Args:
    args: of `add_arguments`.
    options: `--config.field=value`.
    goes_on: a file in whose presence the folder need not be empty.

  Raises:
    UserError: a mistake in them, or a folder that cannot be used.
  """
  config = loader.load_with(args.config, options)
  build.check(config)
  name = args.sampler or config.baseline
  if name not in config.samplers:
    known = ", ".join(sorted(config.samplers))
    raise UserError(f"--sampler: no {name!r} in the config. Known: {known}.")
  paths.check_can_make(args.out, "--out")
  found = {p.name for p in args.out.iterdir()} if args.out.exists() else set()
  if found - {lock.NAME} and goes_on not in found:
    raise UserError(f"--out {args.out} holds files; name an empty folder.")
  return alone(config, name)


def alone(config: ConfigDict, name: str) -> ConfigDict:
  """A sampler's config, in which it is alone: its `run` is the config's own."""
  mine = build.of_run(config, name)
  sampler = {k: v for k, v in mine.samplers[name].items() if k != "run"}
  with mine.unlocked():
    mine.samplers = ConfigDict({name: sampler})
    mine.baseline = name
    mine.budget_basis = "examples"
  return mine


def load_data(
  config: ConfigDict, out: pathlib.Path
) -> tuple[ExperimentContext, dict[str, Pool]]:
  """The data of a config, on the device and scored if its sampler asks.

  What can be used again is kept in the folder `cache` beside `out`, as that of
  an experiment is.
  """
  cache_dir = build.cache_dir(config, out)
  job = setup.load_context(config, cache_dir)
  setup.check_fit(config, job, setup.host_pools(config, job))
  out.mkdir(parents=True, exist_ok=True)
  pools, _ = runner.make_pools(
    config, job, cache_dir, out / "difficulty", preemption.Signals()
  )
  return job, pools


def some_valid(job: ExperimentContext, count: int) -> Pool:
  """At most so many of the valid drawings, on the device."""
  return make_pool(sources.first_by_key(job.parts["valid"], count))


def write(
  folder: pathlib.Path, stem: str, table: pd.DataFrame, figure: Figure
) -> None:
  """A table and its plot, `<stem>.csv` and `<stem>.png`, in a folder."""
  tables.write_csv(folder / f"{stem}.csv", table)
  files.write_file(
    folder / f"{stem}.png", lambda file: figure.savefig(file, format="png")
  )
