"""Teacher-student curriculum learning (Matiisen et al. 2017, "Teacher-Student
Curriculum Learning", algorithms 1 to 4).

An arm is worth the slope of its learning curve, whose points are the sums of
the arm's rewards. The absolute value counts: an arm that is being forgotten is
as much worth training on as one that is being learned.

  online    Q_j += α (r_j - Q_j)
  naive     W steps on one arm, then Q_j += α (slope - Q_j)
  window    Q_j = slope of the arm's last W points against their steps
  sampling  Q_j = one of the arm's last W rewards, drawn again for each policy

Slopes are those of least squares. The policy is softmax(|Q| / τ), or any arm of
the highest |Q|.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.bandits._estimates import uniform_over_best
from alcurr.core.arguments import (
  check_at_least,
  check_choice,
  check_positive,
  check_positive_fraction,
)
from alcurr.core.counters import count_in_ring
from alcurr.types import ArmOutcome, Array, Bandit


class OnlineState(NamedTuple):
  value: Array  # [K] float32, Q
  step_size: Array  # [] float32


class NaiveState(NamedTuple):
  value: Array  # [K] float32, Q
  step_size: Array  # [] float32
  arm: Array  # [] int32, trained on now; K if it is still to be drawn
  curve: Array  # [W] float32, the points of that arm
  length: Array  # [] int32, number of points


class WindowState(NamedTuple):
  score: Array  # [K] float32, sum of the arm's rewards
  curve: Array  # [K, W] float32, the last points of each arm, as a ring
  at: Array  # [K, W] int32, the steps of those points
  count: Array  # [K] int32, points so far, see `count_in_ring`
  step: Array  # [] int32, updates so far


class SamplingState(NamedTuple):
  rewards: Array  # [K, W] float32, the last rewards of each arm, as a ring
  count: Array  # [K] int32, rewards so far, see `count_in_ring`


def _slope(x: Array, y: Array, known: Array) -> Array:
  """Returns the least-squares slopes of y over x, [..., W] -> [...].

  Points that are not `known` are ignored; without two points it is 0.
  """
  total = known.sum(-1, keepdims=True, dtype=jnp.float32)
  number = jnp.maximum(total, 1)

  def centred(z: Array) -> Array:
    z = jnp.where(known, z, 0)
    return jnp.where(known, z - z.sum(-1, keepdims=True) / number, 0)

  x, y = centred(x), centred(y)
  spread = (x**2).sum(-1)
  return jnp.where(spread > 0, (x * y).sum(-1), 0) / jnp.where(
    spread > 0, spread, 1
  )


def _push(ring: Array, count: Array, value: Array, paid: Array) -> Array:
  """Puts value [K] into the rings [K, W] of the arms that were paid."""
  place = jnp.where(paid, count % ring.shape[1], ring.shape[1])
  return ring.at[jnp.arange(ring.shape[0], dtype=jnp.int32), place].set(
    value, mode="drop"
  )


def _online(step_size: float, window: int, choose) -> Bandit:
  def init(num_arms: int) -> OnlineState:
    return OnlineState(jnp.zeros(num_arms, jnp.float32), jnp.float32(step_size))

  def update(state: OnlineState, outcome: ArmOutcome) -> OnlineState:
    moved = state.value + state.step_size * (outcome.reward - state.value)
    value = jnp.where(outcome.count > 0, moved, state.value)
    return state._replace(value=value)

  return Bandit(init, lambda key, state: choose(state.value), update)


def _naive(step_size: float, window: int, choose) -> Bandit:
  def init(num_arms: int) -> NaiveState:
    return NaiveState(
      value=jnp.zeros(num_arms, jnp.float32),
      step_size=jnp.float32(step_size),
      arm=jnp.int32(num_arms),
      curve=jnp.zeros(window, jnp.float32),
      length=jnp.int32(0),
    )

  def policy(key: Array, state: NaiveState) -> Array:
    num_arms = state.value.shape[0]
    same = jax.nn.one_hot(state.arm, num_arms, dtype=jnp.float32)
    return jnp.where(state.arm < num_arms, same, choose(state.value))

  def update(state: NaiveState, outcome: ArmOutcome) -> NaiveState:
    num_arms = state.value.shape[0]
    drawn = jnp.where(
      outcome.count.sum() > 0, outcome.count.argmax(), num_arms
    ).astype(jnp.int32)
    arm = jnp.where(state.arm < num_arms, state.arm, drawn)
    # A sampler that explores may have drawn other arms, which teach nothing.
    paid = outcome.count.at[arm].get(mode="fill", fill_value=0) > 0
    reward = outcome.reward.at[arm].get(mode="fill", fill_value=0)
    last = state.curve[state.length - 1]
    score = jnp.where(state.length > 0, last, 0) + reward
    place = jnp.where(paid, state.length, window)
    curve = state.curve.at[place].set(score, mode="drop")
    length = state.length + paid.astype(jnp.int32)
    full = length == window
    x = jnp.arange(window, dtype=jnp.int32)
    slope = _slope(x.astype(jnp.float32), curve, x < length)
    old = state.value.at[arm].get(mode="fill", fill_value=0)
    learned = state.value.at[arm].set(
      old + state.step_size * (slope - old), mode="drop"
    )
    return state._replace(
      value=jnp.where(full, learned, state.value),
      arm=jnp.where(full, num_arms, arm).astype(jnp.int32),
      curve=curve,
      length=jnp.where(full, 0, length).astype(jnp.int32),
    )

  return Bandit(init, policy, update)


def _window(step_size: float, window: int, choose) -> Bandit:
  def init(num_arms: int) -> WindowState:
    return WindowState(
      score=jnp.zeros(num_arms, jnp.float32),
      curve=jnp.zeros((num_arms, window), jnp.float32),
      at=jnp.zeros((num_arms, window), jnp.int32),
      count=jnp.zeros(num_arms, jnp.int32),
      step=jnp.int32(0),
    )

  def policy(key: Array, state: WindowState) -> Array:
    place = jnp.arange(window, dtype=jnp.int32)[None]
    known = place < state.count[:, None]
    # Differences of steps: float32 has no room for the steps of a long run.
    x = (state.at - state.step).astype(jnp.float32)
    y = state.curve - state.score[:, None]
    return choose(_slope(x, y, known))

  def update(state: WindowState, outcome: ArmOutcome) -> WindowState:
    paid = outcome.count > 0
    score = state.score + jnp.where(paid, outcome.reward, 0)
    step = jnp.full_like(state.count, state.step)
    return WindowState(
      score=score,
      curve=_push(state.curve, state.count, score, paid),
      at=_push(state.at, state.count, step, paid),
      count=count_in_ring(state.count, paid, window),
      step=state.step + 1,
    )

  return Bandit(init, policy, update)


def _sampling(step_size: float, window: int, choose) -> Bandit:
  def init(num_arms: int) -> SamplingState:
    return SamplingState(
      jnp.zeros((num_arms, window), jnp.float32),
      jnp.zeros(num_arms, jnp.int32),
    )

  def policy(key: Array, state: SamplingState) -> Array:
    known = jnp.clip(state.count, 1, window)
    place = jax.random.randint(key, known.shape, 0, known, jnp.int32)
    reward = jnp.take_along_axis(state.rewards, place[:, None], 1)[:, 0]
    # As in the paper, an arm without rewards counts as the best possible.
    return choose(jnp.where(state.count > 0, reward, 1))

  def update(state: SamplingState, outcome: ArmOutcome) -> SamplingState:
    paid = outcome.count > 0
    return SamplingState(
      _push(state.rewards, state.count, outcome.reward, paid),
      count_in_ring(state.count, paid, window),
    )

  return Bandit(init, policy, update)


_VARIANTS = {
  "online": _online,
  "naive": _naive,
  "window": _window,
  "sampling": _sampling,
}


def tscl(
  *,
  variant: str = "online",
  step_size: float = 0.1,
  window: int = 10,
  temperature: float | None = None,
) -> Bandit:
  """Draws the arms whose learning curves are the steepest.

  Memory: O(K), or O(W K) for the variants window and sampling.

  Args:
    variant: online, naive, window or sampling, see above.
    step_size: α in (0, 1], of the variants online and naive.
    window: W, at least 2, of the other three variants.
    temperature: τ, in [1e-18, 1e18]; None for any arm of the highest |Q|,
      which wants a sampler that explores.
  """
  check_choice(_VARIANTS, variant=variant)
  check_positive_fraction(step_size=step_size)
  check_at_least(2, window=window)
  if temperature is not None:
    check_positive(temperature=temperature)

  def choose(value: Array) -> Array:
    size = jnp.abs(value)
    if temperature is None:
      return uniform_over_best(size)
    return jax.nn.softmax(size / temperature)

  return _VARIANTS[variant](step_size, window, choose)
