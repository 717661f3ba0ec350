"""python -m alcurr.experiments.tune search --config=FILE FIELD=RANGE [...]

Searches ranges for combinations that the tree-structured Parzen estimator of
Optuna proposes from the results so far (Bergstra et al., 2011, "Algorithms for
Hyper-Parameter Optimization"). Each is run as by `grid` and judged by its mean
top-1 on the valid pool; it counts as 0 if all trials diverge.

A range is `1e-4..1e-1`, of integers for a field of integers, with `:log` after
it for a log scale; or values with commas. Proposals and results are saved in
`study.db`, an SQLite file of Optuna. Rerunning the command resumes the search
with the same proposals.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core import files, lock, specs
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.experiments.config import build, loader
from alcurr.experiments.tune import grid, results, trials

STUDY = "study.db"

# A distribution of Optuna: CategoricalDistribution, IntDistribution, ...
Distribution = Any


def parse_ranges(
  optuna: Any, config: ConfigDict, texts: Sequence[str]
) -> dict[str, Distribution]:
  """Parses the range of each field.

  Raises:
    UserError: another form, an unknown field, or a value of another type.
  """
  kinds, ranges = optuna.distributions, {}
  for text in texts:
    field, _, values = text.partition("=")
    if field in ranges:
      raise UserError("conflict", field, "expected one range, got two")
    low, dots, rest = values.partition("..")
    parsed = grid.parse_fields(config, [f"{field}={low}" if dots else text])
    kind = type(parsed[field][0])
    # Dots may be part of a text, which has no range.
    if not dots or kind not in (int, float):
      choices = grid.parse_fields(config, [text])[field]
      ranges[field] = kinds.CategoricalDistribution(choices)
      continue
    high, _, scale = rest.partition(":")
    low, high = parsed[field][0], loader.value_of(config, field, high)
    if scale not in ("", "log"):
      raise UserError("syntax", field, f"expected :log or nothing, got {scale}")
    if not (low < high and np.isfinite([low, high]).all()):
      raise UserError("range", field, f"expected low < high, got {low}, {high}")
    make = kinds.IntDistribution if kind is int else kinds.FloatDistribution
    try:
      ranges[field] = make(low, high, log=scale == "log")
    except ValueError as error:
      raise UserError("range", field, str(error)) from error
  return ranges


def plot(table: pd.DataFrame, ranges: Mapping[str, Distribution]) -> Figure:
  """Draws top-1 against each field; later combinations are darker."""
  figure = Figure(figsize=(4 * len(ranges), 4), layout="constrained")
  axes = figure.subplots(1, len(ranges), sharey=True, squeeze=False)[0]
  for axis, (field, allowed) in zip(axes, ranges.items(), strict=True):
    is_number = hasattr(allowed, "low")
    x = table[field] if is_number else table[field].astype(str)
    axis.scatter(x, table["top1"], c=table["number"], cmap="Blues", ec="0.4")
    axis.set_xlabel(field)
    if is_number and allowed.log:
      axis.set_xscale("log")
    axis.grid(alpha=0.3)
  axes[0].set_ylabel("top-1 accuracy on valid")
  return figure


def add_command(commands) -> None:
  """Adds the command to argparse's subcommands."""
  parser = commands.add_parser(
    "search",
    help="combinations from ranges, proposed from the results so far",
    description="Searches ranges of some fields with Optuna. Each combination "
    "is run as in a grid; rerunning the command resumes the search.",
  )
  trials.add_arguments(parser, "runs/tune_search")
  parser.add_argument(
    "--count",
    type=int,
    default=30,
    help="number of combinations; default %(default)s",
  )
  parser.add_argument(
    "fields",
    metavar="FIELD=RANGE",
    nargs="+",
    help=f"such as {results.RATE}=1e-4..1e-1:log or batch_size=16,32,64",
  )
  parser.set_defaults(run=run_search)


def run_search(args: argparse.Namespace, options: Sequence[str]) -> None:
  """Runs or resumes a search; table and plot grow with it."""
  optuna = _import_optuna()
  config = trials.load_config(args, options, resumes=STUDY)
  ranges = parse_ranges(optuna, config, args.fields)
  specs.check_range("--count", args.count, 1)
  for field, allowed in ranges.items():
    # The choices, or the two ends of a range.
    ends = getattr(allowed, "choices", None) or (allowed.low, allowed.high)
    for value in ends:
      build.build_experiment(build.changed(config, {field: value}))
  with lock.locked(args.out, "--out"):
    study = _open_study(optuna, config, ranges, args.out)
    for number in range(len(_finished(study)), args.count):
      # A seed for each proposal, so that a resumed search repeats them.
      seed = (config.seed + number) % 2**32  # NumPy's limit
      study.sampler = optuna.samplers.TPESampler(seed=seed)
      trial = study.ask(ranges)
      variant = build.changed(config, trial.params)
      rates = [variant.optimizer.learning_rate]
      name = f"{number + 1} of {args.count}"
      (row,) = grid.try_rates(variant, name, rates, args.out)
      trial.set_user_attr("row", files.plain(row))
      study.tell(trial, float(np.nan_to_num(row["top1"])))
      table = _table(study, ranges)
      trials.write(args.out, "search", table, plot(table, ranges))
    table = _table(study, ranges)
  print(results.render(table, list(ranges)))
  print(f"\nTable and plot: {args.out}")


def _import_optuna() -> Any:
  try:
    import optuna  # an optional dependency
  except ImportError as error:
    text = "needs Optuna: pip install 'alcurr[tune]'"
    raise UserError("package", "search", text) from error
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  return optuna


def _open_study(
  optuna: Any,
  config: ConfigDict,
  ranges: Mapping[str, Distribution],
  out: pathlib.Path,
) -> Any:
  """Opens the study of a folder, or creates it.

  Raises:
    UserError: the folder holds another search.
  """
  study = optuna.create_study(
    storage=f"sqlite:///{(out / STUDY).absolute()}",
    study_name="search",
    direction="maximize",
    load_if_exists=True,
  )
  settings = {
    "config": files.plain(config.to_dict()),
    "ranges": {field: str(allowed) for field, allowed in ranges.items()},
  }
  digest = cache.digest(settings)
  if study.user_attrs.setdefault("settings", digest) != digest:
    text = f"{out} holds a search with other settings"
    raise UserError("mismatch", "--out", text)
  study.set_user_attr("settings", digest)
  # Combinations of an interrupted process are proposed again.
  for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
  return study


def _finished(study: Any) -> list[Any]:
  return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _table(study: Any, ranges: Mapping[str, Distribution]) -> pd.DataFrame:
  """Returns a row for each finished combination, in their order."""
  rows = [
    {"number": number}
    | {field: trial.params[field] for field in ranges}
    | trial.user_attrs["row"]
    for number, trial in enumerate(_finished(study), start=1)
  ]
  table = pd.DataFrame(rows)
  # JSON has no NaN.
  numbers = [name for name in table if name not in ranges]
  table[numbers] = table[numbers].apply(pd.to_numeric)
  return table
