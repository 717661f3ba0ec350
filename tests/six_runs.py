"""A config of six runs of a linear model, each of seconds, or of fewer."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from alcurr.models import MODELS
from alcurr.types import Model
from configs import default


def make_linear(
  image_shape: tuple[int, ...] = (8, 8, 1), num_classes: int = 4
) -> Model:
  """Returns a softmax regression, which compiles fast."""
  size = image_shape[0] * image_shape[1] * image_shape[2]

  def init(key):
    del key
    return {"weight": jnp.zeros((size, num_classes), jnp.float32)}, {}

  def apply(key, params, model_state, image, *, train):
    del key, train
    logits = image.reshape(image.shape[0], -1) @ params["weight"]
    return logits, model_state

  def features(params, model_state, image):
    del params, model_state
    return image.reshape(image.shape[0], -1)

  return Model(init, apply, features=features)


if "six_runs_linear" not in MODELS:  # a config file may be read twice
  MODELS["six_runs_linear"] = make_linear


def get_config(count: str = "6") -> ConfigDict:
  config = default.get_config()
  config.model.name = "six_runs_linear"
  config.data.num_examples = 600
  config.data.classes = "4"
  config.data.image_size = 8
  config.data.render = "precompute"
  config.trials = 2
  config.batch_size = 8
  config.num_evals = 2
  config.budget = "48 steps"
  config.chunk_steps = 4
  config.checkpoint.minutes = 0.0
  config.checkpoint.steps = 8
  config.tracking = "none"
  config.difficulty.budget = "24 steps"
  config.difficulty.num_arms = 3
  samplers = {"uniform": {"name": "uniform", "replacement": False}}
  samplers |= {
    f"bandit_{epsilon}": default.bandit(epsilon=f"0.{epsilon}", warmup=4)
    for epsilon in range(1, int(count))
  }
  config.samplers = ConfigDict(samplers)
  return config
