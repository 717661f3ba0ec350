"""python -m alcurr.experiments.tune grid --config=FILE FIELD=VALUE,... [...]

Trains every combination of some fields' values, in all trials of the config,
and evaluates it on the valid pool at the end. The learning rates are trials of
one program, compiled once; the values of other fields are runs of their own.
`budget` applies to each. If batch sizes differ, the noise scale of each run is
measured as well, see `noise_scale`.
"""

import argparse
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.experiments import progress
from alcurr.experiments.config import build, loader, plain
from alcurr.experiments.tune import noise_scale, trials
from alcurr.experiments.tune.trials import RATE
from alcurr.training import evaluation, exposure, optimizers
from alcurr.training.run import RunSpec, init_trials, score_pool
from alcurr.types import Pool

ARGUMENTS = {
  "fields": {
    "metavar": "FIELD=VALUE,...",
    "nargs": "+",
    "help": f"such as {RATE}=1e-3,3e-3 or batch_size=32,64",
  }
}
_MAX_VALID = 10_000  # examples that are evaluated
# The same for every combination.
_FIXED = ("seed", "trials", "baseline", "cache_dir", "samplers")


def parse_fields(
  config: ConfigDict, texts: Sequence[str]
) -> dict[str, list[Any]]:
  """Parses the values of each field, such as `batch_size=32,64`.

  Commas within parentheses belong to a value.

  Raises:
    UserError: another form, an unknown field, or a value of another type.
  """
  fields: dict[str, list[Any]] = {}
  for text in texts:
    field, equals, values = text.partition("=")
    if not equals or field in fields:
      problem = f"expected each once, such as {RATE}=1e-3,3e-3, got {text!r}"
      raise UserError("syntax", field, problem)
    if field.split(".")[0] in _FIXED:
      problem = f"is not tuned; set it by --config.{field}"
      raise UserError("unsupported", field, problem)
    fields[field] = [
      loader.value_of(config, field, value.strip())
      for value in re.split(r",(?![^(]*\))", values)
    ]
    if len(set(fields[field])) < len(fields[field]):
      problem = f"expected different values, got {values!r}"
      raise UserError("conflict", field, problem)
  return fields


def combinations(fields: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
  """Returns every choice of a value for each field, the last field fastest."""
  return [
    dict(zip(fields, values, strict=True))
    for values in itertools.product(*fields.values())
  ]


def run_rates(
  run: RunSpec,
  optimizer: Mapping[str, Any],
  rates: Sequence[float],
  pools: Mapping[str, Pool],
  norms: list[tuple[int, np.ndarray]] | None = None,
) -> tuple[evaluation.Scores, np.ndarray]:
  """Trains all S trials of a run at each of R learning rates, as the peaks.

  `optimizer` is the config's, and replaces that of the run. `norms` receives
  those of `noise_scale.measure`, of R x S trials, if not None.

  Returns:
    The scores on the pool "valid" at the end, [R, S, N], and the step at which
    each trial diverged, [R, S], or 0.
  """
  # The rates [T] of a trial's schedule are a hyperparameter in its optimizer
  # state, so trials of different rates are one program.
  make_optimizer = optax.inject_hyperparams(
    lambda rate: optimizers.with_rate(optimizer, lambda count: rate[count]),
    hyperparam_dtype=jnp.float32,
  )
  sweep = run._replace(
    tx=make_optimizer(rate=jnp.zeros(run.num_steps, jnp.float32)),
    seeds=run.seeds * len(rates),
  )
  schedules, count = [], jnp.arange(run.num_steps, dtype=jnp.int32)
  for peak in rates:
    config = {**optimizer, "learning_rate": peak}
    schedule = optimizers.learning_rate(config, run.num_steps)
    schedules.append(jnp.float32(jax.vmap(schedule)(count)))
  rate = jnp.repeat(jnp.stack(schedules), len(run.seeds), axis=0)
  state = init_trials(sweep, pools["train"])
  opt_state = state.opt_state._replace(hyperparams={"rate": rate})
  state = state._replace(opt_state=opt_state)
  with progress.progress_bar(sweep) as show:
    for chunk in trials.train_chunks(sweep, pools, state):
      loss = chunk.metrics.loss
      last = loss[exposure.active_trials(chunk.exposure), -1]
      text = f"lowest loss {last.min():.3f}" if len(last) else "all diverged"
      show(loss.size * run.batch_size, text)
      if norms is not None:
        norms += noise_scale.measure(sweep, pools["train"], chunk)
  scores = score_pool(sweep, chunk.state, pools["valid"])
  shape = (len(rates), len(run.seeds))
  by_rate = jax.tree.map(lambda x: np.reshape(x, (*shape, -1)), scores)
  return by_rate, chunk.exposure.diverged_step.reshape(shape)


def try_rates(
  config: ConfigDict,
  name: str,
  rates: Sequence[float],
  out: pathlib.Path,
  norms: list[tuple[int, np.ndarray]] | None = None,
) -> list[dict[str, float]]:
  """Returns the results of a config at each of R learning rates.

  `name` is for the log, `out` the output folder; for `norms` see `run_rates`.
  """
  logging.info("%s: %d learning rates.", name, len(rates))
  run, pools = trials.prepare(config, out, _MAX_VALID)
  run = run._replace(name=name)
  scores, diverged = run_rates(run, config.optimizer, rates, pools, norms)
  return [
    {"steps": run.num_steps, **trials.summarize(*of_rate)}
    for of_rate in zip(scores.rank, scores.loss, diverged, strict=True)
  ]


def run(config: ConfigDict, args: argparse.Namespace) -> str:
  """Runs every combination of some fields' values, and compares them.

  Table and plot grow with it.
  """
  fields = parse_fields(config, args.fields)
  names, rates = (
    list(fields),
    fields.get(RATE, [config.optimizer.learning_rate]),
  )
  settings = combinations({f: v for f, v in fields.items() if f != RATE})
  for setting, rate in itertools.product(settings, rates):
    build.build_experiment(plain.merge(config, setting | {RATE: rate}))
  rows, noise_rows = [], []
  measures_noise = len(fields.get("batch_size", [])) > 1
  for setting in settings:
    variant = plain.merge(config, setting)
    norms = [] if measures_noise else None
    name = ", ".join(f"{f}={v}" for f, v in setting.items()) or config.baseline
    new = try_rates(variant, name, rates, args.out, norms)
    for rate, row in zip(rates, new, strict=True):
      values = setting | {RATE: rate}
      rows.append({field: values[field] for field in names} | row)
    table = pd.DataFrame(rows)
    trials.write(args.out, "grid", table, trials.plot(table, names))
    # The noise at the best rate; others may diverge.
    best = int(np.argmax([np.nan_to_num(row["top1"], nan=-1) for row in new]))
    for step, values in norms or ():
      at_best = values.reshape(len(rates), -1, 2)[best]
      noise_rows.append(
        {**setting, RATE: rates[best], "step": step}
        | {"examples": step * variant.batch_size}
        | noise_scale.read(at_best, variant.batch_size)
      )
    if measures_noise:
      noise = pd.DataFrame(noise_rows)
      figure = noise_scale.plot(noise, list(setting))
      trials.write(args.out, "noise_scale", noise, figure)
  text = trials.render(table, names)
  if trials.is_at_end(table, names):
    text += "\nIts rate is at an end of the range: try rates beyond it."
  return f"{text}\n{noise_scale.render(noise)}" if measures_noise else text
