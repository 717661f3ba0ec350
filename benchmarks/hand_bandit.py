"""The active bandit, written by hand for a PyTorch loop.

It follows `alcurr.samplers.active_bandit` with the paper's settings, in NumPy.
Arms are tenths of difficulty. Each batch comes from one arm, by shuffled
passes. The gain on the training batch is ranked among all earlier gains. The
policy is the softmax of summed rewards.
"""

import bisect

import numpy as np

from benchmarks import doodle_job


class HandBandit:
  """Draws each batch from one arm, and learns from its gain."""

  def __init__(self, arm: np.ndarray, batch_size: int, seed: int):
    """Starts with a pool of N examples; `arm` [N] has the arm of each."""
    self._batch_size = batch_size
    self._rng = np.random.default_rng(seed)
    self._members = [
      np.flatnonzero(arm == k) for k in range(doodle_job.NUM_ARMS)
    ]
    self._remaining = [members[:0] for members in self._members]
    self._weight = np.zeros(doodle_job.NUM_ARMS)
    self._gains: list[float] = []  # sorted

  def policy(self) -> np.ndarray:
    """Returns the probabilities of the arms: [K]."""
    softmax = np.exp(self._weight - self._weight.max())
    softmax /= softmax.sum()
    epsilon = doodle_job.EPSILON
    return (1 - epsilon) * softmax + epsilon / len(softmax)

  def draw(self) -> tuple[int, np.ndarray]:
    """Returns an arm, and the next examples of its pass: [B]."""
    arm = self._rng.choice(len(self._weight), p=self.policy())
    remaining = self._remaining[arm]
    while len(remaining) < self._batch_size:
      shuffled = self._rng.permutation(self._members[arm])
      remaining = np.concatenate([remaining, shuffled])
    self._remaining[arm] = remaining[self._batch_size :]
    return arm, remaining[: self._batch_size]

  def learn(self, arm: int, gain: float) -> float:
    """Pays an arm for the gain of its batch; returns the reward."""
    # Gains of the warm-up are ranked too, but not paid for.
    bisect.insort(self._gains, gain)
    total = len(self._gains)
    below = bisect.bisect_left(self._gains, gain)
    equal = bisect.bisect_right(self._gains, gain) - below
    reward = (2 * (below + (equal + 1) / 2) - total) / total
    if total > doodle_job.WARMUP:
      self._weight[arm] += doodle_job.POLICY_LEARNING_RATE * reward
    return reward
