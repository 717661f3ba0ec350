"""Every bandit x every law of `alcurr.testing`, with no special case."""

import jax.numpy as jnp
import pytest

from alcurr import bandits, testing

# A new bandit adds a row.
BANDITS = {
  "epsilon_greedy": bandits.epsilon_greedy(),
  "exp3": bandits.exp3(),
  "exp3_ix": bandits.exp3_ix(),
  "exp3s": bandits.exp3s(),
  "hedge": bandits.hedge(),
  "significant": bandits.significant(),
  "significant, discounted": bandits.significant(bandits.exp3(), discount=0.99),
  "softmax": bandits.softmax(learning_rate=0.2),
  "thompson": bandits.thompson(),
  "tscl": bandits.tscl(),
  "tscl, naive": bandits.tscl(variant="naive"),
  "tscl, window": bandits.tscl(variant="window", temperature=0.1),
  "tscl, sampling": bandits.tscl(variant="sampling"),
  "ucb": bandits.ucb(),
  "ucb, discounted": bandits.ucb(discount=0.99),
  "ucb, window": bandits.ucb(window=50),
}

# Their policies are those of NumPy, in tests/bandits/oracles_test.py and
# tests/samplers/active_bandit_test.py.
SLOW = {"epsilon_greedy", "exp3", "exp3_ix", "hedge", "softmax"}


def test_every_bandit_of_the_registry_is_in_the_table():
  assert {name.split(",")[0] for name in BANDITS} == set(bandits.BANDITS)


@pytest.mark.parametrize("law", testing.BANDIT_LAWS)
@pytest.mark.parametrize(
  "name",
  [
    # Other settings of the same bandits are slow.
    pytest.param(
      name, marks=pytest.mark.slow if "," in name or name in SLOW else ()
    )
    for name in BANDITS
  ],
)
def test_law(name, law):
  testing.BANDIT_LAWS[law](BANDITS[name])


def test_a_policy_that_is_no_distribution_breaks_a_law():
  good = BANDITS["softmax"]
  bad = good._replace(policy=lambda key, state: 2 * good.policy(key, state))
  table = testing.check_bandit(bad).set_index("law")
  assert not table.holds["policies are distributions"]


def test_a_bandit_that_learns_backwards_breaks_a_law():
  good = BANDITS["softmax"]

  def update(state, outcome):
    return good.update(
      state, outcome._replace(reward=jnp.negative(outcome.reward))
    )

  table = testing.check_bandit(good._replace(update=update))
  broken = list(table.law[~table.holds])
  assert broken == ["a better arm is never drawn less than at first"]
