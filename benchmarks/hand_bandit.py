"""The active bandit as one would write it by hand for a PyTorch loop.

The rules of `alcurr.samplers._active_bandit` with its defaults, on the host:
tenths of difficulty are the arms, each batch is from one of them by shuffled
passes, the gain of the trained batch is ranked among all gains so far, and the
policy is the softmax of summed rewards.
"""

import bisect

import numpy as np

from benchmarks import doodle_job


class HandBandit:
  """Draws batches of one arm each, and learns from their gains."""

  def __init__(self, arm: np.ndarray, batch_size: int, seed: int):
    """Of a pool of N examples, whose arms are `arm` [N]."""
    self._batch_size = batch_size
    self._rng = np.random.default_rng(seed)
    self._members = [
      np.flatnonzero(arm == k) for k in range(doodle_job.NUM_ARMS)
    ]
    self._rest = [members[:0] for members in self._members]
    self._weight = np.zeros(doodle_job.NUM_ARMS)
    self._gains: list[float] = []  # sorted

  def policy(self) -> np.ndarray:
    """The arms' probabilities [K]."""
    softmax = np.exp(self._weight - self._weight.max())
    softmax /= softmax.sum()
    epsilon = doodle_job.EPSILON
    return (1 - epsilon) * softmax + epsilon / len(softmax)

  def draw(self) -> tuple[int, np.ndarray]:
    """An arm, and the next examples of its pass: [B]."""
    arm = self._rng.choice(len(self._weight), p=self.policy())
    rest = self._rest[arm]
    while len(rest) < self._batch_size:
      shuffled = self._rng.permutation(self._members[arm])
      rest = np.concatenate([rest, shuffled])
    self._rest[arm] = rest[self._batch_size :]
    return arm, rest[: self._batch_size]

  def learn(self, arm: int, gain: float) -> float:
    """Pays an arm for the gain of its batch; the reward."""
    # So far, with this one: the warmup's gains are ranked and not paid.
    bisect.insort(self._gains, gain)
    total = len(self._gains)
    below = bisect.bisect_left(self._gains, gain)
    equal = bisect.bisect_right(self._gains, gain) - below
    reward = (2 * (below + (equal + 1) / 2) - total) / total
    if total > doodle_job.WARMUP:
      self._weight[arm] += doodle_job.POLICY_LEARNING_RATE * reward
    return reward
