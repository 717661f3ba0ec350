"""Shared by the commands: the config of one sampler, and its training.

No checkpoints, rows or reports are written.
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

from alcurr.core import files, lock, paths, specs
from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.data.pool import make_pool
from alcurr.experiments import experiment_runner, setup
from alcurr.experiments.config import build, loader
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


class TrainedChunk(NamedTuple):
  """A chunk of steps that was trained."""

  done: int  # steps of each trial up to its end
  state: TrainState  # [S] after it; the next chunk overwrites it
  metrics: step.Metrics  # [S, T, ...], on the host
  exposure: exposure.Exposure  # of all chunks so far


def train_chunks(
  run: RunSpec, pools: Mapping[str, Pool], state: TrainState
) -> Iterator[TrainedChunk]:
  """Trains all trials of a run, chunk by chunk.

  Args:
    run: of S trials.
    pools: "train", and "probe" for the signals of the sampler.
    state: [S], at step 0; it is donated.

  Raises:
    FaultError: an invariant was violated.
  """
  pool, steps = pools["train"], make_steps(run)
  lengths, _ = chunk_lengths(
    run.num_steps, run.num_evals, run.chunk_steps, steps.cycle
  )
  chunks = compile_chunks(run, steps, lengths, state, pools)
  pool_of_chunk = chunk_pools(chunks, state, pool)
  seen = exposure.init_exposure(len(run.seeds), pool.label.shape[0])
  done = 0
  for length in lengths:
    state, metrics = chunks.program(
      state, jnp.int32(length), next(pool_of_chunk), pools["probe"]
    )
    metrics = jax.device_get(metrics)
    metrics = jax.tree.map(lambda x, n=length: x[:, :n], metrics)
    seen = exposure.add(seen, metrics, done, run.on_nonfinite, run.name)
    done += length
    yield TrainedChunk(done, state, metrics, seen)


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
  """Adds the options of every command."""
  parser.add_argument(
    "--config", required=True, metavar="FILE", help="as for alcurr.main"
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
  args: argparse.Namespace, options: Sequence[str], resumes: str | None = None
) -> ConfigDict:
  """Loads and checks the config of one sampler; nothing is written.

  Args:
    args: with the arguments of `add_arguments`.
    options: `--config.field=value`.
    resumes: a file; if it is in the folder, that need not be empty.

  Returns:
    The config with this sampler alone; its `run` fields replace the shared.

  Raises:
    UserError: a mistake in the arguments, or a folder that cannot be used.
  """
  config = loader.load_with(args.config, options)
  build.build_experiment(config)
  name = args.sampler or config.baseline
  specs.check_choice("--sampler", name, config.samplers)
  paths.check_can_make(args.out, "--out")
  names = {p.name for p in args.out.iterdir()} if args.out.exists() else set()
  if names - {lock.NAME} and resumes not in names:
    text = f"expected an empty folder, {args.out} holds files"
    raise UserError("exists", "--out", text)
  config = build.run_config(config, name)
  sampler = {k: v for k, v in config.samplers[name].items() if k != "run"}
  with config.unlocked():
    config.samplers = ConfigDict({name: sampler})
    config.baseline = name
    config.budget_basis = "examples"
  return config


def prepare(
  config: ConfigDict, out: pathlib.Path, max_valid: int
) -> tuple[RunSpec, dict[str, Pool]]:
  """Makes the run of a config with one sampler, and its pools on the device.

  Args:
    config: has one sampler.
    out: the output folder, which is made; `cache` next to it is reused.
    max_valid: most examples of the valid pool.
  """
  cache_dir = build.cache_dir(config, out)
  context = setup.load_context(build.build_experiment(config), cache_dir)
  setup.check_fit(context, setup.host_pools(context))
  out.mkdir(parents=True, exist_ok=True)
  pools, _ = experiment_runner.make_pools(context, out / "difficulty")
  run = setup.make_run(context, config.baseline, pools)
  valid = sources.first_by_key(context.parts["valid"], max_valid)
  return run, pools | {"valid": make_pool(valid)}


def write(
  folder: pathlib.Path, stem: str, table: pd.DataFrame, figure: Figure
) -> None:
  """Writes a table and its plot as `<stem>.csv` and `<stem>.png`."""
  tables.write_csv(folder / f"{stem}.csv", table)
  files.write_file(
    folder / f"{stem}.png", lambda file: figure.savefig(file, format="png")
  )
