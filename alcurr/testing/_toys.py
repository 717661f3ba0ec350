"""A pool and a model small enough to check every law on them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from alcurr.data import partitions
from alcurr.types import Images, Model, Pool, PyTree

BATCH_SIZE = 16
NUM_CLASSES = 4
NUM_ARMS = 5


def make_pool(num_examples: int = 640, seed: int = 0) -> Pool:
  """Returns noise with a class-dependent bright row; difficulty is random."""
  rng = np.random.default_rng(seed)
  label = rng.integers(0, NUM_CLASSES, num_examples).astype(np.int32)
  image = rng.integers(0, 128, (num_examples, 4, 4, 1))
  image[np.arange(num_examples), label] += 100
  difficulty = rng.normal(size=num_examples).astype(np.float32)
  pool = Pool(
    Images(image.astype(np.uint8)),
    label,
    {"difficulty": difficulty},
    {
      name: make_partition(label, difficulty, NUM_ARMS)
      for name, make_partition in partitions.PARTITIONS.items()
    },
  )
  return jax.tree.map(jnp.asarray, pool)


def make_linear() -> Model:
  """Returns a softmax regression on the images of `make_pool`."""

  def init(key):
    weight = 0.01 * jax.random.normal(key, (16, NUM_CLASSES))
    return {"weight": weight, "bias": jnp.zeros(NUM_CLASSES)}, {}

  def apply(key, params, model_state, image, *, train):
    flat = image.reshape(image.shape[0], -1)
    return flat @ params["weight"] + params["bias"], model_state

  return Model(init, apply)


def arrays(tree: PyTree) -> list[np.ndarray]:
  """Returns the leaves of a tree as NumPy arrays, keys as their data."""
  return [
    np.asarray(
      jax.random.key_data(leaf)
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
      else leaf
    )
    for leaf in jax.tree.leaves(tree)
  ]


def require(holds: bool | np.bool_, text: str) -> None:
  """Raises AssertionError with a text, also under `python -O`."""
  if not holds:
    raise AssertionError(text)


def assert_equal(left: PyTree, right: PyTree, **tolerance: float) -> None:
  """Compares two trees bitwise, or floats within a tolerance."""
  structure, other = jax.tree.structure(left), jax.tree.structure(right)
  require(structure == other, f"{structure} is not {other}")
  for a, b in zip(arrays(left), arrays(right), strict=True):
    np.testing.assert_allclose(a, b, **({"rtol": 0} | tolerance))


def run_laws(laws: dict[str, Any], case: Any) -> pd.DataFrame:
  """Returns a row for each law: its name, whether it holds, what was seen."""
  rows = []
  for name, law in laws.items():
    seen = ""
    try:
      law(case)
    except AssertionError as error:
      seen = str(error).strip() or "AssertionError"
    rows.append((name.replace("_", " "), not seen, seen))
  return pd.DataFrame(rows, columns=["law", "holds", "seen"])
