"""How hard each example is: its loss under a reference model.

The score of "Data Sampling Algorithms for Active Learning": the loss that a
model which was trained before has on it, here with uniform sampling, on a seed
that no trial has. Its cost is part of every method that reads it.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from alcurr import programs, tally, train
from alcurr.errors import FaultError
from alcurr.types import Pool


class Difficulty(NamedTuple):
  loss: dict[str, np.ndarray]  # [N] float32 for each pool
  seconds: float  # training and scoring, compilation left out


def loss_of(
  run: train.Run, result: train.Result, pools: Mapping[str, Pool]
) -> Difficulty:
  """Scores every pool with a reference model that is trained.

  Raises:
    FaultError: its losses are not finite, and so no difficulties.
  """
  if not tally.going(result.tally):
    raise FaultError(
      f"{tally.sentence(result.tally, 0, run.name)[:-1]}; without it nothing "
      "has a difficulty; a lower optimizer.learning_rate may help."
    )
  loss, seconds = {}, result.train_seconds
  for name, pool in pools.items():
    variables = (result.state.params, result.state.model_state)
    score = programs.compile_once(run.score, variables, pool)
    started = time.perf_counter()
    loss[name] = jax.device_get(score(variables, pool)).loss[0]
    seconds += time.perf_counter() - started
    if not np.isfinite(loss[name]).all():
      raise FaultError(
        f"{run.name} gives examples of {name!r} a loss that is not finite, "
        "which is no difficulty; a lower optimizer.learning_rate may help."
      )
  return Difficulty(loss, seconds)
