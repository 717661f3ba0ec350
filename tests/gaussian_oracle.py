"""The complexity of Gaussian weights by NumPy, from the closed form."""

import jax
import numpy as np

from alcurr.models._bayesian import Gaussian, Prior


def softplus(rho):
  return np.log1p(np.exp(np.asarray(rho, np.float64)))


def kl(mean, std, prior_mean, prior_std):
  """Returns KL(N(mean, std²) || N(prior_mean, prior_std²)), summed."""
  mean = np.asarray(mean, np.float64)
  variance = prior_std**2
  return (
    np.log(prior_std / std)
    + (std**2 + (mean - prior_mean) ** 2) / (2 * variance)
    - 0.5
  ).sum()


def kl_of(params, prior_mean=0.0, prior_std=None):
  """Returns the KL of a model's parameters, by NumPy."""
  if "prior" in params:
    prior_mean = float(params["prior"].mean)
    prior_std = np.exp(float(params["prior"].log_std))
  gaussians = jax.tree.leaves(
    params, is_leaf=lambda x: isinstance(x, Gaussian | Prior)
  )
  return sum(
    kl(x.mean, softplus(x.rho), prior_mean, prior_std)
    for x in gaussians
    if isinstance(x, Gaussian)
  )
