"""The form of strokes is decided once, for a file or a call, or asked for."""

import gzip
import json

import numpy as np
import published
import pytest
from refusal import refused

from alcurr.core.errors import UserError
from alcurr.data import strokes
from alcurr.data.quickdraw import kaggle, reader, stroke_forms

ROWS = [[[0, 9, 4, 7], [0, 9, 9, 4]]]  # four points
POINTS = [[[0, 0], [9, 9], [4, 9], [7, 4]]]  # the same ones


def _plain(packed):
  return [
    [stroke.T.tolist() for stroke in strokes.unpack(packed, i)]
    for i in range(len(packed.drawing_start) - 1)
  ]


@pytest.mark.parametrize(
  ("drawings", "expected"),
  [
    # Rows, because a stroke has not 2 or 3 points.
    ([ROWS], [ROWS]),
    ([[[[1, 2], [3, 4]]], ROWS], [[[[1, 2], [3, 4]]], ROWS]),
    ([[[[1], [2]]]], [[[[1], [2]]]]),
    # Points likewise, in any container.
    ([POINTS], [ROWS]),
    ([[[[1, 2]]]], [[[[1], [2]]]]),
    ([[[[1, 2], [3, 4]], [[1, 2]]]], [[[[1, 3], [2, 4]], [[1], [2]]]]),
    ([[[(1, 2), (3, 4)]], POINTS], [[[[1, 3], [2, 4]]], ROWS]),
    ([[tuple(map(np.array, POINTS[0]))]], [ROWS]),
    # The strokes of a drawing have one form: 2 points and 3, or x and y.
    ([[[[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6]]]],
     [[[[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6]]]]),
    ([[[[1, 2], [3, 4]], [[1, 2], [3, 4], [5, 6]]]],
     [[[[1, 3], [2, 4]], [[1, 3, 5], [2, 4, 6]]]]),
    # One by itself.
    (ROWS, [ROWS]),
    (np.array(ROWS), [ROWS]),
    (POINTS, [ROWS]),
  ],
)  # fmt: skip
def test_a_call_of_one_form(drawings, expected):
  assert _plain(stroke_forms.pack_any(drawings, "inputs")) == expected


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2), (3, 3)])
@pytest.mark.parametrize("kind", [list, tuple])
def test_what_may_be_both_is_asked_for(size, kind):
  stroke = [kind(row) for row in np.arange(9).reshape(3, 3)[: size[0]]]
  stroke = [row[: size[1]] for row in stroke]
  drawings = [[stroke]] * 4
  with refused("data", "inputs") as raised:
    stroke_forms.pack_any(drawings, "inputs")
  assert "stroke_form=points" in raised.value.text
  if 3 not in size:
    expected = {"rows": [[0, 3], [1, 4]], "points": [[0, 1], [3, 4]]}
    for form, points in expected.items():
      packed = stroke_forms.pack_any(drawings, "inputs", form)
      assert packed.points.tolist() == points * 4
  with refused("unknown", "stroke_form"):
    stroke_forms.pack_any(drawings, "inputs", "columns")


def test_a_text_is_no_drawing():
  """As in the column `drawing` of Kaggle's files."""
  with refused("type", "inputs[1]"):
    stroke_forms.pack_any([ROWS, json.dumps(ROWS)], "inputs")


def test_as_many_of_each_form_are_asked_for():
  with refused("data", "inputs"):
    stroke_forms.pack_any([ROWS, POINTS], "inputs")
  with refused("data", "inputs[2]"):
    stroke_forms.pack_any([ROWS, ROWS, POINTS], "inputs")


def test_points_with_times_are_raw_drawings():
  raw = [[[100, 150, 300, 320], [50, 50, 50, 99], [0, 1, 2, 3]]]
  points = [[*zip(*raw[0], strict=True)]]
  expected = stroke_forms.pack_any([raw], "inputs")
  assert expected.points.shape[1] == 3 and expected.points.max() == 255
  packed = stroke_forms.pack_any([points], "inputs")
  for a, b in zip(packed, expected, strict=True):
    np.testing.assert_array_equal(a, b)


def _to_points(drawing):
  return [[*zip(*stroke, strict=True)] for stroke in drawing]


@pytest.mark.parametrize("suffix", ["ndjson", "csv"])
@pytest.mark.parametrize("kind", ["simplified", "raw"])
def test_real_files_as_points_are_the_same(
  quickdraw_dir, tmp_path, kind, suffix
):
  source = sorted((quickdraw_dir / kind).glob("*.ndjson"))[0]
  rows = published.rows(source)
  lengths = {len(x) for row in rows for x, *_ in row["drawing"]}
  assert kind == "raw" or {2, 3} & lengths
  changed = [row | {"drawing": _to_points(row["drawing"])} for row in rows]
  path = tmp_path / f"{source.stem}.{suffix}"
  if suffix == "csv":
    published.write_csv(path, changed)
  else:
    path.write_text("".join(json.dumps(row) + "\n" for row in changed))
  expected, read = reader.read_class(source), reader.read_class(path)
  for a, b in zip(expected.source, read.source, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(expected.key, read.key)


def _file(path, drawings):
  lines = (json.dumps({"drawing": drawing}) for drawing in drawings)
  text = "".join(f"{line}\n" for line in lines)
  compress = gzip.compress if path.suffix == ".gz" else bytes
  path.write_bytes(compress(text.encode()))
  return path


@pytest.mark.parametrize("name", ["ant.ndjson", "ant.ndjson.gz"])
@pytest.mark.parametrize("number", [0, 1, 1500])
def test_any_drawing_of_a_file_decides(tmp_path, name, number):
  two = [[[0, 9], [7, 8]]]
  path = _file(tmp_path / name, [two] * number + [POINTS, two])
  read = _plain(reader.read_class(path).source)
  assert read == [[[[0, 7], [9, 8]]]] * number + [ROWS, [[[0, 7], [9, 8]]]]
  path = _file(tmp_path / name, [two] * number + [ROWS, two])
  assert _plain(reader.read_class(path).source) == [two] * number + [ROWS, two]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_file_where_nothing_decides_is_asked_about(tmp_path, on_error):
  two = [[[0, 9], [7, 8]]]
  path = _file(tmp_path / "ant.ndjson", [two] * 3)
  _file(tmp_path / "bee.ndjson", [ROWS])
  with refused("data", path):
    reader.load(tmp_path, on_error=on_error)
  for form, points in (
    ("rows", [[0, 7], [9, 8]]),
    ("points", [[0, 9], [7, 8]]),
  ):
    read = reader.read_class(path, stroke_form=form).source
    assert read.points.tolist() == points * 3
  with refused("unknown", "stroke_form"):
    reader.load(tmp_path, stroke_form="both")


def test_a_drawing_of_the_other_form_is_named_or_counted(tmp_path):
  for good, bad in ((ROWS, POINTS), (POINTS, ROWS)):
    path = _file(tmp_path / "ant.ndjson", [good, bad, good])
    with refused("data", f"{path}:2"):
      reader.read_class(path)
    read = reader.read_class(path, on_error="skip")
    assert _plain(read.source) == [ROWS] * 2
    assert sum(read.skipped.values()) == 1


def test_a_test_file_of_points(tmp_path):
  path = tmp_path / "test.csv"
  rows = [
    {"drawing": POINTS, "key_id": "5"},
    {"drawing": [[[0, 9], [7, 8]]], "key_id": "6"},
  ]
  published.write_csv(path, rows, ("key_id", "drawing"))
  assert _plain(kaggle.read_test(path)[0]) == [ROWS, [[[0, 7], [9, 8]]]]
  published.write_csv(path, rows[1:], ("key_id", "drawing"))
  with refused("data", path):
    kaggle.read_test(path)
  read = kaggle.read_test(path, "rows")[0]
  assert _plain(read) == [[[[0, 9], [7, 8]]]]


@pytest.mark.parametrize(
  "drawing", [3, [], [3], [[]], [[[1, 2], 3]], [[[1, 2], [3]], [[4]]]]
)
@pytest.mark.parametrize("form", ["", *stroke_forms.FORMS])
def test_what_is_no_drawing_is_refused(drawing, form):
  with pytest.raises(UserError) as raised:
    good = POINTS if form == "points" else ROWS
    stroke_forms.pack_any([good, drawing], "x", form)
  assert raised.value.place == "x[1]"
