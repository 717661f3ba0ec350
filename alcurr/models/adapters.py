"""Your own network as a `Model`: of Linen, of NNX, or two plain functions.

Each takes images [B, H, W, C] float32 to logits [B, V]: V classes, or the V
numbers to be predicted.
"""

import inspect
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from alcurr.types import Array, Model, PyTree

# What modules call the choice between training and evaluation, and whether it
# is true in training.
_MODES = {
  "train": True,
  "training": True,
  "is_training": True,
  "deterministic": False,
  "use_running_average": False,
}


def from_linen(
  module: nn.Module,
  image_shape: tuple[int, int, int],
  rngs: Sequence[str] = ("dropout",),
) -> Model:
  """A Linen module as a `Model`.

  Args:
    module: called as `module(image)`, with `train=`, `training=`,
      `is_training=`, `deterministic=` or `use_running_average=` where its
      `__call__` names one of them.
    image_shape: (H, W, C).
    rngs: the names of its random streams, in training.

  Returns:
    A model whose state holds every collection but the parameters, {} if there
    is none; train mode updates it, eval mode returns it as it came.
  """
  named = inspect.signature(type(module).__call__).parameters
  modes = {name: when for name, when in _MODES.items() if name in named}

  def mode(train: bool) -> dict[str, bool]:
    return {name: train == when for name, when in modes.items()}

  def init(key: Array) -> tuple[PyTree, PyTree]:
    image = jnp.zeros((1, *image_shape))
    variables = dict(module.init({"params": key}, image, **mode(False)))
    return variables.pop("params", {}), variables

  def apply(
    key: Array,
    params: PyTree,
    model_state: PyTree,
    image: Array,
    *,
    train: bool,
  ) -> tuple[Array, PyTree]:
    # The first stream has the key itself.
    keys = [key, *(jax.random.fold_in(key, i) for i in range(1, len(rngs)))]
    logits, changed = module.apply(
      {"params": params, **model_state},
      image,
      **mode(train),
      rngs=dict(zip(rngs, keys[: len(rngs)], strict=True)),
      mutable=list(model_state) if train else [],
    )
    return logits.astype(jnp.float32), {**model_state, **changed}

  return Model(init, apply)


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Model:
  """An NNX module as a `Model`, split into parameters and the rest.

  Args:
    make: a new module of the random streams that it is given, such as
      `lambda rngs: Net(rngs=rngs)`; called as `module(image)`, in the mode
      that `module.train()` and `module.eval()` set.

  Returns:
    A model whose parameters are the module's `nnx.Param` and whose state is
    all other variables, as dicts: statistics of batch norms, and the keys and
    counts of random streams, from which dropout draws. Train mode updates the
    state, eval mode returns it as it came.
  """

  def split(module: nnx.Module):
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

  # What a module is but for its numbers, which the mode is part of.
  module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
  graphs = {}
  for train in (False, True):
    module.train() if train else module.eval()
    graphs[train], *_ = split(module)

  def init(key: Array) -> tuple[PyTree, PyTree]:
    _, params, model_state = split(make(nnx.Rngs(key)))
    return params, model_state

  def apply(
    key: Array,
    params: PyTree,
    model_state: PyTree,
    image: Array,
    *,
    train: bool,
  ) -> tuple[Array, PyTree]:
    module = nnx.merge(graphs[train], params, model_state)
    logits = module(image).astype(jnp.float32)
    if train:
      _, _, model_state = split(module)
    return logits, model_state

  return Model(init, apply)


def from_functions(
  init: Callable[[Array], PyTree], apply: Callable[[PyTree, Array], Array]
) -> Model:
  """Two functions without state or randomness as a `Model`.

  A network that has them is a `Model` of its own two functions.

  Args:
    init: (key) -> params.
    apply: (params, image [B, H, W, C]) -> logits [B, V].
  """

  def apply_model(
    key: Array,
    params: PyTree,
    model_state: PyTree,
    image: Array,
    *,
    train: bool,
  ) -> tuple[Array, PyTree]:
    return apply(params, image).astype(jnp.float32), model_state

  return Model(lambda key: (init(key), {}), apply_model)
