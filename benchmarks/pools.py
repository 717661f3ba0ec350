"""Pools to choose from, of any size: noise for images, lots for difficulty.

What choosing and gathering cost depends on shapes alone.
"""

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data.partitions import make_partition
from alcurr.types import Images, Partition, Pool, Strokes

NUM_CLASSES = 30
NUM_ARMS = 10


def _partitions(label: np.ndarray, num_arms: int) -> dict[str, Partition]:
  """Arms of equal sizes by lot; the names are those that samplers ask for."""
  by_lot = (np.arange(len(label)) * 7919) % num_arms
  lots = make_partition(by_lot, num_arms)
  return {
    "difficulty": lots,
    "difficulty_in_pool": lots,
    "label": make_partition(label, NUM_CLASSES),
  }


def make_pool(source: Images | Strokes, num_examples: int) -> Pool:
  """A pool on the device, of examples whose source is on the host."""
  rng = np.random.default_rng(0)
  label = rng.integers(NUM_CLASSES, size=num_examples, dtype=np.int32)
  difficulty = rng.random(num_examples, np.float32)
  pool = Pool(
    source, label, {"difficulty": difficulty}, _partitions(label, NUM_ARMS)
  )
  return jax.tree.map(jnp.asarray, pool)


def noise(num_examples: int, size: int) -> Images:
  """Images [N, size, size, 1] uint8 of noise."""
  rng = np.random.default_rng(0)
  shape = (num_examples, size, size, 1)
  return Images(rng.integers(256, size=shape, dtype=np.uint8))
