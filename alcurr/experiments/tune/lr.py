"""python -m alcurr.experiments.tune lr --config=FILE [--low=1e-6] [--high=10]

The learning-rate range test (Smith, 2017, "Cyclical Learning Rates for Training
Neural Networks"): a short run whose rate rises exponentially, from one that
learns nothing to one that diverges. Step i of n has the rate
low (high / low)^(i / n). The loss L_i of its batch is smoothed as by fastai's
`Recorder`, with the bias correction of Adam:

  a_i = β a_(i-1) + (1 - β) L_i,  a_(-1) = 0;    s_i = a_i / (1 - β^(i + 1))

A trial diverges at the first step whose loss or update is not finite, or whose
s_i is above four times the minimum so far (fastai's `lr_find`), or, where that
is negative, above it by three times its size. Two rates are read from the mean
of s over the trials, up to the first divergence and after the first tenth of
the steps, which is noise (Howard and Gugger, 2020, "fastai: A Layered API for
Deep Learning"). The suggested one is a tenth of the rate at the minimum; the
other is where s falls most steeply against the log rate.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.experiments.config import build, plain
from alcurr.experiments.tune import trials
from alcurr.report.style import COLORS
from alcurr.training import compilation
from alcurr.training.losses import metric
from alcurr.training.run import RunSpec, init_trials
from alcurr.training.scoring import make_score
from alcurr.types import Pool

MEASUREMENTS = 20  # of the accuracy
ARGUMENTS = {
  name: {"type": type(x), "default": x, "help": f"{text}; default %(default)s"}
  for name, x, text in (
    ("--low", 1e-6, "the first rate"),
    ("--high", 10.0, "the last rate"),
    ("--steps", 200, "updates of each trial"),
    ("--beta", 0.9, "of the smoothing, in [0, 1)"),
  )
}
_MAX_VALID = 1000  # examples for the accuracy
_DIVERGED = 4.0  # times the minimum so far
_SKIPPED = 10  # 1 / this of the steps are skipped at the start


class Reading(NamedTuple):
  """The rates that a smoothed curve suggests."""

  lowest: float  # the rate at the minimum
  lowest_loss: float  # the minimum
  steepest: float  # the rate at the steepest descent
  suggested: float  # a tenth of the rate at the minimum
  falling: bool  # whether the minimum is at the highest rate


def rates(low: float, high: float, steps: int) -> np.ndarray:
  """Returns the rates of schedules.exponential: [T] float64."""
  return low * (high / low) ** (np.arange(steps) / steps)


def smooth(loss: np.ndarray, beta: float) -> np.ndarray:
  """Returns the bias-corrected exponential moving average of [..., T].

  The weight of the past, beta, is in [0, 1).
  """
  average, smoothed = np.zeros(loss.shape[:-1]), np.empty(loss.shape)
  for i in range(loss.shape[-1]):
    average = beta * average + (1 - beta) * loss[..., i]
    smoothed[..., i] = average / (1 - beta ** (i + 1))
  return smoothed


def divergence(smoothed: np.ndarray) -> int:
  """Returns the first step of [T] that is not finite or too high, or T."""
  with np.errstate(invalid="ignore"):
    lowest = np.fmin.accumulate(smoothed)
    limit = np.where(lowest < 0, 2 - _DIVERGED, _DIVERGED) * lowest
    bad = ~(smoothed <= limit) | ~np.isfinite(smoothed)
  return int(np.argmax(bad)) if bad.any() else len(smoothed)


def read(rate: np.ndarray, smoothed: np.ndarray, end: int) -> Reading:
  """Reads the rates [T] that a smoothed curve [T] suggests.

  It diverges after `end` steps.

  Raises:
    UserError: it diverges immediately, or never falls.
  """
  first = len(rate) // _SKIPPED
  part = smoothed[first:end]
  if len(part) < 2 or np.argmin(part) == 0:
    problem = f"the loss does not fall above the rate {rate[first]:.2g}"
    text = f"{problem}; try a lower --low or more --steps"
    raise UserError("range", "--low", text)
  lowest = first + int(np.argmin(part))
  slope = np.diff(part) / np.diff(np.log(rate[first:end]))
  return Reading(
    lowest=float(rate[lowest]),
    lowest_loss=float(smoothed[lowest]),
    steepest=float(rate[first + int(np.argmin(slope))]),
    suggested=float(rate[lowest]) / 10,
    falling=lowest == len(rate) - 1,
  )


def range_test(
  run: RunSpec, rate: np.ndarray, pools: Mapping[str, Pool], beta: float
) -> tuple[pd.DataFrame, list[int]]:
  """Trains a run of S trials and T steps at rates [T]; for beta, see `smooth`.

  The accuracy is that on the pool "valid" in train mode, as running statistics
  of batch norms would be those of an earlier, slower network. It is measured
  `num_evals` times.

  Returns:
    A row per trial and step, with the loss of the batch before the update and
    the accuracy after it, NaN if not measured; and the steps of each trial
    before it diverges, [S].
  """
  apply = run.model.apply
  in_train_mode = run.model._replace(
    apply=lambda *args, train: apply(*args, train=True)
  )
  score = make_score(
    in_train_mode,
    run.gather,
    run.batch_size,
    run.trials_by,
    metric,
    counted=False,
  )
  state, valid = init_trials(run, pools["train"]), pools["valid"]
  program = compilation.compile_once(
    score, (state.params, state.model_state), valid
  )
  losses, num_trials, num_steps = [], len(run.seeds), len(rate)
  accuracy = np.full((num_trials, num_steps), np.nan)
  for chunk in trials.train_chunks(run, pools, state):
    variables = (chunk.state.params, chunk.state.model_state)
    rank = np.asarray(program(variables, valid).rank)
    accuracy[:, chunk.done - 1] = (rank < 1).mean(1)
    losses.append(chunk.metrics.loss)
  loss = np.concatenate(losses, 1).astype(np.float64)
  smoothed = smooth(loss, beta)
  table = pd.DataFrame(
    {
      "trial": np.repeat(np.arange(num_trials), num_steps),
      "step": np.tile(np.arange(1, num_steps + 1), num_trials),
      "learning_rate": np.tile(rate, num_trials),
      "loss": loss.ravel(),
      "smoothed": smoothed.ravel(),
      "accuracy": accuracy.ravel(),
    }
  )
  # An update may diverge at a finite loss.
  steps = chunk.exposure.diverged_step.tolist()
  finite = [step - 1 if step else num_steps for step in steps]
  return table, list(map(min, map(divergence, smoothed), finite))


def plot(table: pd.DataFrame, ends: Sequence[int], mean: Reading) -> Figure:
  """Draws loss and accuracy against the rate, with the rates that are read."""
  figure = Figure(figsize=(8, 7), layout="constrained")
  upper, lower = figure.subplots(2, 1, sharex=True)
  highest = 0.0
  curves = table.set_index("learning_rate").groupby("trial")
  for (trial, curve), end in zip(curves, ends, strict=True):
    color, curve = COLORS[trial % len(COLORS)], curve.iloc[:end]
    upper.plot(curve["loss"], ".", c=color, ms=2)
    upper.plot(curve["smoothed"], c=color, label=f"trial {trial}")
    lower.plot(curve["accuracy"].dropna(), ".-", c=color)
    highest = max(highest, curve["smoothed"].max())
  for axis in (upper, lower):
    axis.axvline(mean.suggested, color="k", label="a tenth of the minimum's")
    axis.axvline(mean.steepest, color="k", ls=":", label="steepest descent")
    axis.grid(alpha=0.3)
  upper.set(xscale="log", ylabel="loss of the batch, and smoothed")
  upper.set_ylim(0, 1.2 * highest)
  lower.set(xlabel="learning rate", ylabel="accuracy on valid", ylim=(0, 1))
  upper.legend(fontsize="small")
  return figure


def render(
  rate: np.ndarray,
  ends: Sequence[int],
  readings: Sequence[Reading],
  mean: Reading,
) -> str:
  """Returns the readings as text for a terminal."""
  diverged = [rate[end] for end in ends if end < len(rate)]
  low, high = (pd.DataFrame(readings).agg(name) for name in ("min", "max"))
  text = (
    f"minimum of the smoothed loss: {mean.lowest_loss:.4g} at the rate "
    f"{mean.lowest:.2g} (trials: {low.lowest:.2g} to {high.lowest:.2g})\n"
    f"steepest descent: at the rate {mean.steepest:.2g} "
    f"(trials: {low.steepest:.2g} to {high.steepest:.2g})\ndiverged: "
  )
  if diverged:
    spread = f"(trials: {min(diverged):.2g} to {max(diverged):.2g})"
    text += f"{len(diverged)} of {len(ends)} {spread}"
  else:
    text += f"none up to the rate {rate[-1]:.2g}"
  text += (
    f"\n\nSuggested: --config.optimizer.learning_rate={mean.suggested:.2g}, a "
    "tenth of the rate at the minimum."
  )
  if mean.falling:
    text += "\nThe minimum is at the highest rate: raise --high."
  return text


def run(config: ConfigDict, args: argparse.Namespace) -> str:
  """Runs the learning-rate range test: all trials, at a rising rate.

  Writes range.csv and range.png.
  """
  if not 0 < args.low < args.high < float("inf"):
    text = f"expected 0 < low < high, got {args.low} and {args.high}"
    raise UserError("range", "--low", text)
  if not 0 <= args.beta < 1:
    raise UserError("range", "--beta", f"expected 0 <= β < 1, got {args.beta}")
  specs.check_range("--steps", args.steps, MEASUREMENTS)
  config = plain.merge(
    config,
    {
      "budget": f"{args.steps} steps",
      "num_evals": MEASUREMENTS,
      "chunk_steps": args.steps,
      "optimizer.learning_rate": args.low,
      "optimizer.schedule": f"exponential(end={args.high!r})",
    },
  )
  build.build_experiment(config)
  spec, pools = trials.prepare(config, args.out, _MAX_VALID)
  rate = rates(args.low, args.high, args.steps)
  table, ends = range_test(spec, rate, pools, args.beta)
  smoothed = table["smoothed"].to_numpy().reshape(-1, args.steps)
  readings = [read(rate, *curve) for curve in zip(smoothed, ends, strict=True)]
  mean = read(rate, smoothed.mean(0), min(ends))
  trials.write(args.out, "range", table, plot(table, ends, mean))
  return render(rate, ends, readings, mean)
