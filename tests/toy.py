"""A pool and a model so small that every law can be checked on them."""

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.difficulty import arms
from alcurr.types import Images, Model, Pool

NUM_CLASSES = 4
NUM_ARMS = 5


def make_pool(num_examples: int = 640, seed: int = 0) -> Pool:
  """Noise with a class-dependent bright row; difficulty is random."""
  rng = np.random.default_rng(seed)
  label = rng.integers(0, NUM_CLASSES, num_examples).astype(np.int32)
  image = rng.integers(0, 128, (num_examples, 4, 4, 1))
  image[np.arange(num_examples), label] += 100
  difficulty = rng.normal(size=num_examples).astype(np.float32)
  pool = Pool(
    Images(image.astype(np.uint8)),
    label,
    difficulty,
    {
      name: partition(label, difficulty, NUM_ARMS)
      for name, partition in arms.ARMS.items()
    },
  )
  return jax.tree.map(jnp.asarray, pool)


def make_linear() -> Model:
  """Softmax regression, in a line each."""

  def init(key):
    weight = 0.01 * jax.random.normal(key, (16, NUM_CLASSES))
    return {"weight": weight, "bias": jnp.zeros(NUM_CLASSES)}, {}

  def apply(key, params, model_state, image, *, train):
    flat = image.reshape(image.shape[0], -1)
    return flat @ params["weight"] + params["bias"], model_state

  return Model(init, apply)
