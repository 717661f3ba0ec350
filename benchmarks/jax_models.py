"""Training steps of alcurr's networks in one program, as in `alcurr.main`."""

import functools

import jax
import optax

from alcurr.models import MODELS
from alcurr.training import compilation
from benchmarks import jax_device, task
from benchmarks.timing import Program


def make_program(
  *, model: str, batch_size: int, image_size: int, dtype: str, conv: str
) -> Program:
  # A cached program would falsify the compile time.
  jax.config.update("jax_enable_compilation_cache", False)
  network = MODELS[model](
    input_shape=(image_size, image_size, task.CHANNELS),
    num_classes=task.NUM_CLASSES,
    dtype=dtype,
    conv=conv,
  )
  tx = optax.sgd(task.LEARNING_RATE, task.MOMENTUM)
  image, label = jax.device_put(task.batch(batch_size, image_size))

  @jax.jit
  def init(key):
    params, model_state = network.init(key)
    return params, model_state, tx.init(params)

  def train_step(state, key, image, label):
    params, model_state, opt_state = state

    def loss_fn(params):
      logits, new_state = network.apply(
        key, params, model_state, image, train=True
      )
      loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
      return loss.mean(), new_state

    grads, model_state = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state)
    return optax.apply_updates(params, updates), model_state, opt_state

  @functools.partial(
    jax.jit, donate_argnums=0, compiler_options=compilation.compiler_options()
  )
  def train(state, steps, key, image, label):
    return jax.lax.fori_loop(
      0, steps, lambda _, state: train_step(state, key, image, label), state
    )

  key = jax.random.key(0)
  state = jax.block_until_ready(init(key))
  params = sum(leaf.size for leaf in jax.tree.leaves(state[0]))

  def run(steps: int) -> None:
    nonlocal state
    state = jax.block_until_ready(train(state, steps, key, image, label))

  return Program(run, jax_device.make_facts(params), jax_device.peak())
