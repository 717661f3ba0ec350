"""Makes pools of any size, with random images and difficulties.

The cost of sampling and gathering depends only on shapes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data.partitions import make_partition
from alcurr.types import Images, Partition, Pool, Strokes

NUM_CLASSES = 30
NUM_ARMS = 10


def scatter(num_examples: int, num_arms: int) -> Partition:
  """Returns a partition into arms of equal sizes."""
  arm = (np.arange(num_examples) * 7919) % num_arms
  return make_partition(arm, num_arms)


def _partitions(label: np.ndarray, num_arms: int) -> dict[str, Partition]:
  """Returns the partitions that samplers use, with arms of equal sizes."""
  partition = scatter(len(label), num_arms)
  return {
    "difficulty": partition,
    "difficulty_in_pool": partition,
    "label": make_partition(label, NUM_CLASSES),
  }


def make_pool(source: Images | Strokes, num_examples: int) -> Pool:
  """Returns a pool on the device, from a source on the host."""
  rng = np.random.default_rng(0)
  label = rng.integers(NUM_CLASSES, size=num_examples, dtype=np.int32)
  difficulty = rng.random(num_examples, np.float32)
  pool = Pool(
    source, label, {"difficulty": difficulty}, _partitions(label, NUM_ARMS)
  )
  return jax.tree.map(jnp.asarray, pool)


def noise(num_examples: int, size: int) -> Images:
  """Returns images of noise: [N, size, size, 1] uint8."""
  rng = np.random.default_rng(0)
  shape = (num_examples, size, size, 1)
  return Images(rng.integers(256, size=shape, dtype=np.uint8))
