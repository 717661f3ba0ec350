"""Shared by the commands: the trials of one sampler, and their results.

No checkpoints, metrics or reports are written.
"""

import argparse
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core import files, lock, paths, specs
from alcurr.core.errors import UserError
from alcurr.data import splitting
from alcurr.data.pool import make_pool
from alcurr.experiments import charges, experiment_runner, setup
from alcurr.experiments.config import build, loader
from alcurr.experiments.config.plain import to_config
from alcurr.experiments.pools import host_pools
from alcurr.report import bootstrap, tables
from alcurr.report.style import plain, styles
from alcurr.training import exposure, prefetch, step
from alcurr.training.run import RunSpec, compile_chunks
from alcurr.types import Pool, TrainState

RATE = "optimizer.learning_rate"
# What the commands write.
_STEMS = ("range", "grid", "noise_scale", "search")
_FILES = {f"{s}.{e}" for s in _STEMS for e in ("csv", "png")}

# The folder of a checkpoint, perhaps of one that was not finished.
_CHECKPOINT = re.compile(r"\d+(\.orbax-checkpoint-tmp.*)?")


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

  The state [S], at step 0, is donated. The pools are "train", and "probe" for
  the signals of the sampler.

  Raises:
    FaultError: an invariant was violated.
  """
  pool, chunks = pools["train"], compile_chunks(run, state, pools)
  pool_of_chunk = prefetch.chunk_pools(
    chunks.prefetch, state, chunks.lengths, pool
  )
  seen = exposure.init_exposure(len(run.seeds), pool.label.shape[0])
  done = 0
  for length in chunks.lengths:
    state, metrics = chunks.program(
      state, jnp.int32(length), next(pool_of_chunk), pools["probe"]
    )
    metrics = jax.device_get(metrics)
    metrics = jax.tree.map(lambda x, n=length: x[:, :n], metrics)
    seen = exposure.add(seen, metrics, done, run)
    done += length
    yield TrainedChunk(done, state, metrics, seen)


def load_config(args: argparse.Namespace, options: Sequence[str]) -> ConfigDict:
  """Loads the config of one sampler, whose `run` fields replace the shared.

  Nothing is written. `args` are of the command line. The folder `args.out` may
  hold results only if it has the file `args.resumes`.

  Raises:
    UserError: a mistake in the arguments, or a folder that cannot be used.
  """
  config = loader.load(args.config, options)
  build.build_experiment(config)
  name = args.sampler or config.baseline
  specs.check_choice("--sampler", name, config.samplers)
  paths.check_can_make(args.out, "--out")
  paths.check_can_checkpoint(args.out, "--out")
  taken = [p for p in args.out.glob("*") if p.name in (*_FILES, args.resumes)]
  resumes = args.resumes in [p.name for p in taken if not p.is_symlink()]
  # Checkpoints scores/<score>/<number>/<step> of a killed command resume.
  for depth in range(4):
    for path in args.out.glob("/".join(["scores", *"*" * depth])):
      is_own = depth < 2 or _CHECKPOINT.fullmatch(path.name)
      if path.is_symlink() or not (is_own and path.is_dir()):
        taken, resumes = [path], False
  if taken and not resumes:
    raise UserError("exists", "--out", f"{taken[0]} is not overwritten")
  config = build.run_config(config, name)
  sampler = {k: v for k, v in config.samplers[name].items() if k != "run"}
  with config.unlocked():
    config.samplers = to_config({name: sampler})
    config.update(baseline=name, budget_basis="examples")
  return config


def prepare(
  config: ConfigDict, out: pathlib.Path, max_valid: int
) -> tuple[RunSpec, dict[str, Pool]]:
  """Makes the run of a config with one sampler, and its pools on the device.

  The output folder is made, and `cache` next to it reused. The valid pool has
  at most `max_valid` examples.
  """
  cache_dir = build.cache_dir(config, out)
  context = setup.load_context(build.build_experiment(config), cache_dir)
  setup.check_fit(context, host_pools(context))
  # One of several processes makes the scores.
  with lock.locked(out, "--out", wait=True):
    pools, _ = experiment_runner.make_pools(context, out / "scores")
  out.mkdir(parents=True, exist_ok=True)
  run = charges.make_run(context, config.baseline, pools)
  valid = splitting.first_by_key(context.parts["valid"], max_valid)
  return run, pools | {"valid": make_pool(valid)}


def write(
  folder: pathlib.Path, stem: str, table: pd.DataFrame, figure: Figure
) -> None:
  """Writes a table and its plot as `<stem>.csv` and `<stem>.png`."""
  tables.write_csv(folder / f"{stem}.csv", table)
  files.write_file(
    folder / f"{stem}.png", lambda file: figure.savefig(file, format="png")
  )


def summarize(
  rank: np.ndarray, loss: np.ndarray, diverged_step: np.ndarray
) -> dict[str, float]:
  """Returns means with 95 % intervals, see `bootstrap.paired_bootstrap`.

  Rank and loss [S, N] are `evaluation.Scores` of one setting. `diverged_step`
  [S] is 0 for a trial that did not diverge.
  """
  diverged = diverged_step > 0
  row = {"trials": (~diverged).sum(), "trials_diverged": diverged.sum()}
  map3 = np.where(rank < 3, 1 / (rank + 1), 0)
  for metric, values in {"top1": rank < 1, "map3": map3, "loss": loss}.items():
    values = np.where(diverged[:, None], np.nan, values.astype(np.float64))
    names = (metric, f"{metric}_low", f"{metric}_high")
    row |= zip(names, bootstrap.paired_bootstrap(values), strict=True)
  return row


def lines(
  table: pd.DataFrame, fields: Sequence[str]
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
  """Yields the rows of each setting of some fields, and the look of its line.

  The look is a dict of arguments for matplotlib.
  """
  groups = table.groupby(list(fields), sort=False) if fields else [((), table)]
  parts = {
    ", ".join(f"{f}={v}" for f, v in zip(fields, values, strict=True)): part
    for values, part in groups
  }
  for name, style in styles(parts).items():
    look = {"color": style.color, "linestyle": style.line, "marker": "."}
    yield parts[name], look | {"label": plain(name)}


def plot(table: pd.DataFrame, fields: Sequence[str]) -> Figure:
  """Draws top-1 against the rate, or the first field without one."""
  is_rate = RATE in fields
  axis_field = RATE if is_rate else fields[0]
  others = [field for field in fields if field != axis_field]
  figure = Figure(figsize=(8, 5), layout="constrained")
  axis = figure.subplots()
  for part, look in lines(table, others):
    x = part[axis_field] if is_rate else part[axis_field].astype(str)
    mean, low, high = part["top1"], part["top1_low"], part["top1_high"]
    # The interval of a bootstrap need not contain the mean.
    error = np.maximum([mean - low, high - mean], 0)
    axis.errorbar(x, mean, error, capsize=3, **look)
  axis.set(xlabel=axis_field, ylabel="top-1 accuracy on valid, 95 %")
  if is_rate:
    axis.set_xscale("log")
  axis.grid(alpha=0.3)
  if others:
    axis.legend(fontsize="small")
  return figure


def render(table: pd.DataFrame, fields: Sequence[str]) -> str:
  """Returns the table and the best setting, as the options to set it."""
  text = table[list(fields)].copy()
  if table["trials_diverged"].any():
    total = table["trials"] + table["trials_diverged"]
    text["trials"] = table["trials"].astype(str) + " of " + total.astype(str)
  for metric, column, scale, form in (
    ("top1", "top1 %", 100, ".2f"),
    ("map3", "map3 %", 100, ".2f"),
    ("loss", "loss", 1, ".4f"),
  ):
    bounds = table[[metric, f"{metric}_low", f"{metric}_high"]] * scale
    text[column] = [
      "-" if np.isnan(mean) else f"{mean:{form}} [{low:{form}}, {high:{form}}]"
      for mean, low, high in bounds.itertuples(index=False)
    ]
  if not table["trials"].any():
    return f"{text.to_string(index=False)}\n\nAll trials diverged."
  # By column: a row would convert integers to floats.
  best = table["top1"].idxmax()
  options = [f"--config.{field}={table.at[best, field]}" for field in fields]
  return f"{text.to_string(index=False)}\n\nBest top-1: {' '.join(options)}"


def is_at_end(table: pd.DataFrame, fields: Sequence[str]) -> bool:
  """Returns whether the best rate is the lowest or highest of several."""
  if RATE not in fields or not table["trials"].any():
    return False
  ends = {table[RATE].min(), table[RATE].max()}
  return len(ends) > 1 and table.at[table["top1"].idxmax(), RATE] in ends
