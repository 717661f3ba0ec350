"""python -m alcurr.experiments.tune grid --config=FILE FIELD=VALUE,VALUE [FIELD=...] [...]

Every combination of some fields' values, each in all trials of the config and
evaluated on the valid drawings at the end. The learning rates are trials of one
program, compiled once; every other field's values are runs of their own. What
`budget` says holds for each. Where batch sizes differ, the noise scale of each
run is read on its way, see `noise_scale`.
"""

import argparse
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.experiments import sampler_run
from alcurr.experiments.config import build, loader
from alcurr.experiments.tune import noise_scale, rate_sweep, results, trials
from alcurr.experiments.tune.results import RATE
from alcurr.training import evaluation, exposure
from alcurr.training.run import RunSpec, init_trials, score_pool
from alcurr.types import Pool

SIZE = "batch_size"
_VALID = 10_000  # most drawings that are evaluated
# Of these a config has its say, and not a combination.
_FIXED = ("seed", "trials", "baseline", "cache_dir", "samplers")


def parse_fields(
  config: ConfigDict, texts: Sequence[str]
) -> dict[str, list[Any]]:
  """The values of each field: `batch_size=32,64` and the like.

  Commas within brackets belong to a value.

  Raises:
    UserError: not of that form, no such field, or a value of another type.
  """
  found: dict[str, list[Any]] = {}
  for text in texts:
    field, equals, values = text.partition("=")
    if not equals or field in found:
      raise UserError(
        f"{text!r}: write each field once, with its values, such as "
        f"{RATE}=1e-3,3e-3."
      )
    if field.split(".")[0] in _FIXED:
      raise UserError(
        f"{field} is the same for all; set it by --config.{field}."
      )
    found[field] = [
      loader.value_of(config, field, value.strip())
      for value in re.split(r",(?![^(]*\))", values)
    ]
    if len(set(found[field])) < len(found[field]):
      raise UserError(f"{text!r}: a value comes twice; write each once.")
  return found


def combinations(fields: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
  """Every choice of a value for each field, the last field fastest."""
  return [
    dict(zip(fields, values, strict=True))
    for values in itertools.product(*fields.values())
  ]


def run_rates(
  run: RunSpec,
  optimizer: Mapping[str, Any],
  rates: Sequence[float],
  pools: Mapping[str, Pool],
  norms: list[noise_scale.Norms] | None = None,
) -> tuple[evaluation.Scores, np.ndarray]:
  """All trials of a run at each of some learning rates, in one program.

  Args:
    run: of S trials; its optimiser is not looked at.
    optimizer: `config.optimizer`.
    rates: [R], the peaks of the schedule.
    pools: "train", "probe" and "valid".
    norms: grows by those of the gradients on the way, of R x S trials; None
      if they are not asked for.

  Returns:
    The scores of the valid drawings at the end, [R, S, N], and the step at
    which each trial went wrong, [R, S], 0 for none.
  """
  every = run._replace(
    tx=rate_sweep.make_optimizer(optimizer, run.num_steps),
    seeds=run.seeds * len(rates),
  )
  peaks = [rate for rate in rates for _ in run.seeds]
  state = init_trials(every, pools["train"])
  state = rate_sweep.at_rates(optimizer, state, peaks)
  look = None
  if norms is not None:
    look = noise_scale.make_gauge(every, pools["train"], norms)
  with sampler_run.progress_bar(run.name, every) as progress:
    before = 0
    for stretch in trials.follow(every, pools, state):
      steps, before = stretch.done - before, stretch.done
      loss = stretch.metrics.loss[exposure.active_trials(stretch.exposure), -1]
      text = f"loss {loss.min():.3f} at best" if len(loss) else "all went wrong"
      progress(steps * run.batch_size * len(peaks), text)
      if look:
        look(stretch)
  scores = score_pool(every, stretch.state, pools["valid"])
  shape = (len(rates), len(run.seeds))
  by_rate = evaluation.Scores(
    *(np.asarray(x).reshape(*shape, -1) for x in scores)
  )
  return by_rate, stretch.exposure.diverged_step.reshape(shape)


def add_command(commands) -> None:
  parser = commands.add_parser(
    "grid",
    help="every combination of some fields' values",
    description="Runs every combination of some fields' values, all learning "
    "rates in one program, and compares them on the valid drawings.",
  )
  trials.add_arguments(parser, "runs/tune_grid")
  parser.add_argument(
    "fields",
    metavar="FIELD=VALUE,...",
    nargs="+",
    help=f"such as {RATE}=1e-3,3e-3 or batch_size=32,64",
  )
  parser.set_defaults(run=search)


def try_rates(
  config: ConfigDict,
  name: str,
  rates: Sequence[float],
  out: pathlib.Path,
  norms: list[noise_scale.Norms] | None = None,
) -> list[dict[str, float]]:
  """Runs a config of one sampler at each of some rates: a row for each.

  Args:
    config: of `trials.load_config`; its rate is not looked at.
    name: of the run, for the progress bar.
    rates: of learning.
    out: where the command writes.
    norms: as of `run_rates`.
  """
  logging.info("%s: %d learning rates.", name, len(rates))
  job, pools = trials.load_data(config, out)
  run = sampler_run.make_run(job, config.baseline, pools)._replace(name=name)
  pools["valid"] = trials.some_valid(job, _VALID)
  scores, wrong = run_rates(run, config.optimizer, rates, pools, norms)
  return [
    {"steps": run.num_steps}
    | results.summarize(
      evaluation.Scores(scores.rank[i], scores.loss[i]), wrong[i]
    )
    for i in range(len(rates))
  ]


def name_of(config: ConfigDict, values: Mapping[str, Any]) -> str:
  """A run's, for logs: what it differs in."""
  return ", ".join(f"{f}={v}" for f, v in values.items()) or config.baseline


def search(args: argparse.Namespace, options: Sequence[str]) -> None:
  """Runs the grid of some arguments; table and plot grow with it."""
  config = trials.load_config(args, options)
  fields = parse_fields(config, args.fields)
  rates = fields.get(RATE, [config.optimizer.learning_rate])
  others = combinations({f: v for f, v in fields.items() if f != RATE})
  changed = [build.changed(config, values) for values in others]
  for one, rate in itertools.product(changed, rates):
    build.build_experiment(build.changed(one, {RATE: rate}))
  rows, noises = [], []
  gauged = len(fields.get(SIZE, [])) > 1
  for one, values in zip(changed, others, strict=True):
    norms = [] if gauged else None
    found = try_rates(one, name_of(one, values), rates, args.out, norms)
    each = [{**values, RATE: rate} for rate in rates]
    rows += [
      {field: mine[field] for field in fields} | row
      for mine, row in zip(each, found, strict=True)
    ]
    table = pd.DataFrame(rows)
    trials.write(args.out, "grid", table, results.plot(table, list(fields)))
    if gauged:
      noises += _of_the_best(values, one.batch_size, rates, found, norms)
      scales = pd.DataFrame(noises)
      figure = noise_scale.plot(scales, [f for f in fields if f != RATE])
      trials.write(args.out, "noise_scale", scales, figure)
  print(results.render(table, list(fields)))
  if gauged:
    print(noise_scale.render(scales))
  print(f"\nTable and plot: {args.out}")


def _of_the_best(
  values: Mapping[str, Any],
  batch_size: int,
  rates: Sequence[float],
  found: Sequence[Mapping[str, float]],
  norms: Sequence[noise_scale.Norms],
) -> list[dict[str, Any]]:
  """The noise of a run at its best rate: rates too high have another."""
  best = int(np.argmax([np.nan_to_num(row["top1"], nan=-1) for row in found]))

  def of_best(every: np.ndarray) -> np.ndarray:
    return every.reshape(len(found), -1)[best]

  mine = [
    noise_scale.Norms(at.step, of_best(at.of_mean), of_best(at.mean))
    for at in norms
  ]
  return noise_scale.rows({**values, RATE: rates[best]}, batch_size, mine)
