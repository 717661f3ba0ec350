"""Draws of the examples that a progress signal is measured on."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.mixtures import Weights, check_weights, to_shares
from alcurr.types import Array, Partition, Pool


def draw_from_arms(key: Array, partition: Partition, arm: Array) -> Array:
  """Draws an example of each arm [b], with replacement: index [b]."""
  slot = jax.random.randint(key, arm.shape, 0, partition.size[arm], jnp.int32)
  return partition.order[partition.start[arm] + slot]


class ProbeDraw(NamedTuple):
  """Draws from a probe pool, uniformly or by a mixture of its arms."""

  partitions: tuple[str, ...]  # that it reads
  check: Callable[[Pool], None]  # raises ValueError where a pool is unfit
  draw: Callable[[Array, Pool, int], Array]  # (key, probe, b) -> index [b]


def make_probe_draw(mixture: Weights, mixture_of: str) -> ProbeDraw:
  """Returns a draw with replacement; without a mixture, of all alike."""
  check_weights(mixture=mixture)

  def draw_any(key: Array, probe: Pool, size: int) -> Array:
    return jax.random.randint(key, (size,), 0, probe.label.shape[0], jnp.int32)

  if mixture is None:
    return ProbeDraw((), lambda pool: None, draw_any)

  def check(pool: Pool) -> None:
    if mixture_of not in pool.partitions:
      text = f"mixture_of: no partition {mixture_of!r}"
      raise ValueError(f"{text}, only {sorted(pool.partitions)}")
    to_shares(mixture, pool.partitions[mixture_of], "mixture")

  def draw(key: Array, probe: Pool, size: int) -> Array:
    key_arm, key_example = jax.random.split(key)
    arms = probe.partitions[mixture_of]
    share = to_shares(mixture, arms, "mixture")
    arm = jax.random.categorical(key_arm, jnp.log(share), shape=(size,))
    return draw_from_arms(key_example, arms, arm.astype(jnp.int32))

  return ProbeDraw((mixture_of,), check, draw)
