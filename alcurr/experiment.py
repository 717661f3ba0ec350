"""Samplers x trials of one config: check, prepare, run, report.

What can be checked is checked before anything is built; what is finished is
on disk before the next run begins.
"""

import contextlib
import hashlib
import io
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from absl import logging
from ml_collections import ConfigDict
from tqdm.auto import tqdm

from alcurr import evaluate, settings, specs, train, writer
from alcurr.data import cache, sources
from alcurr.data.pool import Dataset, make_pool
from alcurr.difficulty import arms, scores
from alcurr.optimizers import get_optimizer
from alcurr.report import figures, tables
from alcurr.types import Array, Batch, Model, Pool


class Job(NamedTuple):
  """What the runs of an experiment share."""

  parts: dict[str, Dataset]  # "train", "valid", "test"
  gather: Callable[[Pool, Array], Batch]
  model: Model
  score: train.Score
  trials_by: str


def run(config: ConfigDict, workdir: pathlib.Path) -> pd.DataFrame:
  """Runs an experiment, or what is left of it, and reports it.

  Args:
    config: see configs/default.py.
    workdir: the experiment's own folder, made if need be.

  Returns:
    The summary, a row per sampler.

  Raises:
    UserError: a mistake in the config, the data or the workdir.
  """
  settings.check(config)
  writer.check_workdir(workdir, config)
  cache_dir = pathlib.Path(config.cache_dir or workdir.parent / "cache")
  job = make_job(config, cache_dir)
  check_fit(config, job)
  pools, scoring_seconds = make_pools(config, job, cache_dir)
  writer.write_json(workdir / "config.json", config.to_dict())
  for name in config.samplers:
    folder = workdir / "runs" / name
    if (folder / "result.json").exists():
      logging.info("%s: finished before, kept.", name)
    else:
      run_sampler(config, job, name, pools, scoring_seconds, folder)
  summary = tables.write_tables(workdir, config.baseline)
  figures.write_figures(workdir)
  return summary


def make_job(config: ConfigDict, cache_dir: pathlib.Path) -> Job:
  """Loads the data and builds what all runs share."""
  parts, gather = sources.load(config.data, cache_dir)
  one = jax.eval_shape(
    gather, make_pool(parts["valid"]), jax.ShapeDtypeStruct((1,), np.int32)
  )
  num_classes = len(parts["train"].class_names)
  model = settings.make_model(config, one.image.shape[1:], num_classes)
  trials_by = config.trials_by
  if trials_by == "auto":
    trials_by = train.fastest_trials_by()
  logging.info(
    "%s of %d classes; device: %s; trials by %s.",
    ", ".join(f"{len(part.label)} {name}" for name, part in parts.items()),
    num_classes,
    jax.devices()[0].device_kind,
    trials_by,
  )
  score = train.make_score(model, gather, config.eval_batch_size, trials_by)
  return Job(parts, gather, model, score, trials_by)


def _partitions(config: ConfigDict) -> set[str]:
  """The names of the partitions that this experiment's samplers read."""
  samplers = (
    settings.make_sampler(config, name, steps=1) for name in config.samplers
  )
  return {partition for sampler in samplers for partition in sampler.needs}


def check_fit(config: ConfigDict, job: Job) -> None:
  """Refuses numbers that do not fit the data, before anything is trained."""
  part = job.parts["train"]
  needed, num_arms = _partitions(config), config.difficulty.num_arms
  if needed - arms.UNSCORED:
    budget = config.difficulty.budget
    settings.num_steps(budget, config.batch_size, len(part.label))
  if "difficulty" in needed:
    with specs.mistakes_in("difficulty"):
      arms.check_num_arms(part.label, num_arms, part.class_names)
  # The arms' sizes depend on the labels alone, so zeros stand for scores.
  zeros = np.zeros(len(part.label), np.float32)
  pool = make_pool(part, zeros, _make_arms(part, zeros, needed, num_arms))
  for name in config.samplers:
    batch_size = settings.batch_size(config, name)
    settings.num_steps(config.budget, batch_size, len(part.label))
    with specs.mistakes_in(f"samplers.{name}"):
      settings.make_sampler(config, name, steps=1).init(jax.random.key(0), pool)


def _make_arms(part: Dataset, difficulty: np.ndarray, names, num_arms: int):
  return {
    name: arms.ARMS[name](part.label, difficulty, num_arms) for name in names
  }


def make_pools(
  config: ConfigDict, job: Job, cache_dir: pathlib.Path
) -> tuple[dict[str, Pool], float]:
  """Scores the pools if any sampler asks for it, and puts them on the device.

  Returns:
    The pools by name, and the seconds that scoring took (when it was done).
  """
  needed = _partitions(config)
  loss: dict[str, np.ndarray] = {}
  seconds = 0.0
  if needed - arms.UNSCORED:
    loss, seconds = get_difficulty(config, job, cache_dir)
  pools = {}
  for name, part in job.parts.items():
    difficulty = loss.get(name, np.zeros(len(part.label), np.float32))
    partition = _make_arms(part, difficulty, needed, config.difficulty.num_arms)
    pools[name] = make_pool(part, difficulty, partition)
  return pools, seconds


def get_difficulty(
  config: ConfigDict, job: Job, cache_dir: pathlib.Path
) -> scores.Difficulty:
  """The scores of this data by this reference model, from disk if there."""
  content = hashlib.blake2b()
  for part in job.parts.values():
    content.update(part.label.tobytes() + part.key.tobytes())
  fields = ("model", "optimizer", "difficulty", "data", "batch_size")
  request = {field: config.to_dict()[field] for field in fields}
  # The number of arms is not part of the scores, nor where the files lay.
  del request["difficulty"]["num_arms"], request["data"]["dir"]
  request |= {"examples": content.hexdigest(), "version": 1}
  folder = cache_dir / f"difficulty-{cache.digest(request)}"
  if found := cache.read_arrays(folder):
    loss, manifest = found
    logging.info("Difficulty scores from %s.", folder)
    return scores.Difficulty(loss, manifest["seconds"])
  pools = {name: make_pool(part) for name, part in job.parts.items()}
  reference = config.copy_and_resolve_references()
  reference.samplers = {"reference": {"name": "uniform"}}
  reference.budget = config.difficulty.budget
  this = make_run(reference, job, "reference", (config.difficulty.seed,))
  with progress_bar("difficulty", this) as progress:
    difficulty = scores.reference_loss(this, pools, progress)
  manifest = {"request": request, "seconds": difficulty.seconds}
  cache.write_arrays(folder, difficulty.loss, manifest)
  return difficulty


def make_run(
  config: ConfigDict, job: Job, name: str, seeds: tuple[int, ...]
) -> train.Run:
  """The run of one of the config's samplers."""
  batch_size = settings.batch_size(config, name)
  steps = settings.num_steps(
    config.budget, batch_size, len(job.parts["train"].label)
  )
  return train.Run(
    sampler=settings.make_sampler(config, name, steps),
    model=job.model,
    tx=get_optimizer(config.optimizer, steps),
    gather=job.gather,
    num_steps=steps,
    batch_size=batch_size,
    seeds=seeds,
    trials_by=job.trials_by,
    evaluations=config.evaluations,
    chunk_steps=config.chunk_steps,
    score=job.score,
  )


@contextlib.contextmanager
def progress_bar(
  name: str, this: train.Run
) -> Iterator[Callable[[int, str], None]]:
  """A bar with rate and time left; a line each tenth where no one watches."""
  total = this.num_steps * this.batch_size * len(this.seeds)
  terminal = sys.stderr.isatty()
  with tqdm(
    total=total,
    desc=name,
    unit=" examples",
    unit_scale=True,
    # Without a terminal the bar counts and its text goes to the log.
    file=None if terminal else io.StringIO(),
  ) as bar:

    def progress(examples: int, text: str) -> None:
      tenth = 10 * bar.n // total
      bar.set_postfix_str(text, refresh=False)
      bar.update(examples)
      if not terminal and 10 * bar.n // total > tenth:
        logging.info("%s", bar)

    yield progress


def run_sampler(
  config: ConfigDict,
  job: Job,
  name: str,
  pools: Mapping[str, Pool],
  scoring_seconds: float,
  folder: pathlib.Path,
) -> None:
  """Trains all trials of a sampler and leaves the run's files in a folder."""
  this = make_run(config, job, name, settings.seeds(config))
  with (
    writer.json_lines(folder / "metrics.jsonl") as write,
    progress_bar(name, this) as progress,
  ):
    result = train.train(this, pools, write, progress)
  test = jax.device_get(this.score(result.state, pools["test"]))
  writer.write_file(
    folder / "test.npz",
    lambda file: np.savez_compressed(file, rank=test.rank, loss=test.loss),
  )
  trials = [
    evaluate.report(evaluate.Scores(rank, loss), pools["test"])
    for rank, loss in zip(test.rank, test.loss, strict=True)
  ]
  scored = set(this.sampler.needs) - arms.UNSCORED
  writer.write_json(
    folder / "result.json",
    {
      "sampler": name,
      "batch_size": this.batch_size,
      "steps": this.num_steps,
      "examples_seen": this.num_steps * this.batch_size,
      "train_seconds": result.train_seconds,
      "compile_seconds": result.compile_seconds,
      "scoring_seconds": scoring_seconds if scored else 0.0,
      "flops_per_step": result.flops_per_step,
      "trials": trials,
      "environment": writer.environment(),
    },
  )
  logging.info(
    "%s: top-1 %.4f, %.1f s a trial, %.1f s to compile.",
    name,
    np.mean([trial["top1"] for trial in trials]),
    result.train_seconds,
    result.compile_seconds,
  )
