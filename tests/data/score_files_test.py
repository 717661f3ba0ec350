"""Scores of the user's own, by position and by key."""

import numpy as np
import pytest

from alcurr.core.errors import UserError
from alcurr.data import score_files
from alcurr.data.arrays import from_arrays
from alcurr.data.quickdraw import records, synthetic
from alcurr.data.quickdraw.records import Record
from alcurr.data.strokes import Drawing

PLACE = "scores.mine.file"


@pytest.fixture
def images():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 255, (6, 4, 4)).astype(np.uint8)
  return from_arrays(image, np.arange(6) % 2)


def _csv(folder, rows, header="key,score"):
  path = folder / "mine.csv"
  text = "\n".join([header, *(f"{key},{score}" for key, score in rows)])
  path.write_text(text + "\n")
  return path


def test_images_are_known_by_their_number(tmp_path, images):
  """In any order, and others are ignored."""
  expected = np.array([0.5, -1, 2, 3e-3, 4, 5], np.float32)
  rows = [*enumerate(expected.tolist())][::-1]
  path = _csv(tmp_path, [*rows, (9, 1.0)])
  scores = score_files.read_scores(path, images, PLACE)
  np.testing.assert_array_equal(scores, expected)
  np.save(tmp_path / "mine.npy", expected.astype(np.float64))
  scores = score_files.read_scores(tmp_path / "mine.npy", images, PLACE)
  np.testing.assert_array_equal(scores, expected)
  assert scores.dtype == np.float32


def test_images_of_a_folder_are_known_by_their_path(tmp_path, images):
  paths = [f"cat/{i}.png" for i in range(6)]
  dataset = images._replace(paths=np.array(paths))
  path = _csv(tmp_path, [(p, i / 2) for i, p in enumerate(paths)][::-1])
  scores = score_files.read_scores(path, dataset, PLACE)
  np.testing.assert_array_equal(scores, np.arange(6) / 2)


def test_drawings_are_known_by_their_key_id(tmp_path):
  dataset = synthetic.make_synthetic(num_examples=12, num_classes=2, seed=0)
  keys = [str(2**62 + i) for i in range(12)]
  drawing = Drawing(np.zeros((1, 2), np.uint8), [1])
  hashed = [records.key_hash(Record(drawing, k, True, "")) for k in keys]
  dataset = dataset._replace(key=np.array(hashed, np.uint64))
  path = _csv(tmp_path, [(key, i / 4) for i, key in enumerate(keys)][::-1])
  scores = score_files.read_scores(path, dataset, PLACE)
  np.testing.assert_array_equal(scores, np.arange(12) / 4)


GOOD = [(i, i) for i in range(6)]


@pytest.mark.parametrize(
  ("rows", "header"),
  [
    (GOOD[:5], "key,score"),
    ([*GOOD, (0, 0)], "key,score"),
    ([*GOOD[:5], (5, "nan")], "key,score"),
    ([*GOOD[:5], (5, "inf")], "key,score"),
    ([*GOOD[:5], (5, "high")], "key,score"),
    ([*GOOD[:5], (5, "")], "key,score"),
    (GOOD, "name,score"),
    ([], "key,score"),
  ],
)
def test_mistakes_in_a_table(rows, header, tmp_path, images):
  with pytest.raises(UserError) as raised:
    score_files.read_scores(_csv(tmp_path, rows, header), images, PLACE)
  assert (raised.value.code, raised.value.place) == ("data", PLACE)


@pytest.mark.parametrize(
  ("array", "code"),
  [
    (np.zeros(5), "data"),
    (np.zeros((6, 1)), "data"),
    (np.array([0, 1, 2, 3, 4, np.nan]), "data"),
    (np.array([0, 1, 2, 3, 4, 1e300]), "data"),
    (np.array(list("abcdef")), "type"),
    (np.zeros(6, complex), "type"),
    (np.array([None] * 6), "type"),
    (np.ma.masked_equal([0, 1, 2, 3, 4, 5], 5), "type"),
  ],
)
def test_mistakes_in_an_array(array, code, tmp_path):
  with pytest.raises(UserError) as raised:
    score_files.save_scores(array, 6, tmp_path, "scores['mine']")
  assert (raised.value.code, raised.value.place) == (code, "scores['mine']")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("name", "content", "code"),
  [
    ("none.csv", None, "missing"),
    ("mine.npy", b"no array", "damaged"),
    ("mine.csv", b"key,score\n\xff,1\n", "damaged"),
    ("mine.txt", b"", "unsupported"),
  ],
)
def test_files_that_cannot_be_read(name, content, code, tmp_path, images):
  if content is not None:
    (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError) as raised:
    score_files.read_scores(tmp_path / name, images, PLACE)
  assert (raised.value.code, raised.value.place) == (code, PLACE)
