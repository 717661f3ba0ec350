"""Images that a linear model classifies: one bright row, which is the class."""

import jax.numpy as jnp
import numpy as np

from alcurr import models


def make_data(num_examples=300, seed=0):
  """Makes images [N, 4, 4] and labels [N] of three classes."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 3, num_examples)
  images = rng.integers(0, 100, (num_examples, 4, 4)).astype(np.uint8)
  images[np.arange(num_examples), labels] += 120
  return images, labels


def linear(*, input_shape, num_classes):
  """Makes a linear model; no closure, so that its code identifies it."""
  size = int(np.prod(input_shape))
  return models.from_functions(
    lambda key: jnp.zeros((size, num_classes)),
    lambda params, image: image.reshape(len(image), -1) @ params,
  )


def of_dict(*, input_shape, num_classes):
  """Makes a linear model of the arrays `first` and `rest` of rows."""
  size = 1 + input_shape["rest"].shape[0]
  return models.from_functions(
    lambda key: jnp.zeros((size, num_classes)),
    lambda params, rows: (
      jnp.concatenate([rows["first"][:, None], rows["rest"]], 1) @ params
    ),
  )
