"""The models for rows, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.models import bag_of_tokens, mlp

RNG = np.random.default_rng(0)
KEY = jax.random.key(1)


def test_the_mlp_standardises_and_multiplies():
  x = (RNG.random((64, 3)) * [1, 10, 1000] + [0, 5, -7]).astype(np.float32)
  shape = jax.ShapeDtypeStruct((3,), jnp.float32)
  model = mlp(input_shape=shape, num_classes=4, hidden=(8, 5))
  params, state = model.init(jax.random.key(0))
  logits, new = model.apply(KEY, params, state, x, train=True)
  x[0, 0] = 1e4
  logits, new = model.apply(KEY, params, state, x, train=True)
  h = np.clip((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), -5, 5)
  assert h.max() == 5
  for name in ("dense1", "dense2"):
    layer = jax.device_get(params[name])
    h = np.maximum(h @ layer["kernel"] + layer["bias"], 0)
  head = jax.device_get(params["logits"])
  expected = h @ head["kernel"] + head["bias"]
  np.testing.assert_allclose(logits, expected, rtol=2e-3, atol=2e-3)
  np.testing.assert_allclose(model.features(params, state, x).shape, (64, 5))
  # In evaluation each row is by itself.
  whole, same = model.apply(KEY, params, new, x, train=False)
  alone, _ = model.apply(KEY, params, new, x[:1], train=False)
  np.testing.assert_allclose(whole[:1], alone, rtol=1e-4, atol=1e-5)
  jax.tree.map(np.testing.assert_array_equal, same, new)


def test_the_mlp_joins_the_arrays_of_a_dict():
  rows = {"a": np.ones((2, 3), np.int32), "b": np.zeros(2, np.float32)}
  shape = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows
  )
  model = mlp(input_shape=shape, num_classes=2)
  params, state = model.init(jax.random.key(0))
  assert params["dense1"]["kernel"].shape == (4, 128)
  logits, _ = model.apply(KEY, params, state, rows, train=False)
  assert logits.shape == (2, 2)


def test_a_text_is_the_mean_of_its_embeddings():
  tokens = np.array([[3, 12, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0], [7, 7, 2, 9]])
  shape = jax.ShapeDtypeStruct((4,), jnp.int32)
  model = bag_of_tokens(input_shape=shape, num_classes=3, buckets=10, width=6)
  params, state = model.init(jax.random.key(0))
  logits, _ = model.apply(KEY, params, state, tokens, train=False)
  table = np.asarray(params["embedding"]["embedding"])
  head = jax.device_get(params["logits"])
  for text, found in zip(tokens, logits, strict=True):
    vectors = [table[token % 10] for token in text if token]
    mean = np.mean(vectors, 0) if vectors else np.zeros(6)
    expected = mean @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ("shape", "arguments"),
  [
    ((4, 4, 1), {}),
    (jax.ShapeDtypeStruct((4,), jnp.float32), {}),
    ({"a": jax.ShapeDtypeStruct((4,), jnp.int32)}, {}),
    (jax.ShapeDtypeStruct((4,), jnp.int32), {"buckets": 0}),
    (jax.ShapeDtypeStruct((4,), jnp.int32), {"num_classes": 0}),
  ],
)
def test_what_is_no_text_is_refused(shape, arguments):
  with pytest.raises(ValueError):
    bag_of_tokens(**{"input_shape": shape, "num_classes": 2} | arguments)
