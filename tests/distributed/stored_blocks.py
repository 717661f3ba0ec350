"""Prints how a residual network on all devices differs from one on a single.

Its blocks end in `lowerings.stored`, a call of its own in the program.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from alcurr.models import MODELS

model = MODELS["resnet50"](
  input_shape=(32, 32, 1), num_classes=5, width=0.125, blocks=(2, 1, 1, 1)
)
params, model_state = model.init(jax.random.key(0))
image = np.random.default_rng(0).random((8, 32, 32, 1), np.float32)


def mean_square(params, image):
  key = jax.random.key(1)
  logits, _ = model.apply(key, params, model_state, image, train=True)
  return (logits**2).mean()


grad = jax.value_and_grad(mean_square)
mesh = jax.make_mesh(
  (jax.device_count(),), ("data",), axis_types=(AxisType.Auto,)
)
whole = NamedSharding(mesh, PartitionSpec())
split = NamedSharding(mesh, PartitionSpec("data"))
with jax.set_mesh(mesh):
  jitted = jax.jit(grad, in_shardings=(whole, split), out_shardings=whole)
  program = jitted.lower(params, image).compile()
pairs = zip(
  jax.tree.leaves(program(params, image)),
  jax.tree.leaves(jax.jit(grad)(params, image)),
  strict=True,
)
text = program.as_text()
print(
  json.dumps(
    {
      "calls": text.count(" call("),
      "gathers": text.count(" all-gather("),
      "difference": max(
        float(jnp.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs
      ),
    }
  )
)
