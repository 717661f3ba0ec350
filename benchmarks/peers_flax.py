"""A loop in plain Flax, fed from NumPy.

It has one jitted step for each batch, shuffled passes in NumPy, and a
`device_put` of each batch. Trials run one after the other. The networks use
`flax.linen`'s layers with JAX's lowerings, not alcurr's.
"""

import functools
from collections.abc import Iterator

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.training import train_state

from alcurr.types import Array, PyTree
from benchmarks import doodle_job, jax_device
from benchmarks.timing import Program

# Channels and stride of each separable block of MobileNet.
BLOCKS = (
  *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
  *(5 * [(512, 1)]),
  *((1024, 2), (1024, 1)),
)

he_normal = nn.initializers.he_normal()
glorot_uniform = nn.initializers.glorot_uniform()


class CNN(nn.Module):
  """The network `cnn` of alcurr, with the same layer names."""

  num_classes: int

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    for i, channels in enumerate((32, 64), start=1):
      x = nn.Conv(channels, (3, 3), kernel_init=he_normal, name=f"conv{i}")(x)
      x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(128, kernel_init=he_normal, name="dense")(x))
    return nn.Dense(
      self.num_classes, kernel_init=glorot_uniform, name="logits"
    )(x)


class MobileNet(nn.Module):
  """The network `mobilenet` of alcurr."""

  num_classes: int

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    conv = functools.partial(nn.Conv, use_bias=False, kernel_init=he_normal)
    norm = functools.partial(
      nn.BatchNorm, use_running_average=not train, epsilon=1e-3
    )
    x = nn.relu6(norm()(conv(32, (3, 3), 2)(x)))
    for channels, stride in BLOCKS:
      inputs = x.shape[-1]
      x = conv(inputs, (3, 3), stride, feature_group_count=inputs)(x)
      x = nn.relu6(norm()(x))
      x = nn.relu6(norm()(conv(channels, (1, 1))(x)))
    x = nn.Dropout(1e-3, deterministic=not train)(x.mean((1, 2)))
    return nn.Dense(self.num_classes, kernel_init=glorot_uniform)(x)


NETWORKS = {"cnn": CNN, "mobilenet": MobileNet}


class TrainState(train_state.TrainState):
  batch_stats: PyTree
  key: Array


def scaled(image: Array) -> Array:
  return image.astype("float32") / 255


def make_state(
  module: nn.Module, input_shape: tuple[int, int, int], seed: int
) -> TrainState:
  key, key_init = jax.random.split(jax.random.key(seed))
  image = np.zeros((1, *input_shape), np.float32)
  variables = jax.jit(functools.partial(module.init, train=False))(
    key_init, image
  )
  return TrainState.create(
    apply_fn=module.apply,
    params=variables["params"],
    tx=optax.adam(doodle_job.LEARNING_RATE),
    batch_stats=variables.get("batch_stats", {}),
    key=key,
  )


@functools.partial(jax.jit, donate_argnums=0)
def train_step(state: TrainState, image: Array, label: Array) -> TrainState:
  key = jax.random.fold_in(state.key, state.step)

  def loss_fn(params: PyTree):
    logits, changed = state.apply_fn(
      {"params": params, "batch_stats": state.batch_stats},
      scaled(image),
      train=True,
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return loss.mean(), changed.get("batch_stats", {})

  grads, batch_stats = jax.grad(loss_fn, has_aux=True)(state.params)
  return state.apply_gradients(grads=grads, batch_stats=batch_stats)


@jax.jit
def predict(state: TrainState, image: Array) -> Array:
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  return state.apply_fn(variables, scaled(image), train=False).argmax(1)


def accuracy(state: TrainState, data: doodle_job.Data) -> float:
  """Returns top-1 on the held-out examples."""
  size = doodle_job.EVAL_BATCH_SIZE
  best = [
    predict(state, data.held_out_image[first : first + size])
    for first in range(0, len(data.held_out_label), size)
  ]
  return float((np.concatenate(best) == data.held_out_label).mean())


def batches(
  data: doodle_job.Data, batch_size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields batches of endless shuffled passes, without incomplete batches."""
  rng = np.random.default_rng(seed)
  while True:
    order = rng.permutation(len(data.label))
    for first in range(0, len(order) - batch_size + 1, batch_size):
      index = order[first : first + batch_size]
      yield data.image[index], data.label[index]


class Trial:
  """A training state, and the batches that it is trained on."""

  def __init__(self, module: nn.Module, data, batch_size: int, seed: int):
    self.state = make_state(module, data.image.shape[1:], seed)
    self._batches = batches(data, batch_size, seed)

  def run(self, steps: int) -> None:
    for _ in range(steps):
      image, label = jax.device_put(next(self._batches))
      self.state = train_step(self.state, image, label)
    jax.block_until_ready(self.state)


def make_program(*, path: str, model: str, batch_size: int) -> Program:
  # A cached program would falsify the compile time.
  jax.config.update("jax_enable_compilation_cache", False)
  data = doodle_job.load(path)
  module = NETWORKS[model](data.num_classes)
  trials = [
    Trial(module, data, batch_size, seed) for seed in range(doodle_job.TRIALS)
  ]

  def run(steps: int) -> None:
    for trial in trials:
      trial.run(steps)

  params = jax.tree.leaves(trials[0].state.params)
  return Program(
    run,
    jax_device.make_facts(sum(leaf.size for leaf in params)),
    jax_device.peak(),
    lambda: [accuracy(trial.state, data) for trial in trials],
  )
