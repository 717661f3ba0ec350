"""Bayes by backprop: a network whose weights are Gaussian.

Blundell et al. 2015, "Weight Uncertainty in Neural Networks". Each weight has
a mean and a standard deviation, φ = (μ, ρ), and the weights a prior:

  θ = μ + softplus(ρ) ε,  ε ~ N(0, 1)           in training, ε from the key
  θ = μ                                         in evaluation
  objective = mean_i E_θ L(x_i, θ) + KL(P_φ || Q_ψ) / N

  P_φ = Π_j N(μ_j, softplus(ρ_j)²),  Q_ψ = Π_j N(m, s²)

One ε is drawn for a batch, and KL is in closed form rather than sampled. The
prior's ψ = (m, log s) is learned too, as in Graves 2011, "Practical Variational
Inference for Neural Networks", or is N(0, prior_std²).

Ours: any `Model` may have such weights, not only a dense one; its statistics
and random streams stay as they are.

Cost: twice the parameters, and O(P) a step for P of them: a normal number for
each and the KL.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.arguments import check_positive
from alcurr.models._cnn import cnn
from alcurr.types import Array, Model, PyTree

# The name of the prior among the model's parameters.
_PRIOR = "prior"


class Gaussian(NamedTuple):
  """An array of weights."""

  mean: Array
  rho: Array  # softplus(rho) is the standard deviation


class Prior(NamedTuple):
  """The prior of all weights."""

  mean: Array  # [] float32
  log_std: Array  # [] float32


def mean_field(
  model: Model,
  *,
  initial_std: float = 0.02,
  prior_std: float = 0.1,
  learned_prior: bool = True,
) -> Model:
  """Gives a model independent Gaussian weights.

  Its parameters are those of the model, with a `Gaussian` for each array, and
  the prior, if it is learned.

  Args:
    model: its parameters, a dict, are the weights; the initial ones are the
      means.
    initial_std: of each weight at first.
    prior_std: s, of the prior at first.
    learned_prior: whether m and s are learned; else m = 0.

  Raises:
    ValueError: an argument is out of range, or the model has a penalty or a
      scoring network.
  """
  check_positive(initial_std=initial_std, prior_std=prior_std)
  if model.penalty is not None or model.scoring is not None:
    raise ValueError("model must have no penalty and no scoring network")
  rho = float(np.log(np.expm1(initial_std)))
  log_std = float(np.log(prior_std))

  def init(key: Array) -> tuple[PyTree, PyTree]:
    weights, model_state = model.init(key)
    params = jax.tree.map(lambda x: Gaussian(x, jnp.full_like(x, rho)), weights)
    if learned_prior:
      params |= {_PRIOR: Prior(jnp.float32(0), jnp.float32(log_std))}
    return params, model_state

  def apply(key, params, model_state, image, *, train):
    params, _ = _split(params)
    if train:
      key, key_noise = jax.random.split(key)
      weights = _sample(key_noise, params)
    else:
      weights = _means(params)
    return model.apply(key, weights, model_state, image, train=train)

  def features(params: PyTree, model_state: PyTree, image: Array) -> Array:
    return model.features(_means(_split(params)[0]), model_state, image)

  def penalty(params: PyTree) -> Array:
    params, prior = _split(params)
    prior = prior or Prior(jnp.float32(0), jnp.float32(log_std))
    kls = _map(lambda gaussian: _kl(gaussian, prior), params)
    return sum(jax.tree.leaves(kls))

  return Model(
    init,
    apply,
    model.fingerprint,
    features if model.features else None,
    penalty=penalty,
  )


def _split(params: PyTree) -> tuple[PyTree, Prior | None]:
  """Returns the Gaussians, and the prior if it is learned."""
  weights = {name: x for name, x in params.items() if name != _PRIOR}
  return weights, params.get(_PRIOR)


def _map(fun: Callable[[Gaussian], Array], params: PyTree) -> PyTree:
  is_leaf = lambda x: isinstance(x, Gaussian)  # noqa: E731
  return jax.tree.map(fun, params, is_leaf=is_leaf)


def _means(params: PyTree) -> PyTree:
  return _map(lambda gaussian: gaussian.mean, params)


def _sample(key: Array, params: PyTree) -> PyTree:
  """Draws weights, reparameterised: the gradient reaches means and rhos."""
  number = itertools.count()

  def draw(gaussian: Gaussian) -> Array:
    mean, rho = gaussian
    key_array = jax.random.fold_in(key, next(number))
    noise = jax.random.normal(key_array, mean.shape, mean.dtype)
    return mean + jax.nn.softplus(rho) * noise

  return _map(draw, params)


def _kl(gaussian: Gaussian, prior: Prior) -> Array:
  """Returns KL(N(μ, σ²) || N(m, s²)) summed over an array of weights, []."""
  # Divided by s before they are squared, so that no square is lost.
  scale = jnp.exp(-prior.log_std)
  std = jax.nn.softplus(gaussian.rho) * scale
  mean = (gaussian.mean - prior.mean) * scale
  return ((jnp.square(std) + jnp.square(mean) - 1) / 2 - jnp.log(std)).sum()


def bayesian_cnn(
  *,
  input_shape: tuple[int, int, int],
  num_classes: int,
  width: float = 1.0,
  norm: str = "none",
  conv: str = "auto",
  dtype: str = "float32",
  initial_std: float = 0.02,
  prior_std: float = 0.1,
  learned_prior: bool = True,
) -> Model:
  """Builds the CNN of `cnn` with Gaussian weights; see `mean_field`.

  Raises:
    ValueError: an argument is out of range.
  """
  network = cnn(
    input_shape=input_shape,
    num_classes=num_classes,
    width=width,
    norm=norm,
    conv=conv,
    dtype=dtype,
  )
  return mean_field(
    network,
    initial_std=initial_std,
    prior_std=prior_std,
    learned_prior=learned_prior,
  )
