"""python -m alcurr.experiments.tune search --config=FILE FIELD=RANGE [...]

Searches ranges for combinations that the tree-structured Parzen estimator of
Optuna proposes from the results so far (Bergstra et al., 2011, "Algorithms for
Hyper-Parameter Optimization"). Each is run as by `grid` and judged by its mean
top-1 on the valid pool; it counts as 0 if all trials diverge.

A range is `1e-4..1e-1`, of integers for a field of integers, with `:log` after
it for a log scale; or values with commas. Proposals and results are saved in
`study.journal`, a file of Optuna. Rerunning the command resumes the search
with the same proposals.

The same command may run several times at once, on a machine or on several with
the same folder: they search together. Proposals then depend on which results
are there first.
"""

import argparse
import contextlib
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import logging
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core import environment, files, lock, specs
from alcurr.core.errors import UserError
from alcurr.core.extras import import_extra
from alcurr.data import cache, sources
from alcurr.experiments.config import build, loader, plain
from alcurr.experiments.tune import grid, trials
from alcurr.training import checkpoint

STUDY = "study.journal"
ARGUMENTS = {
  "--count": {
    "type": int,
    "default": 30,
    "help": "number of combinations; default %(default)s",
  },
  "fields": {
    "metavar": "FIELD=RANGE",
    "nargs": "+",
    "help": f"such as {trials.RATE}=1e-4..1e-1:log or batch_size=16,32,64",
  },
}

# A distribution of Optuna: CategoricalDistribution, IntDistribution, ...
Distribution = Any
_WORKER = "worker"  # the name of a trial's attribute, and of a process's lock


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
    first = f"{field}={low}" if dots else text
    low = grid.parse_fields(config, [first])[field][0]
    # Dots may be part of a text, which has no range.
    if not dots or type(low) not in (int, float):
      choices = grid.parse_fields(config, [text])[field]
      ranges[field] = kinds.CategoricalDistribution(choices)
      continue
    high, _, scale = rest.partition(":")
    high = loader.value_of(config, field, high)
    if scale not in ("", "log"):
      raise UserError("syntax", field, f"expected :log or nothing, got {scale}")
    is_int = isinstance(low, int)
    make = kinds.IntDistribution if is_int else kinds.FloatDistribution
    try:
      if not np.isfinite([low, high]).all():
        raise ValueError(f"expected finite numbers, got {low} and {high}")
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


def run(config: ConfigDict, args: argparse.Namespace) -> str:
  """Runs or resumes a search of some fields' ranges with Optuna.

  Table and plot grow with it.
  """
  optuna = import_extra("optuna", "tune", "search")
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  ranges = parse_ranges(optuna, config, args.fields)
  specs.check_range("--count", args.count, 1)
  for field, allowed in ranges.items():
    # The choices, or the two ends of a range.
    ends = getattr(allowed, "choices", None) or (allowed.low, allowed.high)
    for value in ends:
      build.build_experiment(plain.merge(config, {field: value}))
  settings = {
    "config": files.plain(config.to_dict()),
    "ranges": {field: str(allowed) for field, allowed in ranges.items()},
  }
  with contextlib.ExitStack() as stack:
    with lock.locked(args.out, "--out", wait=True):
      worker = _enter(stack, args.out)
      study = _open(optuna, args.out, cache.digest(settings))
      _check_begun(study, config, args, len(_table(study, ranges)))
      _drop_interrupted(optuna, study, args.out, worker)
    while True:
      with lock.locked(args.out, "--out", wait=True):
        number = _count(study, "COMPLETE", "RUNNING")
        if number >= args.count:
          break
        # A seed for each proposal, so that a resumed search repeats them.
        seed = (config.seed + number) % 2**32  # NumPy's limit
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = study.ask(ranges)
        trial.set_user_attr(_WORKER, worker)
      variant = plain.merge(config, trial.params)
      rates = [variant.optimizer.learning_rate]
      name = f"{number + 1} of {args.count}"
      (row,) = grid.try_rates(variant, name, rates, args.out)
      with lock.locked(args.out, "--out", wait=True):
        trial.set_user_attr("row", files.plain(row))
        study.tell(trial, float(np.nan_to_num(row["top1"])))
        table = _table(study, ranges)
        trials.write(args.out, "search", table, plot(table, ranges))
  if others := _count(study, "RUNNING"):
    logging.info("Other processes are still trying %d.", others)
  table = _table(study, ranges)
  return trials.render(table, list(ranges)) if len(table) else "No result yet."


def _enter(stack: contextlib.ExitStack, out: pathlib.Path) -> int:
  """Returns the number of this process, which is locked until the end."""
  for number in itertools.count():
    with contextlib.suppress(UserError):
      held = lock.locked(out, "--out", f"{_WORKER}-{number}")
      stack.enter_context(held)
      return number


def _open(optuna: Any, out: pathlib.Path, digest: str) -> Any:
  """Opens the study of a folder, which is of these settings.

  Raises:
    UserError: it is of other settings, or damaged.
  """
  journal = optuna.storages.journal
  try:
    backend = journal.JournalFileBackend(str(out / STUDY))
    study = optuna.create_study(
      storage=optuna.storages.JournalStorage(backend),
      study_name="search",
      direction="maximize",
      load_if_exists=True,
    )
  except (ValueError, LookupError) as error:
    raise UserError("damaged", str(out / STUDY), str(error)) from error
  if study.user_attrs.get("settings", digest) != digest:
    text = f"{out} holds a search with other settings"
    raise UserError("mismatch", "--out", text)
  study.set_user_attr("settings", digest)
  return study


def _check_begun(
  study: Any, config: ConfigDict, args: argparse.Namespace, finished: int
) -> None:
  """Refuses to resume with other data or elsewhere, unless it is finished."""
  if finished >= args.count:
    return
  data = sources.load(config.data, build.cache_dir(config, args.out))
  began = {"data": data.content, "environment": environment.current()}
  if finished:
    checkpoint.check_same(args.out, study.user_attrs.get("began", {}), began)
  study.set_user_attr("began", began)


def _drop_interrupted(
  optuna: Any, study: Any, out: pathlib.Path, worker: int
) -> None:
  """Ends the combinations of interrupted processes; they are proposed again."""
  for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
    owner = trial.user_attrs.get(_WORKER, worker)
    with contextlib.suppress(UserError), contextlib.ExitStack() as stack:
      if owner != worker:
        stack.enter_context(lock.locked(out, "--out", f"{_WORKER}-{owner}"))
      study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _count(study: Any, *states: str) -> int:
  return sum(trial.state.name in states for trial in study.trials)


def _table(study: Any, ranges: Mapping[str, Distribution]) -> pd.DataFrame:
  """Returns a row for each finished combination, in their order."""
  finished = [t for t in study.trials if t.state.name == "COMPLETE"]
  table = pd.DataFrame(
    {"number": number, **{field: trial.params[field] for field in ranges}}
    | trial.user_attrs["row"]
    for number, trial in enumerate(finished, start=1)
  )
  # JSON has no NaN.
  numbers = [name for name in table if name not in ranges]
  table[numbers] = table[numbers].apply(pd.to_numeric)
  return table
