"""A second network that scores candidates for the one that is trained.

A smaller network scores at a fraction of the cost (Coleman et al. 2020,
"Selection via Proxy"); the same network in bfloat16 shares the parameters.
"""

import jax

from alcurr.models.layers import SCORER
from alcurr.types import Array, Model, PyTree


def with_scorer(model: Model, scorer: Model, *, shared: bool = False) -> Model:
  """Returns a model whose candidates are scored by another network.

  Args:
    model: whose parameters are a dict, with dicts as the model's state.
    scorer: takes the same images and returns logits of the same classes.
    shared: whether it uses the model's own parameters and state, as does the
      same network of another dtype. Otherwise it is trained on the same
      batches, by the same optimiser.

  Raises:
    ValueError: it shares parameters, but has others.
  """
  if shared:
    key = jax.random.key(0)
    own, other = (jax.eval_shape(net.init, key) for net in (model, scorer))
    if own != other:
      text = "a scorer with shared parameters needs the model's own, with the "
      raise ValueError(f"{text}same names and shapes")
    return model._replace(scoring=scorer.apply)

  def init(key: Array) -> tuple[PyTree, PyTree]:
    # The model's parameters are those that it has without a scorer.
    params, state = model.init(key)
    scorer_params, scorer_state = scorer.init(key)
    return params | {SCORER: scorer_params}, state | {SCORER: scorer_state}

  def own(tree: PyTree) -> PyTree:
    return {name: leaf for name, leaf in tree.items() if name != SCORER}

  def apply(key, params, model_state, image, *, train):
    logits, state = model.apply(
      key, own(params), own(model_state), image, train=train
    )
    return logits, {**state, SCORER: model_state[SCORER]}

  def scoring(key, params, model_state, image, *, train):
    logits, state = scorer.apply(
      key, params[SCORER], model_state[SCORER], image, train=train
    )
    return logits, {**model_state, SCORER: state}

  features = model.features
  if features is not None:
    features = lambda params, state, image: model.features(  # noqa: E731
      own(params), own(state), image
    )
  fingerprints = filter(None, (model.fingerprint, scorer.fingerprint))
  penalty = model.penalty
  if penalty is not None:
    penalty = lambda params: model.penalty(own(params))  # noqa: E731
  return model._replace(
    fingerprint=" ".join(fingerprints),
    init=init,
    apply=apply,
    features=features,
    scoring=scoring,
    trains_scoring=True,
    penalty=penalty,
  )
