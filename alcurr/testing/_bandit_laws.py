"""The laws of bandits: each raises AssertionError if a bandit breaks it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from alcurr.testing import _toys
from alcurr.types import ArmOutcome, Bandit, PyTree

_STEPS = 200


# Laws that play as long, with as many arms, share a program.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _play(
  bandit: Bandit, num_arms: int, reward: jax.Array
) -> tuple[PyTree, jax.Array]:
  """Plays rewards [T, K]; each step draws and pays an arm.

  Returns:
    The last state, and the policy of each step, [T, K].
  """

  def step(state, inputs):
    key, reward = inputs
    key_policy, key_arm = jax.random.split(key)
    policy = bandit.policy(key_policy, state)
    arm = jax.random.categorical(key_arm, jnp.log(policy))
    count = jax.nn.one_hot(arm, num_arms)
    return bandit.update(
      state, ArmOutcome(reward * count, count, policy)
    ), policy

  keys = jax.random.split(jax.random.key(0), reward.shape[0])
  return jax.lax.scan(step, bandit.init(num_arms), (keys, reward))


@functools.partial(jax.jit, static_argnums=0)
def _policy(bandit: Bandit, key: jax.Array, state: PyTree) -> jax.Array:
  return bandit.policy(key, state)


def _require_policy(bandit: Bandit, state: PyTree) -> None:
  policy = np.asarray(_policy(bandit, jax.random.key(1), state))
  _toys.require(np.isfinite(policy).all(), f"a policy of {policy}")
  _toys.require((policy >= 0).all(), f"a policy of {policy}")
  np.testing.assert_allclose(policy.sum(), 1, rtol=1e-5)


def policies_are_distributions(bandit: Bandit) -> None:
  """From 1 to 300 arms, at first and after random rewards."""
  for num_arms in (1, 4, 300):
    reward = jax.random.uniform(
      jax.random.key(2), (_STEPS, num_arms), minval=-1, maxval=1
    )
    _require_policy(bandit, bandit.init(num_arms))
    state, _ = _play(bandit, num_arms, reward)
    _require_policy(bandit, state)


def extreme_rewards_leave_the_policy_finite(bandit: Bandit) -> None:
  for value in (-1.0, 1.0):
    reward = jnp.full((10 * _STEPS, 4), value)
    state, _ = _play(bandit, 4, reward)
    _require_policy(bandit, state)


def state_keeps_its_shapes_and_stays_finite(bandit: Bandit) -> None:
  after, _ = _play(bandit, 4, jnp.ones((_STEPS, 4)))
  _toys.require_same_kinds(bandit.init(4), after)


def a_step_that_pays_no_arm_keeps_the_policy_valid(bandit: Bandit) -> None:
  state = bandit.init(4)
  zeros = jnp.zeros(4)
  state = bandit.update(state, ArmOutcome(zeros, zeros, jnp.full(4, 0.25)))
  _require_policy(bandit, state)


def vmap_is_the_loop(bandit: Bandit) -> None:
  reward = jax.random.normal(jax.random.key(3), (2, _STEPS, 4)).clip(-1, 1)
  both = jax.vmap(lambda reward: _play(bandit, 4, reward))(reward)
  for i in range(2):
    single = jax.tree.map(lambda x, i=i: x[i], both)
    alone = _play(bandit, 4, reward[i])
    _toys.assert_equal(single, alone, rtol=1e-5, atol=1e-6)


def a_better_arm_is_never_drawn_less_than_at_first(bandit: Bandit) -> None:
  """The only arm with a reward of 1, where the others get 0.

  Not -1: some bandits draw an arm for the size of its rewards.
  """
  reward = jnp.where(jnp.arange(4) == 2, 1.0, 0.0)
  _, policies = _play(bandit, 4, jnp.tile(reward, (10 * _STEPS, 1)))
  # A greedy bandit now and then draws another arm, with certainty.
  policy = np.asarray(policies)[-_STEPS:].mean(0)
  _toys.require(policy[2] >= 0.25, f"a mean policy of {policy}")


BANDIT_LAWS = _toys.collect_laws(globals())


def check_bandit(bandit: Bandit) -> pd.DataFrame:
  """Runs every law on a bandit.

  Returns:
    A row for each law: its name, whether it holds, and what was seen if not.
  """
  return _toys.run_laws(BANDIT_LAWS, bandit)
