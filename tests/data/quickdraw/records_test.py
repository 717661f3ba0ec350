"""The published formats: the same drawings, whichever file they are in."""

import csv
import io
import json

import numpy as np
import published
import pytest
from refusal import refused

from alcurr.data import strokes
from alcurr.data.quickdraw import items, kaggle, reader

SQUARE = [[[0, 9, 255, 7], [0, 9, 3, 8]]]


@pytest.fixture
def forms(quickdraw_dir, tmp_path):
  """Folders of two real classes, by form."""
  writers = {"csv": published.write_csv, "bin": published.write_bin}
  for form in ("ndjson", *writers):
    (tmp_path / form).mkdir()
  for name in ("cat", "The Eiffel Tower"):
    path = quickdraw_dir / "simplified" / f"{name}.ndjson"
    (tmp_path / "ndjson" / path.name).write_bytes(path.read_bytes())
    for form, write in writers.items():
      write(tmp_path / form / f"{name}.{form}", published.rows(path))
  return {form: tmp_path / form for form in ("ndjson", *writers)}


def _assert_same(left, right):
  for a, b in zip(left.source, right.source, strict=True):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype
  for field in ("label", "key"):
    np.testing.assert_array_equal(getattr(left, field), getattr(right, field))
  np.testing.assert_array_equal(*(d.flags["recognized"] for d in (left, right)))
  assert left.class_names == right.class_names


@pytest.mark.parametrize("form", ["csv", "bin"])
@pytest.mark.parametrize(
  "options", [{}, {"recognized_only": True, "max_per_class": 40}]
)
def test_all_forms_give_the_same(forms, form, options):
  expected, _ = reader.load(forms["ndjson"], **options)
  read, report = reader.load(forms[form], **options)
  _assert_same(expected, read)
  assert report["skipped"] == {} and len(expected.label) > 70


def test_raw_drawings_in_csv(quickdraw_dir, tmp_path):
  path = max((quickdraw_dir / "raw").iterdir(), key=lambda p: p.stat().st_size)
  copy = tmp_path / f"{path.stem}.csv"
  published.write_csv(copy, published.rows(path))
  read = reader.read_class(copy)
  expected = reader.read_class(path)
  for a, b in zip(expected.source, read.source, strict=True):
    np.testing.assert_array_equal(a, b)


def test_names_are_those_of_the_folder(tmp_path):
  for name in ("full_binary_bee", "ant", "full_raw_full_raw_x"):
    (tmp_path / f"{name}.bin").write_bytes(published.record(SQUARE))
  found = reader.load(tmp_path)[0].class_names
  assert found == ("ant", "bee", "full_raw_x")
  (tmp_path / "bee.bin").write_bytes(published.record(SQUARE))
  with refused("conflict", tmp_path):
    reader.load(tmp_path)


GOOD = published.record(SQUARE, key=2**64 - 1, recognized=0)
BAD_RECORDS = {
  "a record cut short": GOOD[:-1],
  "no strokes": published.record([]),
  "a stroke without points": published.record([*SQUARE, [[], []]]),
  "recognized is neither 0 nor 1": published.record(SQUARE, recognized=7),
  "a record of more than 4194304 bytes": published.record(
    [[[1] * 65535] * 2] * 40
  ),
}


@pytest.mark.parametrize(("reason", "bad"), BAD_RECORDS.items())
def test_a_bad_record_is_named_or_counted(tmp_path, reason, bad):
  path = tmp_path / "cat.bin"
  after = b"" if "short" in reason else GOOD
  path.write_bytes(GOOD + bad + after)
  with refused("data", f"{path}, record 2") as raised:
    reader.read_class(path)
  assert raised.value.text.startswith(reason)
  read = reader.read_class(path, on_error="skip")
  assert read.skipped == {reason: 1}
  assert (
    len(read.key) == (2 if after else 1) and not read.flags["recognized"].any()
  )
  assert strokes.unpack(read.source, 0)[0].T.tolist() == SQUARE[0]


def _row(drawing=SQUARE, recognized="True", key_id="7", more=()):
  file = io.StringIO()
  text = drawing if isinstance(drawing, str) else json.dumps(drawing)
  csv.writer(file, lineterminator="\n").writerow(
    ["US", text, key_id, recognized, "2017-03-09 00:28:55.637750", "cat", *more]
  )
  return file.getvalue().encode()


HEAD = ",".join(published.COLUMNS).encode() + b"\n"
BAD_ROWS = {
  "broken JSON": _row("[[[0,9],"),
  "no strokes": _row([]),
  "a coordinate out of range (0 to 255, whole)": _row([[[0, 256], [0, 1]]]),
  "recognized is neither True nor False": _row(recognized="maybe"),
  "not as many fields as columns": _row(more=["x"]),
  "broken CSV": b'US,"[[[0,9],[0,9]]]\n',
  "a line of more than 4194304 bytes": b"," * 2**23 + b"\n",
}


@pytest.mark.parametrize(("reason", "bad"), BAD_ROWS.items())
def test_a_bad_row_is_named_or_counted(tmp_path, reason, bad):
  path = tmp_path / "cat.csv"
  path.write_bytes(HEAD + _row() + bad + b"\n" + _row(recognized="False"))
  with refused("data", f"{path}:3") as raised:
    reader.read_class(path)
  assert raised.value.text.startswith(reason)
  read = reader.read_class(path, on_error="skip")
  assert read.skipped == {reason: 1}
  assert read.flags["recognized"].tolist() == [True, False]


@pytest.mark.parametrize(
  "head",
  [
    b"",
    b"key_id,countrycode,drawing\n",
    b"drawing,word,word\n",
    b"\xff\n",
    b"x" * (items.LONGEST + 9),
  ],
)
def test_a_file_of_other_columns_is_refused(tmp_path, head):
  path = tmp_path / "cat.csv"
  path.write_bytes(head + _row())
  with refused("data", path):
    reader.read_class(path, on_error="skip")


def test_columns_in_another_order_and_a_byte_order_mark(tmp_path):
  path = tmp_path / "cat.csv"
  columns = ("word", "drawing", "key_id")
  published.write_csv(path, [{"drawing": SQUARE, "key_id": "5"}], columns)
  content = path.read_bytes()
  assert b"\r\n" in content
  path.write_bytes(b"\xef\xbb\xbf" + content)
  read = reader.read_class(path)
  path = tmp_path / "cat.ndjson"
  path.write_text(json.dumps({"drawing": SQUARE, "key_id": "5"}))
  assert (
    read.key == reader.read_class(path).key and read.flags["recognized"].all()
  )


def test_a_test_file(quickdraw_dir, tmp_path, monkeypatch):
  monkeypatch.setattr(strokes, "_PACK_BLOCK", 100)
  source = quickdraw_dir / "simplified" / "cat.ndjson"
  rows = published.rows(source)
  path = tmp_path / "test_simplified.csv"
  published.write_csv(path, rows, ("key_id", "countrycode", "drawing"))
  read, key = kaggle.read_test(path)
  assert key.dtype == np.uint64
  assert key.tolist() == [int(row["key_id"]) for row in rows]
  expected = reader.read_class(source).source
  for a, b in zip(expected, read, strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ("row", "place"),
  [
    (",US,[]", ":2"),
    ('9x,US,"[[[1],[2]]]"', ":2"),
    (f'{2**64},US,"[[[1],[2]]]"', ":2"),
    ("", ""),
  ],
)
def test_bad_test_files(tmp_path, row, place):
  path = tmp_path / "test.csv"
  path.write_text(f"key_id,countrycode,drawing\n{row}\n")
  with refused("data", f"{path}{place}"):
    kaggle.read_test(path)
  with refused("missing", tmp_path / "none.csv"):
    kaggle.read_test(tmp_path / "none.csv")
