"""A pool and a model so small that every law can be checked on them."""

import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alcurr import samplers, train
from alcurr.data.pool import make_gather
from alcurr.difficulty import arms
from alcurr.types import Images, Model, Pool, PyTree

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


def make_run(
  spec: Mapping[str, Any] = types.MappingProxyType({"name": "uniform"}),
  batch_size: int = 8,
  num_steps: int = 20,
  trials_by: str = "map",
  **changes,
) -> train.Run:
  """Two trials of a sampler, in chunks of five steps, evaluated twice."""
  model, gather = make_linear(), make_gather()
  return train.Run(
    sampler=samplers.get_sampler(
      spec, "x", batch_size=batch_size, num_steps=num_steps
    ),
    model=model,
    tx=optax.adam(0.1),
    gather=gather,
    num_steps=num_steps,
    batch_size=batch_size,
    seeds=(0, 1),
    trials_by=trials_by,
    evaluations=2,
    chunk_steps=5,
    score=train.make_score(model, gather, 50, trials_by),
  )._replace(**changes)


def arrays(tree: PyTree) -> list[np.ndarray]:
  """The leaves of a tree as NumPy arrays, keys as their data."""
  return [
    np.asarray(
      jax.random.key_data(leaf)
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
      else leaf
    )
    for leaf in jax.tree.leaves(tree)
  ]
