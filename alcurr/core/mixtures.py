"""Mixtures: the shares in which the arms of a partition are drawn."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from alcurr.types import Array, Partition

# A weight for each arm, in their order or by name; None: their natural shares.
Weights = tuple[float, ...] | Mapping[str, float] | None


def check_weights(**arguments: Weights) -> None:
  """Raises ValueError for weights that are negative or not finite."""
  for name, weights in arguments.items():
    values = weights.values() if isinstance(weights, Mapping) else weights
    array = np.asarray([*(values if weights is not None else ())], float)
    # In this range their sum is finite, and so is each share.
    if array.ndim != 1 or not ((array >= 0) & (array <= 1e18)).all():
      raise ValueError(f"{name} must be numbers in [0, 1e18], got {weights}")


def to_shares(weights: Weights, arms: Partition, place: str) -> Array:
  """Returns the shares of K arms, which sum to 1: [K] float32.

  Arms that `weights` does not name have none, and arms without examples never
  have any. If no arm with examples has a weight, all of them have the same.

  Raises:
    ValueError: about `place`, for another number of weights than of arms, or a
      name that no arm has.
  """
  num_arms = arms.size.shape[0]
  if weights is None:
    weight = jnp.asarray(arms.size, jnp.float32)
  else:
    if isinstance(weights, Mapping):
      known = ", ".join(arms.names) or "none: give them in their order"
      for name in weights:
        if name not in arms.names:
          raise ValueError(f"{place}: no arm {name!r}; names are {known}")
      weights = [weights.get(name, 0.0) for name in arms.names]
    if len(weights) != num_arms:
      text = f"{place}: {len(weights)} weights do not fit {num_arms} arms"
      raise ValueError(text)
    # Relative to the largest: float32 cannot divide by all that it can hold.
    largest = max(*weights, 1e-30)
    weight = jnp.asarray([w / largest for w in weights], jnp.float32)
  present = jnp.asarray(arms.size > 0, jnp.float32)
  weight = weight * present
  weight = jnp.where(weight.sum() > 0, weight, present)
  return weight / weight.sum()
