"""Complexity gains: how much more complex the model became.

Graves et al. 2017, section 4.2: a model that learns something has to grow more
complex, and the bits it takes on are a progress signal. Each is credited to all
arms of the batch.

The first-order gains are of a step of descent, -η ∇L, which changes what ∇
belongs to by -η times an inner product. Graves et al. print them without the
minus, so that they are positive where the model becomes simpler: `sign` has
both.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from alcurr.bandits._feedback import credit_all, inner_product
from alcurr.core.arguments import check_choice
from alcurr.types import Array, Feedback, Gain, Partition, PyTree, StepInfo

# The sign of <., ∇L> in a first-order gain.
_SIGNS = {"descent": -1.0, "printed": 1.0}


def l2_gain() -> Gain:
  """Measures ||θ'||² - ||θ||²: how much more complex the model became.

  The L2 gain of Graves et al., for a loss with weight decay. The parameters
  that the model starts from count as simple only if they are small.
  """

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    # As <θ' - θ, θ' + θ>: a difference of two large norms would cancel.
    both = jax.tree.map(jnp.add, info.params, info.new_params)
    return credit_all(info, inner_product(info.updates, both))

  return Gain(measure)


def gradient_l2_gain(*, sign: str = "descent") -> Gain:
  """Measures -<θ, ∇L(x, θ)>, the first-order L2 gain of a gradient step.

  A step of descent changes ||θ||² by -2 η <θ, ∇L> to first order. No further
  forward pass. `sign` is "descent", or "printed" for Graves et al.'s.
  """
  check_choice(_SIGNS, sign=sign)

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    inner = inner_product(info.params, info.grads)
    return credit_all(info, _SIGNS[sign] * inner)

  return Gain(measure)


def variational_gain() -> Gain:
  """Measures KL(P_φ' || Q_ψ') - KL(P_φ || Q_ψ): the nats that were learned.

  The variational complexity gain of Graves et al., of a model with variational
  weights, such as `bayesian_cnn`. O(P) for P parameters, no forward pass.
  """

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    penalty = _get_penalty(info)
    return credit_all(info, penalty(info.new_params) - penalty(info.params))

  return Gain(measure, reads_penalty=True)


def gradient_variational_gain(*, sign: str = "descent") -> Gain:
  """Measures -<∇KL(P_φ || Q_ψ), ∇E_θ~P_φ L(x, θ)>, to first order the VCG.

  The gradients are by φ and ψ, the latter of which has none in L. That of L is
  the update's own, by one sample of θ and without that of KL / N. O(P) for P
  parameters, no forward pass. `sign` is "descent", or "printed" for Graves et
  al.'s.
  """
  check_choice(_SIGNS, sign=sign)

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    of_penalty = jax.grad(_get_penalty(info))(info.params)
    inner = inner_product(of_penalty, info.grads)
    return credit_all(info, _SIGNS[sign] * inner)

  return Gain(measure, reads_penalty=True)


def _get_penalty(info: StepInfo) -> Callable[[PyTree], Array]:
  if info.penalty is None:
    text = "the gain needs a model with variational weights, a Model.penalty"
    raise ValueError(text)
  return info.penalty
