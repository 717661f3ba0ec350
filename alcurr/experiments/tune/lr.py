"""python -m alcurr.experiments.tune lr --config=FILE [--low 1e-6] [--high 10] [...]

The learning-rate range test (Smith, 2017, "Cyclical Learning Rates for Training
Neural Networks"): a short run whose rate rises exponentially, from so low that
nothing is learned to so high that the loss diverges. Step i of n has the rate
low (high / low)^(i / n). The loss L_i of its batch is smoothed as fastai does
(`Recorder`; the bias correction is Adam's):

  a_i = β a_(i-1) + (1 - β) L_i,  a_(-1) = 0;    s_i = a_i / (1 - β^(i + 1))

A trial diverges at the first step whose loss or update is not finite, or whose
s_i is above four times the lowest so far (fastai's `lr_find`). Two rates are
read from the mean of s over the trials, up to the first divergence and after
the first tenth of the steps, which are noise (likewise `lr_find`, Howard and
Gugger, 2020, "fastai: A Layered API for Deep Learning"): a tenth of the rate at
the minimum, which is suggested, and the rate where s falls most steeply against
the logarithm of the rate.
"""

import argparse
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.core.errors import UserError
from alcurr.experiments import sampler_run
from alcurr.experiments.config import build
from alcurr.experiments.tune import trials
from alcurr.report.style import COLORS
from alcurr.training import compilation
from alcurr.training.run import RunSpec, init_trials, make_score
from alcurr.types import Model, Pool

MEASUREMENTS = 20  # of the accuracy
_VALID = 1000  # most drawings that it is measured on
_DIVERGED = 4.0  # times the lowest loss so far
_SKIPPED = 10  # the first so manieth part of the steps


class Curves(NamedTuple):
  """What S trials came to while the rate rose over T steps."""

  rate: np.ndarray  # [T] float64
  loss: np.ndarray  # [S, T] float64, of the step's batch, before its update
  finite: np.ndarray  # [S] int, the first step with a number that is not, or T
  measured: np.ndarray  # [K] int, the steps after which accuracy is known
  accuracy: np.ndarray  # [S, K] float64


class Reading(NamedTuple):
  """What a smoothed curve says."""

  lowest: float  # the rate of the smallest loss
  lowest_loss: float
  steepest: float  # the rate at which it falls most
  falling: bool  # whether it still falls at the highest rate

  @property
  def suggested(self) -> float:
    return self.lowest / 10


def rates(low: float, high: float, steps: int) -> np.ndarray:
  """The rate of each step, as schedules.exponential has it: [T] float64."""
  return low * (high / low) ** (np.arange(steps) / steps)


def smooth(loss: np.ndarray, beta: float) -> np.ndarray:
  """The bias-corrected exponential moving average along the last axis.

  Args:
    loss: [..., T].
    beta: in [0, 1), the weight of what was before.
  """
  average, smoothed = np.zeros(loss.shape[:-1]), np.empty(loss.shape)
  for i in range(loss.shape[-1]):
    average = beta * average + (1 - beta) * loss[..., i]
    smoothed[..., i] = average / (1 - beta ** (i + 1))
  return smoothed


def divergence(smoothed: np.ndarray) -> int:
  """The first step of [T] that is not finite or far above the lowest, or T."""
  with np.errstate(invalid="ignore"):
    lowest = np.fmin.accumulate(smoothed)
    bad = ~(smoothed <= _DIVERGED * lowest) | ~np.isfinite(smoothed)
  return int(np.argmax(bad)) if bad.any() else len(smoothed)


def read(rate: np.ndarray, smoothed: np.ndarray, end: int) -> Reading:
  """The rates that a curve suggests.

  Args:
    rate: [T].
    smoothed: [T].
    end: steps before it diverges.

  Raises:
    UserError: there is nothing to read, as it diverges at once or never falls.
  """
  first = len(rate) // _SKIPPED
  part = smoothed[first:end]
  if len(part) < 2 or np.argmin(part) == 0:
    raise UserError(
      f"the loss does not fall after the rate {rate[first]:.2g}; take a lower "
      "--low, or more --steps."
    )
  lowest = first + int(np.argmin(part))
  slope = np.diff(part) / np.diff(np.log(rate[first:end]))
  return Reading(
    lowest=float(rate[lowest]),
    lowest_loss=float(smoothed[lowest]),
    steepest=float(rate[first + int(np.argmin(slope))]),
    falling=lowest == len(rate) - 1,
  )


def range_test(
  run: RunSpec, rate: np.ndarray, pools: Mapping[str, Pool]
) -> Curves:
  """Trains a run whose optimiser's rate is that of each step.

  The accuracy is that on "valid" with batch norms by the batch, as in training:
  their running statistics would be those of another, slower network.

  Args:
    run: of T steps, evaluated as often as the accuracy is wanted.
    rate: [T], what its optimiser does.
    pools: "train", "probe" and "valid".
  """
  score = make_score(
    _as_in_training(run.model), run.gather, run.batch_size, run.trials_by
  )
  state = init_trials(run, pools["train"])
  valid, variables = pools["valid"], (state.params, state.model_state)
  program = compilation.compile_once(score, variables, valid)
  loss, measured, accuracy = [], [], []
  for stretch in trials.follow(run, pools, state):
    variables = (stretch.state.params, stretch.state.model_state)
    rank = np.asarray(program(variables, valid).rank)
    loss.append(stretch.metrics.loss)
    measured.append(stretch.done)
    accuracy.append((rank < 1).mean(1))
  wrong = stretch.exposure.diverged_step
  return Curves(
    rate,
    np.concatenate(loss, 1).astype(np.float64),
    np.where(wrong > 0, wrong - 1, len(rate)),
    np.array(measured),
    np.stack(accuracy, 1),
  )


def _as_in_training(model: Model) -> Model:
  def apply(key, params, model_state, image, *, train):
    del train
    return model.apply(key, params, model_state, image, train=True)

  return model._replace(apply=apply)


def table(curves: Curves, smoothed: np.ndarray) -> pd.DataFrame:
  """A row per trial and step: rate, loss, smoothed loss, and accuracy."""
  known = curves.measured - 1
  parts = []
  for trial, (loss, smooth_loss) in enumerate(
    zip(curves.loss, smoothed, strict=True)
  ):
    accuracy = np.full(len(loss), math.nan)
    accuracy[known] = curves.accuracy[trial]
    parts.append(
      pd.DataFrame(
        {
          "trial": trial,
          "step": np.arange(1, len(loss) + 1),
          "learning_rate": curves.rate,
          "loss": loss,
          "smoothed": smooth_loss,
          "accuracy": accuracy,
        }
      )
    )
  return pd.concat(parts, ignore_index=True)


def plot(
  curves: Curves, smoothed: np.ndarray, ends: Sequence[int], mean: Reading
) -> Figure:
  """Loss and accuracy against the rate, with the rates that are read."""
  figure = Figure(figsize=(8, 7), layout="constrained")
  upper, lower = figure.subplots(2, 1, sharex=True)
  for trial, end in enumerate(ends):
    color, name = COLORS[trial % len(COLORS)], f"trial {trial}"
    upper.plot(curves.rate[:end], curves.loss[trial, :end], ".", c=color, ms=2)
    upper.plot(curves.rate[:end], smoothed[trial, :end], c=color, label=name)
    known = curves.measured <= end
    at = curves.rate[curves.measured[known] - 1]
    lower.plot(at, curves.accuracy[trial, known], ".-", c=color)
  for axis in (upper, lower):
    axis.axvline(mean.suggested, color="k", label="a tenth of the minimum's")
    axis.axvline(mean.steepest, color="k", ls=":", label="steepest descent")
    axis.grid(alpha=0.3)
  highest = max(smoothed[trial, :end].max() for trial, end in enumerate(ends))
  upper.set(xscale="log", ylabel="loss of the batch, and smoothed")
  upper.set_ylim(0, 1.2 * highest)
  lower.set(xlabel="learning rate", ylabel="accuracy on valid", ylim=(0, 1))
  upper.legend(fontsize="small")
  return figure


def render(
  curves: Curves,
  ends: Sequence[int],
  each: Sequence[Reading],
  mean: Reading,
) -> str:
  """What was found, as text for a terminal."""

  def spread(values: Sequence[float]) -> str:
    return f"by trial {min(values):.2g} to {max(values):.2g}"

  at = [curves.rate[end] for end in ends if end < len(curves.rate)]
  none = f"not up to {curves.rate[-1]:.2g}"
  lines = [
    f"lowest smoothed loss  {mean.lowest_loss:.4g} at the rate "
    f"{mean.lowest:.2g} ({spread([one.lowest for one in each])})",
    f"steepest descent      {mean.steepest:.2g} "
    f"({spread([one.steepest for one in each])})",
    f"divergence            {spread(at) if at else none}"
    f"{f', {len(at)} of {len(ends)} trials' if at else ''}",
    f"\nSuggested: --config.optimizer.learning_rate={mean.suggested:.2g}, a "
    "tenth of the rate at the lowest loss.",
  ]
  if mean.falling:
    lines.append("The loss still falls at the highest rate: raise --high.")
  return "\n".join(lines)


def add_command(commands) -> None:
  parser = commands.add_parser(
    "lr",
    help="a learning rate, by the range test",
    description="The learning-rate range test: a short run whose rate rises "
    "exponentially, in all trials of the config.",
  )
  trials.add_arguments(parser, "runs/tune_lr")
  for name, kind, default, what in (
    ("--low", float, 1e-6, "the first rate"),
    ("--high", float, 10.0, "the last"),
    ("--steps", int, 200, "updates of each trial"),
    ("--beta", float, 0.9, "of the smoothing, in [0, 1)"),
  ):
    parser.add_argument(
      name, type=kind, default=default, help=f"{what}; default %(default)s"
    )
  parser.set_defaults(run=find)


def find(args: argparse.Namespace, options: Sequence[str]) -> None:
  """Makes the test of some arguments, and writes and prints what it found."""
  if not 0 < args.low < args.high < float("inf"):
    raise UserError(
      f"--low and --high must be rising rates above 0, got {args.low} and "
      f"{args.high}."
    )
  if not 0 <= args.beta < 1:
    raise UserError(f"--beta must be in [0, 1), got {args.beta}.")
  if args.steps < MEASUREMENTS:
    raise UserError(
      f"--steps must be at least {MEASUREMENTS}, got {args.steps}."
    )
  config = build.changed(
    trials.load_config(args, options),
    {
      "budget": f"{args.steps} steps",
      "num_evals": MEASUREMENTS,
      "chunk_steps": args.steps,
      "optimizer.learning_rate": args.low,
      "optimizer.schedule": f"exponential(end={args.high!r})",
    },
  )
  job, pools = trials.load_data(config, args.out)
  run = sampler_run.make_run(job, config.baseline, pools)
  pools["valid"] = trials.some_valid(job, _VALID)
  rate = rates(args.low, args.high, args.steps)
  report(range_test(run, rate, pools), args.beta, args.out)


def report(curves: Curves, beta: float, out: pathlib.Path) -> None:
  """Writes range.csv and range.png, and prints what they say."""
  smoothed = smooth(curves.loss, beta)
  ends = [
    min(divergence(one), finite)
    for one, finite in zip(smoothed, curves.finite.tolist(), strict=True)
  ]
  each = [
    read(curves.rate, one, end) for one, end in zip(smoothed, ends, strict=True)
  ]
  mean = read(curves.rate, smoothed.mean(0), min(ends))
  figure = plot(curves, smoothed, ends, mean)
  trials.write(out, "range", table(curves, smoothed), figure)
  print(render(curves, ends, each, mean))
  print(f"\nTable and plot: {out}")
