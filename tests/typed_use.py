"""A program of a user, for the type checker: what the public names return.

It is checked and not run: `mypy`, which .ci/run calls.
"""

from typing import assert_type

import jax
import numpy as np
import optax
import pandas as pd
from matplotlib.figure import Figure

import alcurr
from alcurr import bandits, data, gains, models, samplers
from alcurr.bandits import rewards
from alcurr.integrations import IndexStream, pool_info
from alcurr.integrations.torch import BatchSampler
from alcurr.training import Hooks, HookState, make_hooks
from alcurr.types import (
  Bandit,
  Batch,
  Draw,
  Gain,
  Model,
  Partition,
  Pool,
  Reward,
  Sampler,
)


def compare(images: np.ndarray, labels: np.ndarray) -> None:
  result = alcurr.compare(images, labels, samplers=["uniform"], trials=3)
  assert_type(result, alcurr.Comparison)
  assert_type(result.verdict, str)
  assert_type(result.summary, pd.DataFrame)
  assert_type(result.plot_curves(), Figure)
  assert_type(alcurr.find_label_issues(images, labels), pd.DataFrame)


def make_samplers() -> list[Sampler]:
  assert_type(bandits.softmax(learning_rate=0.2), Bandit)
  assert_type(gains.influence(probe_size=16), Gain)
  assert_type(rewards.rank(window=500), Reward)
  return [
    samplers.uniform(batch_size=32),
    samplers.label_trust(batch_size=32, num_steps=100),
    samplers.active_bandit(
      bandits.softmax(), gain=gains.prediction_gain(), batch_size=32
    ),
  ]


def train(sampler: Sampler, pool: Pool, params: dict[str, jax.Array]) -> None:
  def losses(params: dict[str, jax.Array], batch: Batch) -> jax.Array:
    logits = batch.inputs @ params["w"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)

  hooks = make_hooks(sampler, losses)
  assert_type(hooks, Hooks)
  state = hooks.init(jax.random.key(0), params, pool)
  assert_type(state, HookState)
  step = hooks.begin(state, params, pool)
  assert_type(step.draw, Draw)
  assert_type(hooks.end(step, params), HookState)


def stream(sampler: Sampler, labels: np.ndarray) -> None:
  source = IndexStream(sampler, pool_info(sampler, labels))
  assert_type(source.next(), np.ndarray)
  batches = BatchSampler(source)
  batches.update(losses=labels)
  assert_type(len(batches), int)


def build(images: np.ndarray, labels: np.ndarray) -> Pool:
  dataset = data.from_arrays(images, labels)
  arms = data.difficulty_in_class(dataset.label, labels, num_arms=10)
  assert_type(arms, Partition)
  assert_type(models.cnn(input_shape=(28, 28, 1), num_classes=10), Model)
  return data.make_pool(dataset, labels, {"difficulty": arms})


def recover() -> tuple[str, str]:
  try:
    alcurr.compare(trials=0)
  except alcurr.UserError as error:
    return error.code, error.place
  return "", ""
