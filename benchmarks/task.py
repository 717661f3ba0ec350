"""The batch and the optimizer of every contestant of `benchmarks.models`."""

import numpy as np

CHANNELS = 3
NUM_CLASSES = 30
# Small, so that the batch is not memorized: denormal gradients would be slow.
LEARNING_RATE = 1e-3
MOMENTUM = 0.9


def batch(batch_size: int, image_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns noise [B, H, W, C] float32, and labels [B] int32."""
  rng = np.random.default_rng(0)
  shape = (batch_size, image_size, image_size, CHANNELS)
  image = rng.standard_normal(shape, dtype=np.float32)
  return image, rng.integers(NUM_CLASSES, size=batch_size, dtype=np.int32)
