"""Transforms of raw gains into rewards in [-1, 1].

Gains shrink by orders of magnitude as a model learns; their ranks among the
earlier gains do not.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.core.registry import Registry
from alcurr.types import Array, Reward


class RankState(NamedTuple):
  history: Array  # [window] float32, a ring of the last gains
  count: Array  # [] int32, gains ever seen


def rank(*, window: int | None = None, num_steps: int | None = None) -> Reward:
  """Rewards a gain by its rank among the gains so far, itself included.

  The reward of the gain with rank r of t (1 the smallest, ties share their
  mean rank) is (2 r - t) / t, in (-1, 1] ("Data Sampling Algorithms for
  Active Learning", the update of its active bandit). Over the whole history,
  gains that shrink with time stay among the smallest forever; a window
  forgets. Cost: `window` comparisons for each gain of a step.

  Args:
    window: number of gains remembered; None for all, as in the paper.
    num_steps: steps of the run, which bounds the whole history.
  """
  check_at_least(2, window=window)
  if window is None and num_steps is None:
    raise ValueError("give a window, or num_steps for the whole history")

  def init(most_paid: int) -> RankState:
    if window is not None and window < most_paid:
      text = f"window {window} is smaller than the {most_paid} gains of a step"
      raise ValueError(text)
    size = window if window is not None else num_steps * most_paid
    return RankState(jnp.zeros(size, jnp.float32), jnp.int32(0))

  def apply(
    state: RankState, gain: Array, valid: Array
  ) -> tuple[Array, RankState]:
    size = state.history.shape[0]
    # The gains of a step enter the history together: the j-th valid one takes
    # the j-th free place, the others none (`size` is out of range).
    place = state.count + jnp.cumsum(valid) - 1
    place = jnp.where(valid, place % size, size)
    history = state.history.at[place].set(gain, mode="drop")
    count = state.count + valid.sum()
    known = jnp.arange(size) < count
    below = ((history < gain[:, None]) & known).sum(1)
    equal = ((history == gain[:, None]) & known).sum(1)
    position = below + (equal + 1) / 2  # [m], the mean rank of the ties
    total = jnp.maximum(jnp.minimum(count, size), 1)
    reward = jnp.where(valid, (2 * position - total) / total, 0)
    return reward, RankState(history, count)

  return Reward(init, apply)


REWARDS = Registry("rewards", {"rank": rank}, record=Reward)
