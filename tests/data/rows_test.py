"""Rows of numbers and tokens: what is read, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from refusal import refused

from alcurr.data import array_files, arrays, host_store, joined, pool, rows
from alcurr.types import Rows

RNG = np.random.default_rng(0)
LABELS = np.arange(12) % 3
TREE = {
  "tokens": RNG.integers(0, 100, (12, 5)),
  "age": RNG.random(12),
  "seen": RNG.random((12, 2)) < 0.5,
}


def test_arrays_become_float32_int32_or_bool():
  found = rows.check_rows(TREE)
  assert {k: v.dtype for k, v in found.items()} == {
    "tokens": np.int32,
    "age": np.float32,
    "seen": np.bool_,
  }
  for name, array in TREE.items():
    np.testing.assert_allclose(found[name], array, rtol=1e-6)


def test_a_data_frame_is_one_array_of_its_columns():
  frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]})
  found = rows.check_rows(frame)
  np.testing.assert_array_equal(found, [[1, 0.5, 1], [2, 1.5, 0]])
  assert found.dtype == np.float32


@pytest.mark.parametrize(
  ("inputs", "code", "place"),
  [
    (pd.DataFrame({"a": ["x", "y"]}), "type", "inputs"),
    (pd.DataFrame({"a": pd.Categorical(["x", "y"])}), "type", "inputs"),
    (pd.DataFrame({"a": [1.0, None]}), "data", "inputs"),
    (pd.DataFrame({"a": pd.array([1, None], "Int64")}), "data", "inputs"),
    (np.array([[1.0, np.inf]]), "data", "inputs"),
    (np.array([[2**40, 1]]), "data", "inputs"),
    (np.array([["a", "b"]]), "data", "inputs"),
    (np.zeros((0, 3)), "data", "inputs"),
    ({}, "data", "inputs"),
    ({"a": [1, 2], "b": [1]}, "data", "inputs"),
    ({"a": [1, 2], "b": ["x", "y"]}, "data", "inputs['b']"),
    ({"a": np.ma.masked_equal([1, 2], 2)}, "data", "inputs['a']"),
  ],
)
def test_what_is_no_row_of_numbers_is_refused(inputs, code, place):
  with refused(code, place):
    rows.check_rows(inputs)


@pytest.mark.parametrize("shape", [(4, 4, 3), (7,), None])
def test_the_shape_for_models_survives_json(shape):
  if shape is None:
    found = rows.input_shape(rows.check_rows(TREE))
    assert found["tokens"] == jax.ShapeDtypeStruct((5,), np.int32)
  else:
    found = rows.input_shape(np.zeros((2, *shape), np.float32))
  assert rows.shape_from_json(rows.shape_to_json(found)) == found


def test_equal_rows_have_equal_keys_of_all_arrays():
  tree = {k: np.concatenate([v, v[:1]]) for k, v in TREE.items()}
  keys = arrays.content_keys(rows.check_rows(tree))
  assert keys[0] == keys[12] and len({*keys.tolist()}) == 12
  tree["age"][12] += 1
  assert len({*arrays.content_keys(rows.check_rows(tree)).tolist()}) == 13


@pytest.mark.parametrize("inputs", [TREE, TREE["tokens"], RNG.random((12, 4))])
def test_rows_are_gathered_from_files_on_device_and_host(tmp_path, inputs):
  path = array_files.save_npz(inputs, LABELS, tmp_path)
  dataset = array_files.load_npz(path)
  expected = rows.check_rows(inputs)
  jax.tree.map(np.testing.assert_array_equal, dataset.source.inputs, expected)
  index = jnp.array([3, 0, 3, 11])
  batch = pool.make_gather()(pool.make_pool(dataset), index)
  jax.tree.map(
    lambda found, whole: np.testing.assert_array_equal(found, whole[index]),
    batch.inputs,
    expected,
  )
  np.testing.assert_array_equal(batch.label, LABELS[index])
  fetch = host_store.make_fetch(host_store.make_lookup(dataset.source))
  fetched = jax.jit(fetch)(index)
  jax.tree.map(np.testing.assert_array_equal, fetched.inputs, batch.inputs)


@pytest.mark.parametrize(
  "options", [{"value_range": (0, 255)}, {"channels_first": True}]
)
def test_options_of_images_are_refused(options):
  with refused("conflict", next(iter(options))):
    arrays.from_arrays(TREE, LABELS, **options)


def test_sources_of_other_rows_are_refused():
  sources = {
    "a": Rows(rows.check_rows(TREE)),
    "b": Rows(rows.check_rows(TREE["tokens"])),
  }
  with refused("conflict", "b"):
    joined.of_one_kind(sources, lambda *_: None)
