"""python -m alcurr.experiments.tune lr --config=FILE [--low=1e-6] [--high=10]

The learning-rate range test (Smith, 2017, "Cyclical Learning Rates for Training
Neural Networks"): a short run whose rate rises exponentially, from one that
learns nothing to one that diverges. Step i of n has the rate
low (high / low)^(i / n). The loss L_i of its batch is smoothed as by fastai's
`Recorder`, with the bias correction of Adam:

  a_i = β a_(i-1) + (1 - β) L_i,  a_(-1) = 0;    s_i = a_i / (1 - β^(i + 1))

A trial diverges at the first step whose loss or update is not finite, or whose
s_i is above four times the minimum so far (fastai's `lr_find`). Two rates are
read from the mean of s over the trials, up to the first divergence and after
the first tenth of the steps, which is noise (Howard and Gugger, 2020, "fastai:
A Layered API for Deep Learning"). The suggested one is a tenth of the rate at
the minimum; the other is where s falls most steeply against the log rate.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.experiments.config import build
from alcurr.experiments.tune import trials
from alcurr.report.style import COLORS
from alcurr.training import compilation
from alcurr.training.run import RunSpec, init_trials, make_score
from alcurr.types import Pool

MEASUREMENTS = 20  # of the accuracy
_MAX_VALID = 1000  # examples for the accuracy
_DIVERGED = 4.0  # times the minimum so far
_SKIPPED = 10  # 1 / this of the steps are skipped at the start


class Curves(NamedTuple):
  """The losses and accuracies of S trials over T steps."""

  rate: np.ndarray  # [T] float64
  loss: np.ndarray  # [S, T] float64, of the batch, before the update
  finite: np.ndarray  # [S] int, steps before the first that is not finite
  measured: np.ndarray  # [K] int, the steps after which accuracy is measured
  accuracy: np.ndarray  # [S, K] float64


class Reading(NamedTuple):
  """The rates that a smoothed curve suggests."""

  lowest: float  # the rate at the minimum
  lowest_loss: float  # the minimum
  steepest: float  # the rate at the steepest descent
  falling: bool  # whether the minimum is at the highest rate

  @property
  def suggested(self) -> float:
    return self.lowest / 10


def rates(low: float, high: float, steps: int) -> np.ndarray:
  """Returns the rates of schedules.exponential: [T] float64."""
  return low * (high / low) ** (np.arange(steps) / steps)


def smooth(loss: np.ndarray, beta: float) -> np.ndarray:
  """Returns the bias-corrected exponential moving average of the last axis.

  Args:
    loss: [..., T].
    beta: in [0, 1), the weight of the past.
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
    bad = ~(smoothed <= _DIVERGED * lowest) | ~np.isfinite(smoothed)
  return int(np.argmax(bad)) if bad.any() else len(smoothed)


def read(rate: np.ndarray, smoothed: np.ndarray, end: int) -> Reading:
  """Reads the rates that a curve suggests.

  Args:
    rate: [T].
    smoothed: [T].
    end: steps before it diverges.

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
    falling=lowest == len(rate) - 1,
  )


def range_test(
  run: RunSpec, rate: np.ndarray, pools: Mapping[str, Pool]
) -> Curves:
  """Trains a run and measures loss and accuracy.

  The accuracy is that on "valid" in train mode, as running statistics of batch
  norms would be those of an earlier, slower network.

  Args:
    run: of T steps; `num_evals` measurements of the accuracy.
    rate: [T], the learning rates of its optimizer.
    pools: "train", "probe" and "valid".
  """
  apply = run.model.apply
  in_train_mode = run.model._replace(
    apply=lambda *args, train: apply(*args, train=True)
  )
  score = make_score(
    in_train_mode, run.gather, run.batch_size, run.trials_by, run.loss
  )
  state, valid = init_trials(run, pools["train"]), pools["valid"]
  program = compilation.compile_once(
    score, (state.params, state.model_state), valid
  )
  loss, measured, accuracy = [], [], []
  for chunk in trials.train_chunks(run, pools, state):
    variables = (chunk.state.params, chunk.state.model_state)
    rank = np.asarray(program(variables, valid).rank)
    loss.append(chunk.metrics.loss)
    measured.append(chunk.done)
    accuracy.append((rank < 1).mean(1))
  diverged = chunk.exposure.diverged_step
  return Curves(
    rate,
    np.concatenate(loss, 1).astype(np.float64),
    np.where(diverged > 0, diverged - 1, len(rate)),
    np.array(measured),
    np.stack(accuracy, 1),
  )


def table(curves: Curves, smoothed: np.ndarray) -> pd.DataFrame:
  """Returns a row per trial and step."""
  num_trials, num_steps = smoothed.shape
  accuracy = np.full(smoothed.shape, np.nan)
  accuracy[:, curves.measured - 1] = curves.accuracy
  return pd.DataFrame(
    {
      "trial": np.repeat(np.arange(num_trials), num_steps),
      "step": np.tile(np.arange(1, num_steps + 1), num_trials),
      "learning_rate": np.tile(curves.rate, num_trials),
      "loss": curves.loss.ravel(),
      "smoothed": smoothed.ravel(),
      "accuracy": accuracy.ravel(),
    }
  )


def plot(
  curves: Curves, smoothed: np.ndarray, ends: Sequence[int], mean: Reading
) -> Figure:
  """Draws loss and accuracy against the rate, with the rates that are read."""
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
  readings: Sequence[Reading],
  mean: Reading,
) -> str:
  """Returns the readings as text for a terminal."""

  def spread(values: Sequence[float]) -> str:
    return f"trials: {min(values):.2g} to {max(values):.2g}"

  text = (
    f"minimum of the smoothed loss: {mean.lowest_loss:.4g} at the rate "
    f"{mean.lowest:.2g} ({spread([reading.lowest for reading in readings])})\n"
    f"steepest descent: at the rate {mean.steepest:.2g} "
    f"({spread([reading.steepest for reading in readings])})\n"
  )
  diverged = [curves.rate[end] for end in ends if end < len(curves.rate)]
  if diverged:
    text += f"diverged: {len(diverged)} of {len(ends)} ({spread(diverged)})\n"
  else:
    text += f"diverged: none up to the rate {curves.rate[-1]:.2g}\n"
  text += (
    f"\nSuggested: --config.optimizer.learning_rate={mean.suggested:.2g}, a "
    "tenth of the rate at the minimum."
  )
  if mean.falling:
    text += "\nThe minimum is at the highest rate: raise --high."
  return text


def add_command(commands) -> None:
  """Adds the command to argparse's subcommands."""
  parser = commands.add_parser(
    "lr",
    help="a learning rate, by the range test",
    description="The learning-rate range test: a short run of all trials "
    "whose rate rises exponentially.",
  )
  trials.add_arguments(parser, "runs/tune_lr")
  for name, kind, default, text in (
    ("--low", float, 1e-6, "the first rate"),
    ("--high", float, 10.0, "the last rate"),
    ("--steps", int, 200, "updates of each trial"),
    ("--beta", float, 0.9, "of the smoothing, in [0, 1)"),
  ):
    parser.add_argument(
      name, type=kind, default=default, help=f"{text}; default %(default)s"
    )
  parser.set_defaults(run=find)


def find(args: argparse.Namespace, options: Sequence[str]) -> None:
  """Runs the test, writes range.csv and range.png and prints the readings."""
  if not 0 < args.low < args.high < float("inf"):
    text = f"expected 0 < low < high, got {args.low} and {args.high}"
    raise UserError("range", "--low", text)
  if not 0 <= args.beta < 1:
    raise UserError("range", "--beta", f"expected 0 <= β < 1, got {args.beta}")
  specs.check_range("--steps", args.steps, MEASUREMENTS)
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
  build.build_experiment(config)
  run, pools = trials.prepare(config, args.out, _MAX_VALID)
  curves = range_test(run, rates(args.low, args.high, args.steps), pools)
  smoothed = smooth(curves.loss, args.beta)
  ends = [
    min(divergence(trial), finite)
    for trial, finite in zip(smoothed, curves.finite.tolist(), strict=True)
  ]
  readings = [
    read(curves.rate, trial, end)
    for trial, end in zip(smoothed, ends, strict=True)
  ]
  mean = read(curves.rate, smoothed.mean(0), min(ends))
  figure = plot(curves, smoothed, ends, mean)
  trials.write(args.out, "range", table(curves, smoothed), figure)
  print(render(curves, ends, readings, mean))
  print(f"\nTable and plot: {args.out}")
