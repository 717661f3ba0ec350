"""Cache entries: whole and checked, or made again."""

import concurrent.futures
import errno
import json
import os

import numpy as np
import pytest
from absl import logging

from alcurr.core.errors import MachineError, UserError
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


def test_what_a_killed_process_left_is_removed(tmp_path):
  """And what another still works at is not."""
  folder = tmp_path / "entry"
  with cache._temporary(folder) as busy:
    (tmp_path / ".entry.killed").mkdir()
    for path in (busy, tmp_path / ".entry.killed"):
      os.utime(path, (0, 0))
    (tmp_path / ".entry.begun").mkdir()
    cache.write_arrays(folder, ARRAYS, {})
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"entry", ".entry.begun", busy.name}


def test_a_full_disk_is_no_mistake(tmp_path, monkeypatch):
  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(np, "save", full)
  with pytest.raises(MachineError, match="entry: No space left on device"):
    cache.write_arrays(tmp_path / "entry", ARRAYS, {})
  assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cache cannot be written"):
    cache.write_arrays(tmp_path / "file" / "entry", ARRAYS, {})


def test_files_are_known_again_by_their_content(tmp_path):
  path = tmp_path / "data"
  path.write_bytes(b"one")
  vouched = json.loads(json.dumps(cache.vouch({"data": path})))
  stat = path.stat()
  assert cache.unchanged({"data": path}, vouched)
  # Another time: the content decides, at equal size.
  later = (stat.st_atime_ns, stat.st_mtime_ns + 10**9)
  os.utime(path, ns=later)
  assert cache.unchanged({"data": path}, vouched)
  path.write_bytes(b"two")
  os.utime(path, ns=later)
  assert not cache.unchanged({"data": path}, vouched)
  path.write_bytes(b"three")
  assert not cache.unchanged({"data": path}, vouched)
  assert not cache.unchanged({"data": path, "more": path}, vouched)


def test_digest_is_of_the_content_not_the_order():
  assert cache.digest({"a": 1, "b": [2]}) == cache.digest({"b": [2], "a": 1})
  assert cache.digest({"a": 1}) != cache.digest({"a": 2})
  assert json.dumps(cache.digest({})).isascii()
