"""The verdict of a comparison: which samplers beat their baseline, by how much.

A sampler is called better or worse if the two-sided p-value of the paired
bootstrap of its top-1, adjusted for the number of samplers (Holm, 1979), is
below 0.05. Its range is the 95 % interval of `bootstrap.paired_bootstrap`.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import bootstrap, policies, tables
from alcurr.report.selection import holm, two_sided

LEVEL = 0.05
# Fewer trials prove little: a bootstrap of few values is too narrow.
_FEW_TRIALS = 5
# Largest and smallest class of a test split that is called imbalanced.
_IMBALANCED = 1.5
_EQUAL_COST = 0.005  # a difference in FLOPs that is not worth a word
_NAMED = 3  # samplers of one kind that are named


class _Effect(NamedTuple):
  """A sampler's lead over its baseline in one metric, in points."""

  name: str
  baseline: str
  trials: int  # that neither diverged in, at least one
  mean: float
  low: float
  high: float
  sign: int  # 1: better, -1: worse, 0: neither is shown
  cost: float  # FLOPs of a run over the baseline's; NaN if unknown
  unit: str  # "points of top-1"
  identical: bool  # on every test example, in every trial


def describe(workdir: pathlib.Path, summary: pd.DataFrame) -> str:
  """Returns what an experiment shows, in at most four sentences.

  Args:
    workdir: the experiment's folder.
    summary: its `tables.summary_table`.
  """
  rows = summary[summary["sampler"] != summary["baseline"]]
  if not len(rows):
    return f"Only {_list(summary['sampler'])} was run: nothing to compare."
  failed = tables.diverged_samplers(summary)
  rows = rows[~rows["sampler"].isin(failed) & ~rows["baseline"].isin(failed)]
  if not len(rows):
    return f"Every trial of {_list(failed)} diverged: nothing to compare."
  effects = _effects(workdir, rows, summary, tables.headline(summary))
  if not effects:
    return "No sampler has a trial that its baseline finished: cannot compare."
  is_single = max(effect.trials for effect in effects) == 1
  sentences = [_single_trial(effects)] if is_single else _decided(effects)
  if failed:
    sentences[-1] += f" Every trial of {_list(failed)} diverged."
  elif not is_single:
    sentences += _balanced(workdir, rows, summary, effects)
  return " ".join(sentences + _unsettled(workdir))


def _unsettled(workdir: pathlib.Path) -> list[str]:
  """Returns a sentence if samplers measured too seldom for their arms."""
  results = tables.read_results(workdir)
  found = [
    f"{result['sampler']} measured {few['measurements']} times, few for "
    f"{few['arms']} arms"
    for result in results
    if (few := policies.few_measurements(result))
  ]
  return [f"Not settled: {_list(found)}."] if found else []


def _class_sizes(workdir: pathlib.Path, name: str) -> np.ndarray | None:
  """Returns the test examples of each class that has some.

  None: not known, or the labels are no classes.
  """
  path = workdir / "runs" / name / "test.npz"
  files.check_regular(path)
  with np.load(path, allow_pickle=False) as file:
    label = file.get("label")
  if label is None or label.dtype.kind == "f":
    return None
  return np.unique(label, return_counts=True)[1]


def _effects(
  workdir: pathlib.Path,
  rows: pd.DataFrame,
  summary: pd.DataFrame,
  metric: str,
) -> list[_Effect]:
  """Returns the effects of samplers on a metric, largest first.

  Samplers without a trial that their baseline finished too are omitted. A
  single one gives no measure of chance, and so shows nothing.
  """
  cost = tables.total_flops_ratio(summary)
  cost = cost.fillna(tables.flops_ratio(summary))
  cost = dict(zip(summary["sampler"], cost, strict=True))
  # The smallest p-value times their number must not reach the level.
  resamples = max(2000, math.ceil(4 * len(rows) / LEVEL))
  pairs = list(zip(rows["sampler"], rows["baseline"], strict=True))
  values = {
    name: tables.per_example(workdir, name)[metric]
    for name in dict.fromkeys(name for pair in pairs for name in pair)
  }
  unit = f"points of {tables.HEADLINES.get(metric, metric)}"
  leads = {
    (name, baseline): lead
    for name, baseline in pairs
    if len(
      lead := bootstrap.finite_trials(100 * (values[name] - values[baseline]))
    )
  }
  means = bootstrap.resampled_means([*leads.values()], resamples)
  intervals = bootstrap.paired_bootstraps([*leads.values()])
  p = [
    two_sided(mean) if len(lead) > 1 else 1.0
    for mean, lead in zip(means, leads.values(), strict=True)
  ]
  effects = []
  for ((name, baseline), lead), interval in zip(
    leads.items(), intervals, strict=True
  ):
    effects.append(
      _Effect(
        *(name, baseline, len(lead), *interval),
        sign=int(np.sign(interval.mean)),
        cost=cost[name],
        unit=unit,
        identical=not lead.any(),
      )
    )
  adjusted = holm(np.array(p))
  effects = [
    effect if value < LEVEL else effect._replace(sign=0)
    for effect, value in zip(effects, adjusted, strict=True)
  ]
  return sorted(effects, key=lambda effect: -effect.mean)


def _single_trial(effects: Sequence[_Effect]) -> str:
  """Returns the sentence about one trial of each sampler."""
  first = max(effects, key=lambda effect: abs(effect.mean))
  if first.identical:
    return f"One trial: {_identical(effects)}."
  largest = "" if len(effects) == 1 else "the largest difference is that of "
  return (
    f"One trial: no measure of chance; {largest}{first.name}, "
    f"{first.mean:+.1f} {first.unit} to {first.baseline}{_cost(first)}."
  )


def _decided(effects: Sequence[_Effect]) -> list[str]:
  """Returns the sentences about what is better, and what is worse."""
  better = [effect for effect in effects if effect.sign > 0]
  worse = [effect for effect in effects if effect.sign < 0][::-1]
  base = _base(effects)
  counts = [effect.trials for effect in effects]
  least, most = min(counts), max(counts)
  note = f"{most} trials" if least == most else f"{least} to {most} trials"
  if least < _FEW_TRIALS:
    note += ", few for a claim"
  same = [effect for effect in effects if effect.identical]
  if better:
    text = f"{_ranges(better, f'better than {base}')} ({note})."
  elif len(same) == len(effects):
    text = f"{_identical(same)} ({note})."
  elif len(effects) == 1 and not worse:
    (only,) = effects
    text = (
      f"{only.name} is not measurably better or worse than {base}: "
      f"{only.low:+.1f} to {only.high:+.1f} {only.unit}{_cost(only)} "
      f"({note})."
    )
  else:
    text = f"No sampler is measurably better than {base} here ({note})"
    text += f"; {_identical(same)}." if same else "."
  return [text, *([f"{_ranges(worse, 'worse')}."] if worse else [])]


def _base(effects: Sequence[_Effect]) -> str:
  """Returns the baseline of samplers, if they have the same."""
  bases = {effect.baseline for effect in effects}
  return bases.pop() if len(bases) == 1 else "its baseline"


def _identical(effects: Sequence[_Effect]) -> str:
  """Returns a clause about samplers that do not differ on any test example."""
  verb = "is" if len(effects) == 1 else "are"
  metric = effects[0].unit.removeprefix("points of ")
  return (
    f"{_list([effect.name for effect in effects])} {verb} identical to "
    f"{_base(effects)}, with the same {metric} on every test example, as "
    "if it had chosen the same; a longer run may tell them apart"
  )


def _ranges(effects: Sequence[_Effect], word: str) -> str:
  """Returns a clause about effects of one sign, the largest first."""
  first, *others = effects[:_NAMED]
  text = f"{first.name} is {word} by {_range(first)} {first.unit}"
  text += _cost(first)
  for effect in others:
    text += f", {effect.name} by {_range(effect)}{_cost(effect)}"
  more = len(effects) - _NAMED
  return f"{text}, and {more} more" if more > 0 else text


def _range(effect: _Effect) -> str:
  low, high = sorted(effect.sign * x for x in (effect.low, effect.high))
  digits = 1 if high - low > 0.1 else 2
  return f"{low:.{digits}f} to {high:.{digits}f}"


def _cost(effect: _Effect) -> str:
  if not math.isfinite(effect.cost):
    return ""
  if abs(effect.cost - 1) < _EQUAL_COST:
    return " at equal cost"
  return f" at x{effect.cost:.2f} of the cost"


def _balanced(
  workdir: pathlib.Path,
  rows: pd.DataFrame,
  summary: pd.DataFrame,
  effects: Sequence[_Effect],
) -> list[str]:
  """Returns a sentence if balanced accuracy of an imbalanced test disagrees."""
  sizes = _class_sizes(workdir, rows["sampler"].iloc[0])
  if sizes is None or sizes.max() < _IMBALANCED * sizes.min():
    return []
  of_top1 = {effect.name: effect.sign for effect in effects}
  differing = [
    effect
    for effect in _effects(workdir, rows, summary, "balanced_accuracy")
    if effect.sign != of_top1[effect.name]
  ]
  if not differing:
    return []
  words = {1: "better", 0: "no longer distinguishable", -1: "worse"}
  parts = [
    f"{effect.name} is {words[effect.sign]} ({effect.low:+.1f} to "
    f"{effect.high:+.1f} points)"
    for effect in differing[:_NAMED]
  ]
  more = len(differing) - _NAMED
  parts += [f"{more} more differ"] * (more > 0)
  ratio = sizes.max() / sizes.min()
  return [
    f"In balanced accuracy, since test classes differ x{ratio:.1f} in size, "
    f"{', '.join(parts)}."
  ]


def _list(names: Sequence[str]) -> str:
  names = [*names]
  few = ", ".join(names[:_NAMED])
  more = len(names) - _NAMED
  return f"{few} and {more} more" if more > 0 else few
