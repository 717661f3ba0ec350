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
from alcurr.experiments import sampler_run
from alcurr.experiments.config import build, loader
from alcurr.experiments.tune import noise_scale, results, trials
from alcurr.experiments.tune.results import RATE
from alcurr.training import evaluation, exposure, optimizers
from alcurr.training.run import RunSpec, init_trials, score_pool
from alcurr.types import Pool, TrainState

_SIZE = "batch_size"
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


def _at_rates(
  run: RunSpec, optimizer: Mapping[str, Any], rates: Sequence[float], pool: Pool
) -> tuple[RunSpec, TrainState]:
  """Returns a run of R x S trials, a rate after the other, and its state.

  The rates [T] of a trial's schedule are a hyperparameter in its optimizer
  state, so trials of different rates are one program.
  """
  make_optimizer = optax.inject_hyperparams(
    lambda rate: optimizers.with_rate(optimizer, lambda count: rate[count]),
    hyperparam_dtype=jnp.float32,
  )
  sweep = run._replace(
    tx=make_optimizer(rate=jnp.zeros(run.num_steps, jnp.float32)),
    seeds=run.seeds * len(rates),
  )
  schedules = [
    optimizers.learning_rate(
      {**optimizer, "learning_rate": peak}, run.num_steps
    )
    for peak in rates
  ]
  count = jnp.arange(run.num_steps, dtype=jnp.int32)
  rows = [jnp.float32(jax.vmap(schedule)(count)) for schedule in schedules]
  state = init_trials(sweep, pool)
  opt_state = state.opt_state._replace(
    hyperparams={"rate": jnp.repeat(jnp.stack(rows), len(run.seeds), axis=0)}
  )
  return sweep, state._replace(opt_state=opt_state)


def run_rates(
  run: RunSpec,
  optimizer: Mapping[str, Any],
  rates: Sequence[float],
  pools: Mapping[str, Pool],
  norms: list[noise_scale.Norms] | None = None,
) -> tuple[evaluation.Scores, np.ndarray]:
  """Trains all trials of a run at each of some learning rates.

  Args:
    run: of S trials; its optimizer is replaced.
    optimizer: `config.optimizer`.
    rates: [R], the peaks of the schedule.
    pools: "train", "probe" and "valid".
    norms: receives the norms of the gradients, of R x S trials, if not None.

  Returns:
    The scores on the valid pool at the end, [R, S, N], and the step at which
    each trial diverged, [R, S], or 0.
  """
  sweep, state = _at_rates(run, optimizer, rates, pools["train"])
  gauge = None
  if norms is not None:
    gauge = noise_scale.make_gauge(sweep, pools["train"], norms)
  with sampler_run.progress_bar(sweep) as progress:
    done = 0
    for chunk in trials.train_chunks(sweep, pools, state):
      loss = chunk.metrics.loss[exposure.active_trials(chunk.exposure), -1]
      text = f"lowest loss {loss.min():.3f}" if len(loss) else "all diverged"
      steps, done = chunk.done - done, chunk.done
      progress(steps * run.batch_size * len(sweep.seeds), text)
      if gauge:
        gauge(chunk)
  scores = score_pool(sweep, chunk.state, pools["valid"])
  shape = (len(rates), len(run.seeds))
  by_rate = jax.tree.map(lambda x: np.reshape(x, (*shape, -1)), scores)
  return by_rate, chunk.exposure.diverged_step.reshape(shape)


def try_rates(
  config: ConfigDict,
  name: str,
  rates: Sequence[float],
  out: pathlib.Path,
  norms: list[noise_scale.Norms] | None = None,
) -> list[dict[str, float]]:
  """Returns the results of a config at each of some learning rates.

  Args:
    config: of one sampler; its learning rate is replaced.
    name: for the log.
    rates: [R].
    out: the output folder.
    norms: see `run_rates`.
  """
  logging.info("%s: %d learning rates.", name, len(rates))
  run, pools = trials.prepare(config, out, _MAX_VALID)
  run = run._replace(name=name)
  scores, diverged = run_rates(run, config.optimizer, rates, pools, norms)
  return [
    {"steps": run.num_steps}
    | results.summarize(jax.tree.map(lambda x, i=i: x[i], scores), diverged[i])
    for i in range(len(rates))
  ]


def add_command(commands) -> None:
  """Adds the command to argparse's subcommands."""
  parser = commands.add_parser(
    "grid",
    help="every combination of some fields' values",
    description="Runs every combination of some fields' values, all learning "
    "rates in one program, and compares them on the valid pool.",
  )
  trials.add_arguments(parser, "runs/tune_grid")
  parser.add_argument(
    "fields",
    metavar="FIELD=VALUE,...",
    nargs="+",
    help=f"such as {RATE}=1e-3,3e-3 or batch_size=32,64",
  )
  parser.set_defaults(run=run_grid)


def run_grid(args: argparse.Namespace, options: Sequence[str]) -> None:
  """Runs a grid; table and plot grow with it."""
  config = trials.load_config(args, options)
  fields = parse_fields(config, args.fields)
  rates = fields.get(RATE, [config.optimizer.learning_rate])
  settings = combinations({f: v for f, v in fields.items() if f != RATE})
  configs = [build.changed(config, values) for values in settings]
  for variant, rate in itertools.product(configs, rates):
    build.build_experiment(build.changed(variant, {RATE: rate}))
  rows, noise_rows = [], []
  measures_noise = len(fields.get(_SIZE, [])) > 1
  for variant, values in zip(configs, settings, strict=True):
    norms = [] if measures_noise else None
    name = ", ".join(f"{f}={v}" for f, v in values.items()) or config.baseline
    new = try_rates(variant, name, rates, args.out, norms)
    for rate, row in zip(rates, new, strict=True):
      setting = values | {RATE: rate}
      rows.append({field: setting[field] for field in fields} | row)
    table = pd.DataFrame(rows)
    trials.write(args.out, "grid", table, results.plot(table, list(fields)))
    if measures_noise:
      noise_rows += _noise_at_best(
        values, variant.batch_size, rates, new, norms
      )
      noise = pd.DataFrame(noise_rows)
      figure = noise_scale.plot(noise, list(settings[0]))
      trials.write(args.out, "noise_scale", noise, figure)
  print(results.render(table, list(fields)))
  if results.is_at_end(table, list(fields)):
    print("Its rate is at an end of the range: try rates beyond it.")
  if measures_noise:
    print(noise_scale.render(noise))
  print(f"\nTable and plot: {args.out}")


def _noise_at_best(
  values: Mapping[str, Any],
  batch_size: int,
  rates: Sequence[float],
  rows: Sequence[Mapping[str, float]],
  norms: Sequence[noise_scale.Norms],
) -> list[dict[str, Any]]:
  """Returns the noise scales at the best rate; others may diverge."""
  best = int(np.argmax([np.nan_to_num(row["top1"], nan=-1) for row in rows]))
  at_best = [
    noise_scale.Norms(
      step, *(np.reshape(x, (len(rates), -1))[best] for x in of_trials)
    )
    for step, *of_trials in norms
  ]
  return noise_scale.rows({**values, RATE: rates[best]}, batch_size, at_best)
