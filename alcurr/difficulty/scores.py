"""How hard each example is, by what a reference model says of it.

The score of "Data Sampling Algorithms for Active Learning": the loss of a model
that was trained before, here with uniform sampling, on a seed that no trial
has; or another scorer's, a function (logits [B, V], label [B]) -> [B] float32,
larger is harder. Its cost is part of every method that reads it.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from alcurr import plans, programs, tally, train
from alcurr.errors import FaultError
from alcurr.plugins import Registry
from alcurr.types import Array, Loss, Pool


def of_loss(*, loss: Loss) -> Loss:
  """The loss that the model was trained by."""
  return loss


def el2n() -> Loss:
  """The length of softmax(logits) - the one-hot class, in [0, √2].

  (Paul, Ganguli & Dziugaite 2021, "Deep Learning on a Data Diet", of a single
  model. It does not grow without bound, as the loss does.)
  """

  def score(logits: Array, label: Array) -> Array:
    off = jax.nn.softmax(logits) - jax.nn.one_hot(label, logits.shape[1])
    return jax.numpy.linalg.norm(off, axis=1)

  return score


SCORERS = Registry("scorers", {"loss": of_loss, "el2n": el2n})


class Difficulty(NamedTuple):
  score: dict[str, np.ndarray]  # [N] float32 for each pool
  seconds: float  # training and scoring, compilation left out


def difficulty_of(
  run: plans.Run,
  score: plans.Score,
  result: train.Result,
  pools: Mapping[str, Pool],
) -> Difficulty:
  """Scores every pool with a reference model that is trained.

  Args:
    run: of the reference model, one trial.
    score: whose loss is the scorer's.
    result: of the run.
    pools: by name.

  Raises:
    FaultError: its scores are not finite, and so no difficulties.
  """
  if not tally.going(result.tally):
    raise FaultError(
      f"{tally.sentence(result.tally, 0, run.name)[:-1]}; without it nothing "
      "has a difficulty; a lower optimizer.learning_rate may help."
    )
  found, seconds = {}, result.train_seconds
  for name, pool in pools.items():
    variables = (result.state.params, result.state.model_state)
    program = programs.compile_once(score, variables, pool)
    started = time.perf_counter()
    found[name] = jax.device_get(program(variables, pool)).loss[0]
    seconds += time.perf_counter() - started
    if not np.isfinite(found[name]).all():
      raise FaultError(
        f"{run.name} gives examples of {name!r} a difficulty that is not "
        "finite; a lower optimizer.learning_rate may help."
      )
  return Difficulty(found, seconds)
