"""Estimates of every arm's reward from the arms that a step paid."""

import jax.numpy as jnp

from alcurr.types import ArmOutcome, Array


def credit_share(outcome: ArmOutcome) -> Array:
  """Returns each arm's share of the gains of a step, [K]; zeros for none.

  It is the indicator of the arm drawn if the step drew one arm. If it drew m
  arms, an estimate weighted by the shares is the mean of those of m steps.
  """
  return outcome.count / jnp.maximum(outcome.count.sum(), 1)


def importance_weighted(outcome: ArmOutcome, value: Array) -> Array:
  """Returns value / prob of the arms paid, by their shares: [K], unbiased."""
  share = credit_share(outcome)
  paid = share > 0
  return jnp.where(paid, share * value / jnp.where(paid, outcome.prob, 1), 0)


def uniform_over_best(index: Array) -> Array:
  """Returns the policy that draws any arm of the highest index [K]."""
  best = (index == index.max()).astype(jnp.float32)
  return best / best.sum()
