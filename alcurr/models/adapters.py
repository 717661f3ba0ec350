"""Turns your own network into a `Model`: Linen, NNX or plain functions.

Each network maps images [B, H, W, C] float32, or rows, to logits [B, V]: V
classes, or V numbers to predict.
"""

import inspect
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import LazyInitError

from alcurr.types import Array, Model, PyTree

# The usual names of arguments that are true in training, and in evaluation.
_TRAINING = ("train", "training", "is_training")
_EVALUATION = ("deterministic", "use_running_average")


def from_linen(
  module: nn.Module,
  input_shape: PyTree,
  rngs: Sequence[str] = ("dropout",),
  head: str | None = None,
) -> Model:
  """Turns a Linen module into a `Model`.

  Args:
    module: called as `module(inputs)`, with `train=`, `training=`,
      `is_training=`, `deterministic=` or `use_running_average=` where its
      `__call__` has such an argument.
    input_shape: (H, W, C) of images; of rows a `jax.ShapeDtypeStruct`, or a
      PyTree of them, without the axis of the batch.
    rngs: the names of the module's random streams in training.
    head: the name of the module's last layer, whose inputs are the model's
      features; None for a model without them.

  Returns:
    A model whose state holds every collection but the parameters. Training
    updates the state, evaluation returns it unchanged.
  """
  arguments = inspect.signature(type(module).__call__).parameters
  modes = [name for name in _TRAINING + _EVALUATION if name in arguments]
  if isinstance(input_shape, tuple):
    input_shape = jax.ShapeDtypeStruct(input_shape, jnp.float32)
  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), input_shape
  )

  def mode(train: bool) -> dict[str, bool]:
    return {name: train == (name in _TRAINING) for name in modes}

  def init(key: Array) -> tuple[PyTree, PyTree]:
    streams = {"params": key}
    try:
      # Without the outputs: outside of jit, each operation of the network
      # would be compiled by itself.
      variables = module.lazy_init(streams, one, **mode(False))
    except LazyInitError:  # the parameters depend on what goes in
      zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)
      variables = module.init(streams, zeros, **mode(False))
    variables = dict(variables)
    return variables.pop("params", {}), variables

  def apply(key, params, model_state, inputs, *, train):
    # The first stream uses the key itself.
    fold = lambda i: jax.random.fold_in(key, i) if i else key  # noqa: E731
    logits, changed = module.apply(
      {"params": params, **model_state},
      inputs,
      **mode(train),
      rngs={name: fold(i) for i, name in enumerate(rngs)},
      mutable=list(model_state) if train else [],
    )
    return logits.astype(jnp.float32), {**model_state, **changed}

  def features(params: PyTree, model_state: PyTree, inputs: PyTree) -> Array:
    seen = []

    def watch(call, args, kwargs, context):
      if context.module.path == (head,) and context.method_name == "__call__":
        seen.append(args[0])
      return call(*args, **kwargs)

    with nn.intercept_methods(watch):
      module.apply({"params": params, **model_state}, inputs, **mode(False))
    if len(seen) != 1:
      raise ValueError(f"head must be a layer called once, got {head!r}")
    return seen[0].astype(jnp.float32)

  return Model(init, apply, features=features if head else None)


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Model:
  """Turns an NNX module into a `Model`.

  Args:
    make: builds the module from its random streams, for example
      `lambda rngs: Net(rngs=rngs)`. The module is called as `module(inputs)`,
      in the mode that `module.train()` or `module.eval()` sets.

  Returns:
    A model whose parameters are the module's `nnx.Param`. Its state is all
    other variables: statistics of batch norms, and the keys and counts of
    random streams. Training updates the state, evaluation returns it
    unchanged.
  """

  def states(module: nnx.Module) -> tuple[PyTree, PyTree]:
    _, params, rest = nnx.split(module, nnx.Param, ...)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

  # The structure of a module includes its mode.
  module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
  graphs = {}
  for train in (False, True):
    module.train() if train else module.eval()
    graphs[train], *_ = nnx.split(module, nnx.Param, ...)

  def init(key: Array) -> tuple[PyTree, PyTree]:
    return states(make(nnx.Rngs(key)))

  def apply(key, params, model_state, inputs, *, train):
    module = nnx.merge(graphs[train], params, model_state)
    logits = module(inputs).astype(jnp.float32)
    if train:
      _, model_state = states(module)
    return logits, model_state

  return Model(init, apply)


def from_functions(
  init: Callable[[Array], PyTree],
  apply: Callable[[PyTree, PyTree], Array],
  features: Callable[[PyTree, PyTree], Array] | None = None,
) -> Model:
  """Turns two functions into a `Model` without state or randomness.

  A network that has either is a `Model(init, apply)` directly.

  Args:
    init: (key) -> params.
    apply: (params, inputs [B, ...]) -> logits [B, V].
    features: (params, inputs) -> [B, F], the inputs of the last layer, if some
      sampler or partition needs them.
  """

  def apply_model(key, params, model_state, inputs, *, train):
    return apply(params, inputs).astype(jnp.float32), model_state

  def features_of_model(params, model_state, inputs):
    return features(params, inputs).astype(jnp.float32)

  return Model(
    lambda key: (init(key), {}),
    apply_model,
    features=features_of_model if features else None,
  )
