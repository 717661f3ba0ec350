"""Cache entries: whole and checked, or made again."""

import json

import numpy as np
import pytest

from alcurr.data import cache

ARRAYS = {"a": np.arange(5), "b": np.zeros((0, 2), np.float32)}


def test_round_trip(tmp_path):
  folder = tmp_path / "deep" / "entry"
  cache.write_arrays(folder, ARRAYS, {"seconds": 1.5})
  arrays, manifest = cache.read_arrays(folder)
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(arrays[name], array)
    assert arrays[name].dtype == array.dtype
  assert manifest["seconds"] == 1.5
  cache.write_arrays(folder, {"a": np.ones(1)}, {})
  assert cache.read_arrays(folder)[0]["a"].tolist() == [1]
  assert [p.name for p in folder.parent.iterdir()] == ["entry"]


def test_nothing_there(tmp_path):
  assert cache.read_arrays(tmp_path / "none") is None


@pytest.mark.parametrize("harm", ["flip", "cut", "drop", "manifest", "pickle"])
def test_damage_is_not_trusted(tmp_path, harm):
  folder = tmp_path / "entry"
  cache.write_arrays(folder, ARRAYS, {})
  path = folder / "a.npy"
  data = path.read_bytes()
  if harm == "flip":
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
  elif harm == "cut":
    path.write_bytes(data[:-3])
  elif harm == "drop":
    path.unlink()
  elif harm == "manifest":
    (folder / "manifest.json").write_text("{")
  else:
    np.save(path, np.array([None]), allow_pickle=True)
  assert cache.read_arrays(folder) is None


def test_digest_is_of_the_content_not_the_order():
  assert cache.digest({"a": 1, "b": [2]}) == cache.digest({"b": [2], "a": 1})
  assert cache.digest({"a": 1}) != cache.digest({"a": 2})
  assert json.dumps(cache.digest({})).isascii()
