"""python -m alcurr.experiments.tune search --config=FILE FIELD=RANGE [...] [--count 30]

More than a grid: combinations that Optuna's tree-structured Parzen estimator
(Bergstra et al., 2011) proposes from what the ones before came to. Each is run
as `grid` runs it and judged by its mean top-1 on the valid drawings; one whose
trials all go wrong counts as 0.

A range is `1e-4..1e-1`, whole numbers for a field of whole numbers, with `:log`
after it to search in its logarithm; or values with commas. Proposals and what
they came to are kept in `study.db`, an SQLite file of Optuna's: the same
command goes on from there, to the proposals that it would have come to anyway.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core import files, lock
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.experiments.config import build, loader
from alcurr.experiments.tune import grid, results, trials

STUDY = "study.db"


class Range(NamedTuple):
  """What a field may be."""

  values: tuple[Any, ...]  # the two ends, or the choices
  between: bool  # whether all between the ends are
  log: bool = False


def parse_ranges(config: ConfigDict, texts: Sequence[str]) -> dict[str, Range]:
  """The range of each field, in the order given.

  Raises:
    UserError: not of that form, no such field, or a value of another type.
  """
  found: dict[str, Range] = {}
  for text in texts:
    field, _, values = text.partition("=")
    if field in found:
      raise UserError(f"{text!r}: {field} comes twice; write each field once.")
    low, dots, rest = values.partition("..")
    # Of texts, which have no range, dots may be a part.
    known = grid.parse_fields(config, [f"{field}={low}" if dots else text])
    numbers = all(type(v) in (int, float) for v in known[field])
    if dots and numbers:
      high, _, log = rest.partition(":")
      if log not in ("", "log"):
        raise UserError(f"{text!r}: after the range there may be :log alone.")
      ends = (known[field][0], loader.value_of(config, field, high))
      found[field] = Range(ends, between=True, log=bool(log))
      _check_ends(text, found[field])
    else:
      choices = grid.parse_fields(config, [text])[field]
      found[field] = Range(tuple(choices), between=False)
  return found


def _check_ends(text: str, one: Range) -> None:
  low, high = one.values
  if not (np.isfinite(low) and np.isfinite(high) and low < high):
    raise UserError(f"{text!r}: a range rises, such as 1e-4..1e-1.")
  if one.log and low <= 0:
    raise UserError(f"{text!r}: only numbers above 0 have a logarithm.")


def propose(optuna: Any, ranges: Mapping[str, Range]) -> dict[str, Any]:
  """What Optuna is to choose from, by field."""
  kinds = optuna.distributions
  chosen = {}
  for field, one in ranges.items():
    if not one.between:
      chosen[field] = kinds.CategoricalDistribution(one.values)
    elif isinstance(one.values[0], int):
      chosen[field] = kinds.IntDistribution(*one.values, log=one.log)
    else:
      chosen[field] = kinds.FloatDistribution(*one.values, log=one.log)
  return chosen


def plot(table: pd.DataFrame, ranges: Mapping[str, Range]) -> Figure:
  """Top-1 of all combinations, against each field; the later the darker."""
  figure = Figure(figsize=(4 * len(ranges), 4), layout="constrained")
  axes = figure.subplots(1, len(ranges), sharey=True, squeeze=False)[0]
  for axis, (field, one) in zip(axes, ranges.items(), strict=True):
    x = table[field] if one.between else table[field].astype(str)
    axis.scatter(x, table["top1"], c=table["number"], cmap="Blues", ec="0.4")
    axis.set(xlabel=field, xscale="log" if one.log else axis.get_xscale())
    axis.grid(alpha=0.3)
  axes[0].set_ylabel("top-1 accuracy on valid")
  return figure


def add_command(commands) -> None:
  parser = commands.add_parser(
    "search",
    help="combinations from ranges, by what the ones before came to",
    description="Searches ranges of some fields with Optuna, each combination "
    "run as in a grid; the same command goes on where one was stopped.",
  )
  trials.add_arguments(parser, "runs/tune_search")
  parser.add_argument(
    "--count",
    type=int,
    default=30,
    help="combinations in all; default %(default)s",
  )
  parser.add_argument(
    "fields",
    metavar="FIELD=RANGE",
    nargs="+",
    help=f"such as {results.RATE}=1e-4..1e-1:log or batch_size=16,32,64",
  )
  parser.set_defaults(run=search)


def search(args: argparse.Namespace, options: Sequence[str]) -> None:
  """Makes the search of some arguments, or goes on with it."""
  optuna = _import_optuna()
  config = trials.load_config(args, options, goes_on=STUDY)
  ranges = parse_ranges(config, args.fields)
  if args.count < 1:
    raise UserError(f"--count must be at least 1, got {args.count}.")
  for field, one in ranges.items():
    for value in one.values:
      build.build_experiment(build.changed(config, {field: value}))
  with lock.locked(args.out, "--out"):
    study = _open_study(optuna, config, ranges, args.out)
    for number in range(len(_finished(study)), args.count):
      # Of a seed for each, so that a search that goes on is the same.
      study.sampler = optuna.samplers.TPESampler(seed=config.seed + number)
      trial = study.ask(propose(optuna, ranges))
      values = {field: trial.params[field] for field in ranges}
      one = build.changed(config, values)
      rates = [one.optimizer.learning_rate]
      name = f"{number + 1} of {args.count}"
      (row,) = grid.try_rates(one, name, rates, args.out)
      trial.set_user_attr("row", files.plain(row))
      study.tell(trial, float(np.nan_to_num(row["top1"])))
      table = _table(study, ranges)
      trials.write(args.out, "search", table, plot(table, ranges))
    table = _table(study, ranges)
  print(results.in_words(table, list(ranges)))
  print(results.best_options(table, list(ranges)))
  print(f"\nTable and plot: {args.out}")


def _import_optuna() -> Any:
  try:
    import optuna  # of an extra, which not everyone has
  except ImportError as error:
    raise UserError(
      "search needs Optuna; install it with pip install 'alcurr[tune]'."
    ) from error
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  return optuna


def _open_study(
  optuna: Any,
  config: ConfigDict,
  ranges: Mapping[str, Range],
  out: pathlib.Path,
) -> Any:
  """The study of a folder, a new one or that of just this search."""
  request = {
    "config": files.plain(config.to_dict()),
    "ranges": {field: list(one) for field, one in ranges.items()},
  }
  study = optuna.create_study(
    storage=f"sqlite:///{(out / STUDY).absolute()}",
    study_name="search",
    direction="maximize",
    load_if_exists=True,
  )
  mine = cache.digest(request)
  if study.user_attrs.setdefault("request", mine) != mine:
    raise UserError(
      f"{out} holds a search of other settings; name another --out."
    )
  study.set_user_attr("request", mine)
  # Of a process that was stopped: it is proposed again.
  for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
  return study


def _finished(study: Any) -> list[Any]:
  return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _table(study: Any, ranges: Mapping[str, Range]) -> pd.DataFrame:
  """A row for each combination that was run, in their order."""
  rows = [
    {"number": number}
    | {field: trial.params[field] for field in ranges}
    | trial.user_attrs["row"]
    for number, trial in enumerate(_finished(study), start=1)
  ]
  table = pd.DataFrame(rows)
  # JSON has no word for NaN.
  numbers = [name for name in table if name not in ranges]
  table[numbers] = table[numbers].apply(pd.to_numeric)
  return table
