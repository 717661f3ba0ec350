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

from alcurr import (
  configfile,
  experiment,
  jobs,
  lock,
  plans,
  settings,
  step,
  stopping,
  tally,
  workdirs,
  writer,
)
from alcurr.data import sources
from alcurr.data.pool import make_pool
from alcurr.errors import UserError
from alcurr.report import figures
from alcurr.runs import Job
from alcurr.types import Pool, TrainState


class Stretch(NamedTuple):
  """What a chunk of steps has come to."""

  done: int  # steps of each trial, this chunk's too
  state: TrainState  # [S]; the next chunk overwrites it
  metrics: step.Metrics  # [S, T, ...] of this chunk, on the host
  tally: tally.Tally  # of all chunks so far


def follow(
  run: plans.Run, pools: Mapping[str, Pool], state: TrainState
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
  steps = plans.make_steps(run)
  lengths, _ = plans.plan_chunks(
    run.num_steps, run.evaluations, run.chunk_steps, steps.cycle
  )
  chunks = plans.make_chunks(run, steps, lengths, state, pools)
  pool_of = plans.pool_of_each(chunks, state, pool)
  so_far = tally.start(len(run.seeds), pool.label.shape[0])
  done = 0
  for length in lengths:
    state, metrics = chunks.program(
      state, jnp.int32(length), next(pool_of), probe
    )
    metrics = jax.device_get(metrics)
    metrics = jax.tree.map(lambda x, n=length: x[:, :n], metrics)
    so_far = tally.add(so_far, metrics, done, run.on_nonfinite, run.name)
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
  config = configfile.load_with(args.config, options)
  settings.check(config)
  name = args.sampler or config.baseline
  if name not in config.samplers:
    known = ", ".join(sorted(config.samplers))
    raise UserError(f"--sampler: no {name!r} in the config. Known: {known}.")
  workdirs.check_can_make(args.out, "--out")
  found = {p.name for p in args.out.iterdir()} if args.out.exists() else set()
  if found - {lock.NAME} and goes_on not in found:
    raise UserError(f"--out {args.out} holds files; name an empty folder.")
  return alone(config, name)


def alone(config: ConfigDict, name: str) -> ConfigDict:
  """A sampler's config, in which it is alone: its `run` is the config's own."""
  mine = settings.of_run(config, name)
  sampler = {k: v for k, v in mine.samplers[name].items() if k != "run"}
  with mine.unlocked():
    mine.samplers = ConfigDict({name: sampler})
    mine.baseline = name
    mine.equal = "examples"
  return mine


def load_data(
  config: ConfigDict, out: pathlib.Path
) -> tuple[Job, dict[str, Pool]]:
  """The data of a config, on the device and scored if its sampler asks.

  What can be used again is kept in the folder `cache` beside `out`, as that of
  an experiment is.
  """
  cache_dir = settings.cache_dir(config, out)
  job = jobs.load_job(config, cache_dir)
  jobs.check_fit(config, job, jobs.host_pools(config, job))
  out.mkdir(parents=True, exist_ok=True)
  pools, _ = experiment.make_pools(
    config, job, cache_dir, out / "difficulty", stopping.Signals()
  )
  return job, pools


def some_valid(job: Job, count: int) -> Pool:
  """At most so many of the valid drawings, on the device."""
  return make_pool(sources.first_by_key(job.parts["valid"], count))


def write(
  folder: pathlib.Path, stem: str, table: pd.DataFrame, figure: Figure
) -> None:
  """A table and its plot, `<stem>.csv` and `<stem>.png`, in a folder."""
  figures.write_csv(folder / f"{stem}.csv", table)
  writer.write_file(
    folder / f"{stem}.png", lambda file: figure.savefig(file, format="png")
  )
