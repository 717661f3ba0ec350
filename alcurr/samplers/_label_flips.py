"""Estimates how often a class is labelled as another one.

`flips[t, y]` is P(label y | class t). The classes are not known, but some
predictions are nearly always right: those of the most confidence. Among these
anchors (Patrini et al. 2017, "Making Deep Neural Networks Robust to Label
Noise: a Loss Correction Approach"), labels are counted, as in Northcutt et al.
2021, "Confident Learning".

The counts are small, so that they are shrunk: the share of wrong labels of a
class toward that of all classes, and the wrong labels of a class toward equal
shares. By how much, the counts tell: the concentration of the Dirichlet prior
is that of the largest marginal likelihood (Minka 2000, "Estimating a Dirichlet
Distribution"). Labels that are wrong at random are thus taken as such, and so
are classes that are taken for one another.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from alcurr.types import Array

_ANCHORS = 0.2  # the share of the predictions of each class
_CONCENTRATIONS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 1e4)
_LEAST = 1e-6  # probability of a flip


class Flips(NamedTuple):
  """How labels differ from classes."""

  flips: Array  # [V, V] float32, P(label y | class t) at [t, y]
  rate: Array  # [] float32, the share of wrong labels
  num_anchors: Array  # [] float32


def rank_in_group(value: Array, group: Array, valid: Array) -> Array:
  """Returns the ranks of the valid ones in their group, in (0, 1): [N]."""
  order = jnp.lexsort((value, group, ~valid))
  # The others are groups of their own, at the end.
  groups = jnp.where(valid, group, group + group.max() + 1)[order]
  first = jnp.searchsorted(groups, groups, side="left")
  last = jnp.searchsorted(groups, groups, side="right")
  place = jnp.arange(value.shape[0], dtype=jnp.int32)
  rank = (place - first).astype(jnp.float32) + 0.5
  rank = rank / (last - first).astype(jnp.float32)
  return jnp.zeros_like(value).at[order].set(rank)


def concentration(counts: Array, mean: Array) -> Array:
  """Returns the concentration of a Dirichlet prior with a known mean.

  Args:
    counts: [R, C] float32, of R draws from the prior.
    mean: [R, C] float32, with rows of sum 1; where it is 0, counts must be.
  """
  total = counts.sum(1)
  support = mean > 0
  mean = jnp.where(support, mean, 1)

  def log_likelihood(a: Array) -> Array:
    cell = jnp.where(support, gammaln(a * mean + counts) - gammaln(a * mean), 0)
    return (gammaln(a) - gammaln(a + total) + cell.sum(1)).sum()

  grid = jnp.array(_CONCENTRATIONS, jnp.float32)
  return grid[jnp.argmax(jax.vmap(log_likelihood)(grid))]


def _shrink(counts: Array, mean: Array) -> Array:
  """Returns the posterior mean of each row of counts: [R, C]."""
  strength = concentration(counts, mean)
  total = counts.sum(1, keepdims=True)
  return (counts + strength * mean) / (total + strength)


def estimate_flips(
  predicted: Array, confidence: Array, label: Array, seen: Array, size: int
) -> Flips:
  """Estimates flips of V = `size` classes from predictions, all [N].

  Args:
    predicted: int32 classes.
    confidence: float32, of the predictions.
    label: int32 classes.
    seen: bool, whether there is a prediction.
    size: V, at least 2.
  """
  rank = rank_in_group(confidence, predicted, seen)
  anchor = (seen & (rank >= 1 - _ANCHORS)).astype(jnp.float32)
  counts = jnp.zeros((size, size), jnp.float32).at[predicted, label].add(anchor)
  right, total = counts.diagonal(), counts.sum(1)
  rate = 1 - right.sum() / jnp.maximum(total.sum(), 1)
  rate = jnp.where(total.sum() > 0, rate, 0)
  pairs = jnp.stack([right, total - right], 1)
  mean = jnp.broadcast_to(jnp.stack([1 - rate, rate]), (size, 2))
  wrong = _shrink(pairs, mean)[:, 1]
  other = 1 - jnp.eye(size, dtype=jnp.float32)
  which = _shrink(counts * other, other / (size - 1))
  flips = which * wrong[:, None] + jnp.diag(1 - wrong)
  return Flips(jnp.maximum(flips, _LEAST), rate, total.sum())


def wrong_shares(flips: Array, predicted: Array, seen: Array) -> Array:
  """Returns the share of wrong ones among the labels y: [V] float32."""
  count = jax.ops.segment_sum(
    seen.astype(jnp.float32), predicted, flips.shape[0]
  )
  joint = flips * count[:, None]
  total = joint.sum(0)
  right = joint.diagonal() / jnp.where(total > 0, total, 1)
  return jnp.where(total > 0, 1 - right, 0)


def log_odds(log_prob: Array, label: Array, flips: Array) -> Array:
  """Returns the log odds that a label is wrong in favour of each class: [B, V].

  Those of the label itself are -inf.

  Args:
    log_prob: [B, V] float32, predictions.
    label: [B] int32.
    flips: [V, V] float32, P(label | class).
  """
  joint = log_prob + jnp.log(flips)[:, label].T
  row = jnp.arange(label.shape[0], dtype=jnp.int32)
  own = joint[row, label]
  return (joint - own[:, None]).at[row, label].set(-jnp.inf)
