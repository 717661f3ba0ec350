"""Cache entries: whole and checked, or made again."""

import concurrent.futures
import errno
import json
import os

import numpy as np
import pytest
from absl import logging
from refusal import refused

from alcurr.core.errors import MachineError
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


@pytest.mark.parametrize(
  "harm",
  ["flip", "cut", "drop", "type", "pickle", "manifest", "list", "edited"],
)
def test_damage_is_not_trusted(tmp_path, harm, caplog):
  folder = tmp_path / "entry"
  cache.write_arrays(folder, ARRAYS, {"kind": "Strokes"})
  manifest = folder / "manifest.json"
  path = folder / "a.npy"
  data = path.read_bytes()
  if harm == "flip":
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
  elif harm == "cut":
    path.write_bytes(data[:-3])
  elif harm == "drop":
    path.unlink()
  elif harm == "manifest":
    manifest.write_text("{")
  elif harm == "list":
    manifest.write_text("[]")
  elif harm == "edited":  # whole JSON, and not what was written
    manifest.write_text(manifest.read_text().replace("Strokes", "Images"))
  elif harm == "type":  # the same bytes, said to be another type
    path.write_bytes(data.replace(b"<i8", b"<u8"))
  else:
    np.save(path, np.array([None]), allow_pickle=True)
  with caplog.at_level("WARNING", logger=logging.get_absl_logger().name):
    assert cache.read_arrays(folder) is None
  assert "is damaged" in caplog.text and str(folder) in caplog.text


def test_numbers_that_json_does_not_know_do_not_spoil_an_entry(tmp_path):
  manifest = {"nan": float("nan"), "count": np.int64(3), "by": {10: 1, 9: 2}}
  cache.write_arrays(tmp_path / "entry", ARRAYS, manifest)
  read = cache.read_arrays(tmp_path / "entry")[1]
  assert (read["nan"], read["count"]) == (None, 3)
  assert read["by"] == {"10": 1, "9": 2}


def test_writers_at_once_leave_one_whole_entry(tmp_path):
  folder = tmp_path / "entry"
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for done in [
      pool.submit(cache.write_arrays, folder, ARRAYS, {}) for _ in range(80)
    ]:
      done.result()
  cache.write_arrays(folder, ARRAYS, {})
  assert cache.read_arrays(folder)[0]["a"].tolist() == [0, 1, 2, 3, 4]
  assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_folders_of_killed_processes_are_removed(tmp_path):
  """And those that another process may be writing are not."""
  folder = tmp_path / "entry"
  for name in (".entry.killed", ".entry.begun"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.npy").touch()
  os.utime(tmp_path / ".entry.killed", (0, 0))
  cache.write_arrays(folder, ARRAYS, {})
  assert {p.name for p in tmp_path.iterdir()} == {"entry", ".entry.begun"}


def test_a_stream_is_the_array(tmp_path):
  array = np.arange(24, dtype=np.int16).reshape(8, 3)
  chunks = (array[i : i + 3] for i in range(0, 8, 3))
  checksum = cache.write_stream(tmp_path / "a.npy", np.int16, (8, 3), chunks)
  np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
  cache.write_manifest(tmp_path, {}, {"a": checksum})
  read, _ = cache.read_checked(tmp_path, mmap_mode="r")
  np.testing.assert_array_equal(read["a"], array)


def test_a_full_disk_is_no_mistake(tmp_path, monkeypatch):
  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(np, "save", full)
  with refused("disk", tmp_path / "entry", MachineError):
    cache.write_arrays(tmp_path / "entry", ARRAYS, {})
  assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with refused("disk", tmp_path / "file" / "entry"):
    cache.write_arrays(tmp_path / "file" / "entry", ARRAYS, {})


def test_files_are_recognized_by_their_content(tmp_path):
  path = tmp_path / "data"
  path.write_bytes(b"one")
  before = json.loads(json.dumps(cache.fingerprint({"data": path})))
  stat = path.stat()
  assert cache.unchanged({"data": path}, before)
  # Another time: the content decides, at equal size.
  later = (stat.st_atime_ns, stat.st_mtime_ns + 10**9)
  os.utime(path, ns=later)
  assert cache.unchanged({"data": path}, before)
  path.write_bytes(b"two")
  os.utime(path, ns=later)
  assert not cache.unchanged({"data": path}, before)
  path.write_bytes(b"three")
  assert not cache.unchanged({"data": path}, before)
  assert not cache.unchanged({"data": path, "more": path}, before)


def test_digest_is_of_the_content_not_the_order():
  assert cache.digest({"a": 1, "b": [2]}) == cache.digest({"b": [2], "a": 1})
  assert cache.digest({"a": 1}) != cache.digest({"a": 2})
  assert json.dumps(cache.digest({})).isascii()
