"""Files as people have them: compressed, printed, in one piece."""

import gzip
import json
import os

import numpy as np
import published
import pytest
from refusal import refused

from alcurr.data.quickdraw import items, kaggle, reader

COLUMNS = ("word", "key_id", "drawing")


@pytest.fixture
def rows(quickdraw_dir):
  """Sixty real drawings of two classes."""
  names = ("cat", "The Eiffel Tower")
  paths = [quickdraw_dir / "simplified" / f"{name}.ndjson" for name in names]
  return {path.stem: published.rows(path)[:30] for path in paths}


def _write(folder, rows, name="{}.ndjson", dump=None):
  dump = dump or (lambda rows: "".join(json.dumps(row) + "\n" for row in rows))
  folder.mkdir(exist_ok=True)
  for word, drawings in rows.items():
    content = dump(drawings).encode()
    path = folder / name.format(word)
    compress = gzip.compress if path.suffix in (".gz", ".GZ") else bytes
    path.write_bytes(compress(content))
  return folder


def _assert_same(left, right):
  for a, b in zip(left.source, right.source, strict=True):
    np.testing.assert_array_equal(a, b)
  for field in ("label", "key"):
    np.testing.assert_array_equal(getattr(left, field), getattr(right, field))
  np.testing.assert_array_equal(*(d.flags["recognized"] for d in (left, right)))
  assert left.class_names == right.class_names


FORMS = {
  "gzip": ("{}.ndjson.gz", None),
  "upper case": ("{}.NDJSON.GZ", None),
  "google's name": ("full_simplified_{}.ndjson.gz", None),
  "an array": ("{}.json", json.dumps),
  "an array in .ndjson": ("{}.ndjson", json.dumps),
  "a printed array": ("{}.json", lambda x: json.dumps(x, indent=2)),
  "a compressed array": ("{}.json.gz", lambda x: json.dumps(x, indent=1)),
  "an array of lines": (
    "{}.json",
    lambda x: "\n[\n" + ",\n".join(map(json.dumps, x)) + "\n]\n",
  ),
  "printed objects": (
    "{}.ndjson",
    lambda x: "\n".join(json.dumps(row, indent=2) for row in x),
  ),
  "text in JSON": (
    "{}.ndjson",
    lambda x: "\n".join(
      json.dumps(row | {"drawing": json.dumps(row["drawing"])}) for row in x
    ),
  ),
  "lines of text": (
    "{}.jsonl",
    lambda x: "\n".join(json.dumps(json.dumps(row)) for row in x),
  ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1, 2**16])
def test_the_same_drawings(rows, tmp_path, form, chunk, monkeypatch):
  monkeypatch.setattr(items, "_CHUNK", chunk)
  expected, _ = reader.load(_write(tmp_path / "plain", rows))
  name, dump = FORMS[form]
  read, report = reader.load(_write(tmp_path / "other", rows, name, dump))
  _assert_same(read, expected)
  assert not report["skipped"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["{}.csv", "{}.csv.gz"])
def test_csv_of_other_marks(rows, tmp_path, mark, name):
  def dump(rows):
    lines = [mark.join(COLUMNS)]
    for row in rows:
      drawing = json.dumps(row["drawing"])
      drawing = f'"{drawing}"' if mark == "," else drawing
      lines.append(mark.join((row["word"], row["key_id"], drawing)))
    return "\r\n".join(lines)

  rows = {
    word: [row | {"recognized": True} for row in drawings]
    for word, drawings in rows.items()
  }
  expected, _ = reader.load(_write(tmp_path / "plain", rows))
  read, _ = reader.load(_write(tmp_path / "other", rows, name, dump))
  _assert_same(read, expected)
  path = next((tmp_path / "other").iterdir())
  assert len(kaggle.read_test(path)[1]) == 30


@pytest.mark.parametrize("name", ["all.csv", "train.ndjson", "all.json.gz"])
@pytest.mark.parametrize("by_itself", [False, True])
def test_one_file_of_many_words(rows, tmp_path, name, by_itself):
  """The words decide; a file by itself may be named as the data."""
  mixed = [row for pair in zip(*rows.values(), strict=True) for row in pair]
  expected = _write(tmp_path / "plain", rows)
  path = tmp_path / "one" / name
  path.parent.mkdir()
  if path.suffix == ".csv":
    published.write_csv(path, mixed)
  else:
    text = json.dumps(mixed).encode()
    compress = gzip.compress if path.suffix == ".gz" else bytes
    path.write_bytes(compress(text))
  place = path if by_itself else path.parent
  cache = tmp_path / "cache"
  for options in (
    {},
    {"max_per_class": 7},
    {"recognized_only": True, "classes": "2"},
  ):
    read, report = reader.load(place, **options, cache_dir=cache)
    assert not report["cached"]
    _assert_same(read, reader.load(expected, **options)[0])
    again, report = reader.load(place, **options, cache_dir=cache)
    assert report["cached"] and report["classes"] == {
      name: int((read.label == label).sum())
      for label, name in enumerate(read.class_names)
    }
    _assert_same(read, again)
  with refused("unknown", "classes"):
    reader.load(place, classes="cat,dog")
  with refused("data", "classes"):
    reader.load(place, classes="cat")


def test_a_file_of_many_words_and_none(tmp_path):
  row = {"drawing": [[[0], [9]]]}
  words = ["cat", "The_Eiffel_Tower", "the eiffel tower", "dog"]
  lines = [row | {"word": word, "key_id": word} for word in words]
  folder = _write(tmp_path / "d", {"all": lines})
  read, _ = reader.load(folder)
  assert read.class_names == ("The_Eiffel_Tower", "cat", "dog")
  assert read.label.tolist() == [0, 0, 1, 2]
  _write(folder, {"all": [*lines, row]})
  with refused("data", folder / "all.ndjson"):
    reader.load(folder)


BROKEN = {
  "cut off in a drawing": lambda text: text[: len(text) // 2],
  "cut off after a drawing": lambda text: text.rstrip("]\n ") + ",",
  "a broken drawing": lambda text: text.replace('"word"', "word", 1),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_broken_array_is_refused(rows, tmp_path, how, on_error):
  """Nothing says where its next drawing begins, so that none is skipped."""
  dump = lambda x: BROKEN[how](json.dumps(x, indent=1))  # noqa: E731
  _write(tmp_path, rows, "{}.json", dump)
  with pytest.raises(ValueError) as raised:
    reader.load(tmp_path, on_error=on_error)
  assert str(raised.value.place).startswith(f"{tmp_path}")


def test_a_bad_drawing_of_an_array_is_named_or_counted(rows, tmp_path):
  rows["cat"][3]["drawing"] = []
  _write(tmp_path, rows, "{}.json", lambda x: json.dumps(x, indent=1))
  text = (tmp_path / "cat.json").read_text()
  before = text[: text.index('"drawing": []')]
  line = text[: before.rindex("\n {")].count("\n") + 2
  with refused("data", f"{tmp_path / 'cat.json'}:{line}"):
    reader.load(tmp_path)
  _, report = reader.load(tmp_path, on_error="skip")
  assert report["skipped"] == {"no strokes": 1}
  assert report["classes"] == {"The Eiffel Tower": 30, "cat": 29}


def test_a_damaged_or_too_large_file_of_gzip(rows, tmp_path):
  folder = _write(tmp_path / "d", rows, "{}.ndjson.gz")
  path = folder / "cat.ndjson.gz"
  size = len(gzip.decompress(path.read_bytes()))
  assert len(reader.read_class(path, max_bytes=size).key) == 30
  with refused("data", path):
    reader.read_class(path, max_bytes=size - 1)
  with refused("data", path):
    reader.read_class(path, max_bytes=size - 1, on_error="skip")
  content = path.read_bytes()
  flipped = bytearray(content)
  flipped[len(flipped) // 2] ^= 255
  for bad in (content[:-9], bytes(flipped), b"no gzip"):
    path.write_bytes(bad)
    with refused("damaged", path):
      reader.load(folder, on_error="skip")


def test_a_bomb_is_refused_in_time(tmp_path):
  path = tmp_path / "cat.ndjson.gz"
  path.write_bytes(gzip.compress(b"\n" * 2**25) * 9)
  with refused("data", path):
    reader.read_class(path, max_bytes=2**22)


@pytest.mark.parametrize("suffix", ["bz2", "xz", "zip", "zst"])
def test_another_compression_is_refused(rows, tmp_path, suffix):
  """A class would be lost without a word."""
  _write(tmp_path, rows)
  os.rename(tmp_path / "cat.ndjson", tmp_path / f"cat.ndjson.{suffix}")
  with refused("conflict", tmp_path):
    reader.load(tmp_path)


def test_a_description_is_no_class(rows, tmp_path):
  _write(tmp_path, rows)
  (tmp_path / "about.json").write_text("{}")
  assert len(reader.load(tmp_path)[0].class_names) == 2
