"""Directories of Google's files: reading, refusing, skipping, caching."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from refusal import refused

from alcurr.core.errors import UserError
from alcurr.data import parallel, strokes
from alcurr.data.quickdraw import reader

GOOD = '{"drawing":[[[0,9,4,9],[0,9,9,4]]]}'
BAD_LINES = {
  "broken JSON": '{"drawing":[[[0,9],',
  "not an object with a drawing": "[1, 2]",
  "no strokes": '{"drawing":[]}',
  "x and y of unequal length": '{"drawing":[[[0,9],[0]]]}',
  "a stroke without points": '{"drawing":[[[],[]]]}',
  "a coordinate out of range (0 to 255, whole)": (
    '{"drawing":[[[0,300],[0,9]]]}'
  ),
  "a coordinate is not finite": '{"drawing":[[[0,NaN],[0,9]]]}',
  "a coordinate is not a number": '{"drawing":[[[0,"9"],[0,9]]]}',
}


def _write(directory, **classes):
  directory.mkdir(exist_ok=True)
  for name, lines in classes.items():
    (directory / f"{name}.ndjson").write_text("\n".join(lines) + "\n")
  return directory


@pytest.mark.parametrize(("reason", "line"), BAD_LINES.items())
def test_a_bad_line_is_named_or_counted(tmp_path, reason, line):
  path = _write(tmp_path / "d", cat=[GOOD, line, GOOD], dog=[GOOD])
  with refused("data", f"{path / 'cat.ndjson'}:2") as raised:
    reader.load(path)
  assert raised.value.text.startswith(reason)
  dataset, report = reader.load(path, on_error="skip")
  assert report["skipped"] == {reason: 1}
  assert report["classes"] == {"cat": 2, "dog": 1}
  assert len(dataset.label) == 3


def test_directories_with_nothing_to_read_are_refused(tmp_path):
  with refused("missing", tmp_path / "nowhere"):
    reader.load(tmp_path / "nowhere")
  with refused("missing", tmp_path):
    reader.load(tmp_path)
  path = _write(tmp_path / "d", cat=[GOOD], dog=['{"drawing":[]}'])
  with refused("data", path / "dog.ndjson"):
    reader.load(path, on_error="skip")
  np.save(path / "full_numpy_bitmap_cat.npy", np.zeros((1, 784), np.uint8))
  with refused("conflict", path):
    reader.load(path)


def test_choices_of_classes(tmp_path):
  path = _write(tmp_path / "d", ant=[GOOD], bee=[GOOD], cat=[GOOD])
  for classes, names in {
    "all": ("ant", "bee", "cat"),
    "2": ("ant", "bee"),
    2: ("ant", "bee"),
    "cat, ant": ("ant", "cat"),
    ("bee", "cat"): ("bee", "cat"),
  }.items():
    assert reader.load(path, classes=classes)[0].class_names == names
  for classes, code in (
    ("ant,bea", "unknown"),
    ((7,), "unknown"),
    ((), "missing"),
    ("ant", "data"),
    ("4", "range"),
    ("1", "range"),
    (0, "range"),
  ):
    with refused(code, "classes"):
      reader.load(path, classes=classes)
  with refused("unknown", "on_error"):
    reader.load(path, on_error="stop")
  with refused("range", "max_per_class"):
    reader.load(path, max_per_class=-1)


def test_caps_flags_and_missing_fields(tmp_path):
  no = '{"recognized":false,"drawing":[[[0,9],[0,9]]]}'
  path = _write(tmp_path / "d", ant=[no, GOOD, GOOD], bee=[GOOD, no])
  dataset, _ = reader.load(path)
  assert dataset.flags["recognized"].tolist() == [
    False,
    True,
    True,
    True,
    False,
  ]
  dataset, _ = reader.load(path, recognized_only=True, max_per_class=1)
  assert dataset.label.tolist() == [0, 1]
  assert dataset.flags["recognized"].all()


def test_real_simplified_files_are_what_json_says(quickdraw_dir, tmp_path):
  classes = "airplane,cat,The Eiffel Tower"
  dataset, report = reader.load(
    quickdraw_dir / "simplified", classes=classes, cache_dir=tmp_path
  )
  rows = [
    (label, json.loads(line))
    for label, name in enumerate(dataset.class_names)
    for line in (quickdraw_dir / "simplified" / f"{name}.ndjson").open()
  ]
  assert dataset.label.tolist() == [label for label, _ in rows]
  for i in range(0, len(rows), 50):
    drawing = [s.T.tolist() for s in strokes.unpack(dataset.source, i)]
    assert drawing == rows[i][1]["drawing"]
  recognized = [row.get("recognized", True) for _, row in rows]
  assert dataset.flags["recognized"].tolist() == recognized
  assert len(np.unique(dataset.key)) == len({r["key_id"] for _, r in rows})
  assert report["skipped"] == {} and not report["cached"]


def test_real_raw_files_are_read(quickdraw_dir):
  dataset, report = reader.load(quickdraw_dir / "raw")
  count = {
    path.stem: len(path.read_text().splitlines())
    for path in (quickdraw_dir / "raw").glob("*.ndjson")
  }
  assert report["classes"] == count
  for i in range(len(dataset.label)):
    points = np.concatenate(strokes.unpack(dataset.source, i))
    # RDP may cut the outermost points by less than its epsilon of 2.
    assert points.min() <= 2 and points.max() >= 253


def test_real_bitmaps_are_what_numpy_says(quickdraw_dir):
  folder = quickdraw_dir / "numpy_bitmap"
  dataset, _ = reader.load(folder, classes="apple,cat", max_per_class=300)
  rows = np.concatenate(
    [
      np.load(folder / f"full_numpy_bitmap_{n}.npy")[:300]
      for n in ("apple", "cat")
    ]
  )
  np.testing.assert_array_equal(dataset.source.image.reshape(600, 784), rows)
  assert dataset.source.image.shape == (600, 28, 28, 1)


def test_bitmaps_do_not_say_what_was_recognized(tmp_path):
  path, cache = tmp_path / "d", tmp_path / "c"
  path.mkdir()
  rows = np.arange(2 * 784).reshape(2, 784).astype(np.uint8)
  for name in ("ant", "bee"):
    np.save(path / f"full_numpy_bitmap_{name}.npy", rows)
  for cached in (False, True):
    dataset, report = reader.load(path, cache_dir=cache)
    assert report["cached"] == cached
    assert dataset.flags == {} and dataset.class_names == ("ant", "bee")
    np.testing.assert_array_equal(
      dataset.source.image.reshape(4, 784), np.concatenate([rows, rows])
    )
  with refused("conflict", "recognized_only"):
    reader.load(path, recognized_only=True)


def test_several_processes_read_the_same(tmp_path, monkeypatch):
  path = _write(tmp_path / "d", ant=[GOOD] * 3, bee=[GOOD], cat=[GOOD] * 2)
  alone, _ = reader.load(path)
  monkeypatch.setattr(parallel, "_PARALLEL_BYTES", 0)
  monkeypatch.setattr(parallel, "cores", lambda: 2)
  together, _ = reader.load(path)
  np.testing.assert_array_equal(alone.label, together.label)
  np.testing.assert_array_equal(alone.source.points, together.source.points)
  (path / "bee.ndjson").write_text(GOOD + "\n[\n")
  with refused("data", f"{path / 'bee.ndjson'}:2"):
    reader.load(path)


def test_a_script_without_a_guard_ends(tmp_path):
  """Each worker would run it again: one error, and no endless start."""
  path = _write(tmp_path / "d", ant=[GOOD], bee=[GOOD])
  script = tmp_path / "script.py"
  script.write_text(
    "from alcurr.data import parallel\n"
    "from alcurr.data.quickdraw import reader\n"
    "parallel._PARALLEL_BYTES = 0\n"
    "parallel.cores = lambda: 2\n"
    f"reader.load({str(path)!r})\n"
  )
  root = pathlib.Path(reader.__file__).parents[3]
  done = subprocess.run(
    [sys.executable, str(script)],
    env={**os.environ, "PYTHONPATH": str(root)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 1
  assert "UserError: reading: " in done.stderr


def _assert_same(left, right):
  for field in ("points", "stroke_start", "drawing_start"):
    a, b = getattr(left.source, field), getattr(right.source, field)
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(left.label, right.label)
  np.testing.assert_array_equal(left.key, right.key)
  assert left.class_names == right.class_names


def test_the_cache_is_used_and_never_trusted_blindly(tmp_path):
  path, cache = (
    _write(tmp_path / "d", ant=[GOOD, GOOD], bee=[GOOD]),
    tmp_path / "c",
  )
  first, report = reader.load(path, cache_dir=cache)
  assert not report["cached"]
  second, report = reader.load(path, cache_dir=cache)
  assert report["cached"]
  _assert_same(first, second)
  # A copy with another time and the same bytes is the same.
  copy = tmp_path / "copy"
  shutil.copy(path / "ant.ndjson", copy)
  shutil.copyfile(copy, path / "ant.ndjson")
  assert reader.load(path, cache_dir=cache)[1]["cached"]
  # Another choice, and other bytes of the same length, are not.
  assert not reader.load(path, max_per_class=1, cache_dir=cache)[1]["cached"]
  text = (path / "ant.ndjson").read_text()
  (path / "ant.ndjson").write_text(text.replace("[0,9,", "[0,8,", 1))
  changed, report = reader.load(path, cache_dir=cache)
  assert not report["cached"]
  assert (changed.source.points != first.source.points).any()
  # A damaged entry is made again.
  entry = next(cache.glob("quickdraw-*/points.npy")).parent
  for entry in cache.glob("quickdraw-*"):
    data = bytearray((entry / "points.npy").read_bytes())
    data[-1] ^= 1
    (entry / "points.npy").write_bytes(bytes(data))
  again, report = reader.load(path, cache_dir=cache)
  assert not report["cached"]
  _assert_same(changed, again)
  assert reader.load(path, cache_dir=cache)[1]["cached"]


OF_CAT = '{"word":"cat","drawing":[[[0,9,4,9],[0,9,9,4]]]}'


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("name", ["train", "kitten", "cats", "cat 7"])
def test_a_file_of_another_word_is_refused(tmp_path, name, on_error):
  path = _write(tmp_path / "d", ant=[GOOD], **{name: [GOOD, OF_CAT]})
  with refused("data", f"{path / name}.ndjson:2") as raised:
    reader.load(path, on_error=on_error)
  assert "'cat'" in raised.value.text


def test_a_shuffled_file_of_kaggle_is_refused(tmp_path):
  row = '"[[[0],[9]]]",{}\n'
  for name in ("train_k0", "train_k1"):
    text = "drawing,word\n" + row.format("cat") + row.format("dog")
    (tmp_path / f"{name}.csv").write_text(text)
  with refused("data", f"{tmp_path / 'train_k0.csv'}:2"):
    reader.load(tmp_path, on_error="skip")


@pytest.mark.parametrize(
  ("file", "word", "name"),
  [
    ("The_Eiffel_Tower", "The Eiffel Tower", "The_Eiffel_Tower"),
    ("The%20Eiffel%20Tower", "The_Eiffel_Tower", "The Eiffel Tower"),
    ("full_simplified_CAT (1)", "cat", "CAT"),
    ("cat(2)", "cat", "cat"),
    ("cat - Copy (3)", "cat", "cat"),
    ("cat copy 2", "cat", "cat"),
  ],
)
def test_spellings_of_a_word(tmp_path, file, word, name):
  line = OF_CAT.replace("cat", word)
  path = _write(tmp_path / "d", **{file: [line], "zebra": [GOOD]})
  assert reader.load(path)[0].class_names == (name, "zebra")


@pytest.mark.parametrize(
  "copy", ["cat (1)", "cat - Copy", "Cat", "full_raw_cat"]
)
def test_a_copy_is_not_a_class(tmp_path, copy):
  path = _write(tmp_path / "d", cat=[GOOD], **{copy: [GOOD], "dog": [GOOD]})
  with refused("conflict", path):
    reader.load(path)


def test_repeated_keys_are_counted_and_logged(tmp_path, caplog):
  lines = [GOOD[:-1] + f', "key_id": "{key}"}}' for key in (1, 2, 1, 1)]
  path = _write(tmp_path / "d", ant=lines[:2], bee=["", lines[2], lines[3]])
  with caplog.at_level("WARNING"):
    reader.load(path)
  assert f"{path}: 2 drawings" in caplog.text
  caplog.clear()
  (path / "bee.ndjson").write_text(GOOD)
  with caplog.at_level("WARNING"):
    reader.load(path)
  assert not caplog.text


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    *((value, False) for value in ("false", "0", "0.0", '"False"', '"0"')),
    *((value, True) for value in ("true", "1", '"TRUE"', '" 1"', "null", '""')),
    *((value, None) for value in ('"no"', "2", "[]", "{}", "-1", "0.5")),
  ],
)
def test_what_recognized_says(tmp_path, value, expected):
  line = GOOD[:-1] + f', "recognized": {value}}}'
  path = _write(tmp_path / "d", ant=[line, GOOD]) / "ant.ndjson"
  if expected is None:
    with refused("data", f"{path}:1"):
      reader.read_class(path)
    assert len(reader.read_class(path, on_error="skip").key) == 1
  else:
    assert reader.read_class(path).flags["recognized"].tolist() == [
      expected,
      True,
    ]


@pytest.mark.parametrize("suffix", ["ndjson", "NDJSON"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_and_suffixes(tmp_path, suffix, encoding):
  text = "".join(
    f'{{"drawing":[[[{i}],[9]]], "key_id": "\u6f22{i}"}}\r\n' for i in range(9)
  )
  plain, other = tmp_path / "plain", tmp_path / "other"
  for folder in (plain, other):
    _write(folder, ant=[GOOD])
  (plain / "bee.ndjson").write_bytes(text.encode())
  mark = "\ufeff" if encoding == "utf-16-be" else ""
  (other / f"bee.{suffix}").write_bytes((mark + text).encode(encoding))
  expected, read = reader.load(plain)[0], reader.load(other)[0]
  _assert_same(expected, read)
  with (other / f"bee.{suffix}").open("ab") as file:
    file.write(b"\xff")
  with pytest.raises(UserError) as raised:
    reader.load(other)
  assert raised.value.code == "data"


def test_what_macos_and_editors_add_is_not_read(tmp_path):
  path = _write(tmp_path / "d", ant=[GOOD], bee=[GOOD])
  for name in ("._ant.ndjson", ".bee.ndjson", "~$ant.csv", "._full_raw_x.npy"):
    (path / name).write_bytes(b"\0\5\x16\7")
  assert reader.load(path)[0].class_names == ("ant", "bee")


@pytest.mark.parametrize(
  ("make", "code"),
  [
    (os.mkfifo, "data"),
    (os.mkdir, "data"),
    (lambda path: path.symlink_to("/dev/zero"), "data"),
    (lambda path: path.symlink_to("nowhere"), "missing"),
  ],
)
def test_what_is_no_file_is_refused(tmp_path, make, code):
  path = _write(tmp_path / "d", ant=[GOOD], bee=[GOOD]) / "cat.ndjson"
  make(path)
  with refused(code, path):
    reader.load(path.parent)
  with refused(code, path):
    reader.read_class(path, on_error="skip")
