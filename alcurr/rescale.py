"""From raw gains to rewards in [-1, 1].

Gains shrink by orders of magnitude as a model learns; their rank among the
gains before them does not.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.plugins import Registry
from alcurr.types import Array, Rescale


class RankState(NamedTuple):
  history: Array  # [window] float32, a ring of the last gains
  count: Array  # [] int32, gains ever seen


def rank(*, window: int | None = None, num_steps: int | None = None) -> Rescale:
  """The rank of a gain among the gains so far, itself included.

  The reward of the gain with rank r of t (1 the smallest, ties share their
  mean rank) is (2 r - t) / t, in (-1, 1] ("Data Sampling Algorithms for
  Active Learning", the update of its active bandit). Over the whole history
  a gain that shrinks with time is forever among the smallest; a window
  forgets. Cost: window comparisons for each gain of a step.

  Args:
    window: how many gains are remembered; None for all, as in the paper.
    num_steps: steps of the run, to make room for all gains.
  """
  if window is not None and window < 2:
    raise ValueError(f"window must be at least 2, got {window}")
  if window is None and num_steps is None:
    raise ValueError("give a window, or num_steps for the whole history")

  def init(most_paid: int) -> RankState:
    if window is not None and window < most_paid:
      raise ValueError(
        f"window {window} is smaller than the {most_paid} gains of one step"
      )
    size = window if window is not None else num_steps * most_paid
    return RankState(jnp.zeros(size, jnp.float32), jnp.int32(0))

  def apply(state: RankState, gain: Array, here: Array):
    size = state.history.shape[0]
    # The gains of a step enter the history together: the j-th that is here
    # takes the j-th free place, the others none (`size` is out of range).
    place = state.count + jnp.cumsum(here) - 1
    place = jnp.where(here, place % size, size)
    history = state.history.at[place].set(gain, mode="drop")
    count = state.count + here.sum()
    known = jnp.arange(size) < count
    below = ((history < gain[:, None]) & known).sum(1)
    equal = ((history == gain[:, None]) & known).sum(1)
    position = below + (equal + 1) / 2  # [m], the mean rank of the ties
    total = jnp.maximum(jnp.minimum(count, size), 1)
    reward = jnp.where(here, (2 * position - total) / total, 0)
    return reward, RankState(history, count)

  return Rescale(init, apply)


RESCALES = Registry("rescales", {"rank": rank})
