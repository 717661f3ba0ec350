"""Arguments that are records: texts and factories are none."""

import numpy as np
import pytest

from alcurr import bandits, gains, samplers
from alcurr.bandits import rewards
from alcurr.samplers import policies

RANK = rewards.rank(window=50)


def _bandit(**changes):
  return samplers.active_bandit(**({"batch_size": 8, "reward": RANK} | changes))


@pytest.mark.parametrize(
  ("make", "argument", "example"),
  [
    (lambda: _bandit(bandit="ucb"), "bandit", "bandits.ucb("),
    (lambda: _bandit(bandit=bandits.ucb), "bandit", "bandits.ucb("),
    (lambda: _bandit(gain="influence"), "gain", "gains.influence("),
    (lambda: _bandit(gain=bandits.ucb()), "gain", "gains."),
    (
      lambda: _bandit(reward="rank(window=9)"),
      *("reward", "rewards.rank(window=9)"),
    ),
    (lambda: _bandit(reward=None), "num_steps", "rewards.rank("),
    (lambda: _bandit(epsilon="linear"), "epsilon", "schedules.linear("),
    (lambda: bandits.significant("ucb"), "bandit", "bandits.ucb("),
    *(
      (
        lambda policy=policy: samplers.fixed_policy(
          policy, batch_size=8, num_steps=9
        ),
        *("policy", "policies.uniform("),
      )
      for policy in ("uniform", policies.uniform)
    ),
    (
      lambda: samplers.loshchilov_hutter(batch_size=8, pressure="cosine"),
      *("pressure", "schedules.cosine("),
    ),
    (
      lambda: samplers.dihcl(batch_size=8, learning_rate="0.1"),
      *("learning_rate", "schedules."),
    ),
  ],
)
def test_the_argument_and_what_makes_it_are_named(make, argument, example):
  with pytest.raises(ValueError) as error:
    make()
  assert str(error.value).startswith(argument)
  assert example in str(error.value)


@pytest.mark.parametrize("epsilon", [0, 0.5, np.float32(0.5), lambda step: 0.5])
def test_numbers_and_functions_are_schedules(epsilon):
  _bandit(epsilon=epsilon, gain=gains.random_gain(), bandit=bandits.ucb())
