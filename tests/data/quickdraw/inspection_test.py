"""Tests of the output of `inspect` against the files themselves."""

import collections

import numpy as np
import published
import pytest
from PIL import Image

from alcurr.data import __main__ as cli
from alcurr.data.quickdraw import inspection, packed

NAMES = ("cat", "The Eiffel Tower")


@pytest.fixture
def folders(quickdraw_dir, tmp_path):
  """Two real classes as files, one with a bad line, and prepared."""
  (tmp_path / "files").mkdir()
  for name in NAMES:
    path = quickdraw_dir / "simplified" / f"{name}.ndjson"
    (tmp_path / "files" / path.name).write_bytes(path.read_bytes())
  with (tmp_path / "files" / "cat.ndjson").open("a") as file:
    file.write("[\n")
  packed.prepare(tmp_path / "files", tmp_path / "store", "skip")
  return tmp_path / "files", tmp_path / "store"


def test_counts_lengths_and_skipped_drawings(folders, quickdraw_dir):
  for folder in folders:
    found = inspection.summarize_folder(folder)
    assert sorted(found) == sorted(NAMES)
    for name in NAMES:
      rows = published.rows(quickdraw_dir / "simplified" / f"{name}.ndjson")
      each = found[name].drawings
      assert each["recognized"].tolist() == [row["recognized"] for row in rows]
      assert each["strokes"].tolist() == [len(row["drawing"]) for row in rows]
      points = [sum(len(x) for x, _ in row["drawing"]) for row in rows]
      assert each["points"].tolist() == points
    assert found["cat"].skipped == {"broken JSON": 1}
    assert found["The Eiffel Tower"].skipped == {}
    table = inspection.make_table(found)
    assert table.loc["cat", "drawings"] == len(found["cat"].drawings)
    every = np.concatenate([found[name].drawings["points"] for name in NAMES])
    assert table.loc["all", "points 50%"] == round(np.median(every))


def test_the_few_are_the_same_however_they_are_read(folders):
  files, store = map(inspection.summarize_folder, folders)
  for name in NAMES:
    for a, b in zip(files[name].few, store[name].few, strict=True):
      np.testing.assert_array_equal(a, b)
    assert len(files[name].few.drawing_start) == 9


def test_a_page_of_all_kinds(folders, quickdraw_dir, tmp_path, capsys):
  out = tmp_path / "sheet.png"
  bitmaps = tmp_path / "bitmaps"
  bitmaps.mkdir()
  for name in ("apple", "cat"):
    file = f"full_numpy_bitmap_{name}.npy"
    (bitmaps / file).symlink_to(quickdraw_dir / "numpy_bitmap" / file)
  packed.prepare(bitmaps, tmp_path / "prepared")
  for folder in (*folders, bitmaps, tmp_path / "prepared"):
    out.unlink(missing_ok=True)
    assert cli.main(["inspect", str(folder), f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "of 2 classes" in printed
    assert ("recognized" in printed) == (folder in folders)
    ink = np.asarray(Image.open(out)) < 128
    assert ink.shape == (60, 390)
    # Names, and eight drawings in each of two rows.
    cells = ink[:, 150:].reshape(2, 30, 8, 30).any((1, 3))
    assert cells.all() and ink[:, :150].any()


def test_repeated_keys(tmp_path, capsys):
  for name in ("ant", "bee"):
    (tmp_path / f"{name}.ndjson").write_text(
      '{"key_id":"1","drawing":[[[0],[9]]]}\n' * 2
    )
  assert cli.main(["inspect", str(tmp_path)]) == 0
  said = capsys.readouterr().out
  assert "repeated keys: 3 drawings" in said
  assert collections.Counter(said.split())["100.0%"] == 3


def test_mistakes(tmp_path, capsys):
  for args, place in (
    (["inspect", str(tmp_path)], f"{tmp_path}: "),
    (["inspect", str(tmp_path), "--out=x.jpg"], "--out: "),
    (["inspect"], ""),
    (["x"], ""),
  ):
    assert cli.main(args) == 2
    assert capsys.readouterr().err.startswith(f"alcurr: {place}")
