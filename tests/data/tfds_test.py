"""Sets of TensorFlow Datasets, of real drawings and of images."""

import io
import json

import numpy as np
import published
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from refusal import refused

from alcurr.data import __main__ as command
from alcurr.data import sources
from alcurr.data import tfds as source
from alcurr.data.quickdraw import reader, records
from configs import default

CLASSES = ("cat", "The Eiffel Tower")


@pytest.fixture(scope="module")
def drawings(quickdraw_dir, tmp_path_factory):
  """A folder of two real classes, and the set that the command makes of it."""
  folder, out = (tmp_path_factory.mktemp(name) for name in ("files", "sets"))
  for name in CLASSES:
    path = quickdraw_dir / "simplified" / f"{name}.ndjson"
    (folder / path.name).write_bytes(path.read_bytes())
  assert command.main(["tfds", str(folder), str(out)]) == 0
  return folder, out / "quickdraw_strokes" / "1.0.0"


def _assert_same(left, right):
  for a, b in zip(left.source, right.source, strict=True):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype
  for field in ("label", "key"):
    np.testing.assert_array_equal(getattr(left, field), getattr(right, field))
    assert getattr(left, field).dtype == getattr(right, field).dtype
  np.testing.assert_array_equal(*(d.flags["recognized"] for d in (left, right)))
  assert left.class_names == right.class_names


@pytest.mark.parametrize(
  "options", [{}, {"recognized_only": True, "max_per_class": 40}]
)
def test_drawings_are_those_of_the_files(drawings, options):
  files, folder = drawings
  expected, _ = reader.load(files, **options)
  _assert_same(source.load(str(folder), **options), expected)


def test_what_the_set_says_of_a_drawing(drawings, quickdraw_dir):
  """As TensorFlow Datasets reads it, against the lines of the files."""
  builder = tfds.builder_from_directory(drawings[1])
  assert builder.info.features["label"].names == sorted(CLASSES)
  found = builder.as_data_source(split="train")
  rows = {
    name: published.rows(quickdraw_dir / "simplified" / f"{name}.ndjson")
    for name in CLASSES
  }
  assert len(found) == sum(map(len, rows.values()))
  assert len(builder.as_data_source(split="train[:10%]")) == round(
    len(found) / 10
  )
  places = set()
  for example in found:
    name = sorted(CLASSES)[example["label"]]
    row = rows[name][example["index"]]
    expected = [
      [x, y, int(i == len(xs) - 1)]
      for xs, ys in row["drawing"]
      for i, (x, y) in enumerate(zip(xs, ys, strict=True))
    ]
    assert example["strokes"].tolist() == expected
    assert example["recognized"] == row["recognized"]
    assert example["key_id"].decode() == row["key_id"]
    assert example["countrycode"].decode() == row.get("countrycode", "")
    places.add((name, example["index"]))
  assert len(places) == len(found)
  # Mixed, so that a part of it has every class.
  assert 0 < np.mean([found[i]["label"] for i in range(99)]) < 1


def test_one_file_of_many_words(quickdraw_dir, tmp_path):
  real = quickdraw_dir / "simplified"
  path = published.write_master_csv(tmp_path / "master.csv", real, CLASSES)
  assert command.main(["tfds", str(path), str(tmp_path / "out")]) == 0
  folder = tmp_path / "out" / "quickdraw_strokes" / "1.0.0"
  found = source.load(str(folder))
  assert [*map(records.plain_word, found.class_names)] == [
    "the eiffel tower",
    "cat",
  ]
  assert np.bincount(found.label).tolist() == [40, 40]
  _assert_same(found, reader.load(path)[0])


def test_a_country_in_every_form(tmp_path):
  row = {"drawing": [[[0], [9]]], "key_id": "7", "countrycode": "NZ"}
  for name in ("a", "b"):
    (tmp_path / f"{name}.ndjson").write_text(json.dumps(row))
  assert command.main(["tfds", str(tmp_path), str(tmp_path / "1")]) == 0
  for name in ("a", "b"):
    (tmp_path / f"{name}.ndjson").unlink()
    published.write_csv(tmp_path / f"{name}.csv", [row | {"recognized": True}])
  assert command.main(["tfds", str(tmp_path), str(tmp_path / "2")]) == 0
  for name in ("a", "b"):
    (tmp_path / f"{name}.csv").unlink()
    (tmp_path / f"{name}.bin").write_bytes(
      published.record(row["drawing"], 7, country=b"NZ")
    )
  assert command.main(["tfds", str(tmp_path), str(tmp_path / "3")]) == 0
  for out in "123":
    folder = tmp_path / out / "quickdraw_strokes" / "1.0.0"
    (first, second) = tfds.builder_from_directory(folder).as_data_source(
      "train"
    )
    assert first["countrycode"] == second["countrycode"] == b"NZ"


def _write(
  folder, name, features, examples, split="train", form="array_record"
):
  """A set, by a builder of the test's own."""

  class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("3.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict(features)
      )

    def _split_generators(self, dl_manager):
      return {split: enumerate(examples)}

    def _generate_examples(self):
      # Abstract in tfds; the splits above have the examples themselves.
      raise NotImplementedError

  Written.name = name
  builder = Written(data_dir=folder, file_format=form)
  builder.download_and_prepare()
  return str(builder.data_dir)


def _png(image):
  file = io.BytesIO()
  Image.fromarray(image).save(file, format="PNG")
  file.seek(0)
  return file


def test_the_stock_bitmaps_by_their_name(quickdraw_dir, tmp_path, monkeypatch):
  """Google's own files, as the stock builder would have stored them."""
  stock = tfds.builder("quickdraw_bitmap", data_dir=tmp_path).info.features
  names = ("bicycle", "cat")
  rows = {}
  for path in sorted((quickdraw_dir / "numpy_bitmap").iterdir())[:3]:
    rows[path.stem.removeprefix("full_numpy_bitmap_")] = np.load(path)[:150]
  names = tuple(sorted(rows)[:2])
  examples = [
    {"image": _png(image.reshape(28, 28)), "label": name}
    for name, images in rows.items()
    for image in images
  ]
  features = {
    "image": tfds.features.Image(shape=(28, 28, 1)),
    "label": tfds.features.ClassLabel(names=stock["label"].names),
  }
  assert repr(tfds.features.FeaturesDict(features)) == repr(stock)
  _write(tmp_path, "quickdraw_bitmap", features, examples)
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
  data = default.get_config().data
  data.update(source="tfds", dir="quickdraw_bitmap", classes=",".join(names))
  sources.check(data)
  parts = sources.load(data, tmp_path / "cache").parts
  found = {
    (part.class_names[label], image.tobytes())
    for part in parts.values()
    for label, image in zip(part.label, part.source.image, strict=True)
  }
  assert found == {
    (name, image.tobytes()) for name in names for image in rows[name]
  }
  some = source.load("quickdraw_bitmap", classes=list(names), max_per_class=7)
  assert np.bincount(some.label).tolist() == [7, 7]
  assert some.source.image.shape == (14, 28, 28, 1)


IMAGE = tfds.features.Image(shape=(None, None, 3))
LABEL = tfds.features.ClassLabel(names=["b", "a"])


def test_images_of_an_open_size_are_scaled(tmp_path):
  """A picture of one colour stays so, at any size and shape."""
  sizes = [(5, 9), (30, 20), (64, 64), (8, 8)]
  examples = [
    {"picture": _png(np.full((*size, 3), 50 * i, np.uint8)), "kind": i % 2}
    for i, size in enumerate(sizes)
  ]
  features = {"kind": LABEL, "picture": IMAGE, "id": np.int64}
  examples = [{**e, "id": i} for i, e in enumerate(examples)]
  folder = _write(tmp_path, "pictures", features, examples)
  found = source.load(folder, image_size=16)
  assert found.class_names == ("a", "b")
  assert found.source.image.shape == (4, 16, 16, 3)
  # "b" is the set's first.
  shown = {(int(i.min()), int(i.max())) for i in found.source.image}
  assert shown == {(50 * i, 50 * i) for i in range(4)}
  for image, label in zip(found.source.image, found.label, strict=True):
    assert found.class_names[label] == "ba"[image.max() // 50 % 2]


def _examples(**more):
  images = np.repeat(np.arange(4, dtype=np.uint8), 48).reshape(4, 4, 4, 3)
  return [
    {"image": _png(image), "label": i % 2, **more}
    for i, image in enumerate(images)
  ]


def test_sets_of_other_kinds(tmp_path):
  features = {"image": IMAGE, "label": LABEL}
  folder = _write(tmp_path, "odd", features, _examples(), split="test")
  with refused("missing", folder):
    source.load(folder)
  two = {**features, "other": LABEL}
  folder = _write(tmp_path, "two", two, _examples(other=0))
  with refused("unsupported", folder):
    source.load(folder)
  unlabelled = [{**e, "label": -1} for e in _examples()]
  folder = _write(tmp_path, "bare", features, unlabelled)
  with refused("unsupported", folder):
    source.load(folder)
  folder = _write(tmp_path, "good", features, _examples())
  with refused("conflict", "recognized_only"):
    source.load(folder, recognized_only=True)
  with refused("unknown", "classes"):
    source.load(folder, classes="a,c")
  record = tmp_path / "good" / "3.0.0" / "dataset_info.json"
  said = record.read_text()
  record.write_text(said.replace("array_record", "tfrecord"))
  with refused("unsupported", folder):
    source.load(folder)
  record.write_text(said)
  assert len(source.load(folder).label) == 4
  (path,) = (tmp_path / "good" / "3.0.0").glob("*array_record*")
  content = bytearray(path.read_bytes())
  content[200] ^= 255
  path.write_bytes(content)
  with refused("damaged", folder):
    source.load(folder)
  path.unlink()
  with refused("damaged", folder):
    source.load(folder)
  record.write_text("{")
  with refused("damaged", folder):
    source.load(folder)


@pytest.mark.parametrize(
  ("where", "code", "text"),
  [
    ("mnist", "missing", "tfds build mnist "),
    ("quickdraw_strokes", "missing", "python -m alcurr.data tfds"),
    ("mnits", "unknown", "Did you mean mnist?"),
    ("/none", "unknown", ""),
    ("huggingface:mnist", "unknown", ""),
    ("mnist:9.9.9", "unknown", ""),
    ("emnist/none", "unknown", ""),
  ],
)
def test_sets_that_are_missing(where, code, text, tmp_path, monkeypatch):
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
  with refused(code, "dir") as raised:
    source.load(where)
  assert text in raised.value.text
  assert not list(tmp_path.iterdir())


def test_mistakes_of_the_command(tmp_path, capsys):
  folder, out = tmp_path / "files", tmp_path / "out"
  folder.mkdir()
  (folder / "a.npy").write_bytes(b"x")
  for name, content, place in (
    ("a.npy", "x", folder),
    ("a.ndjson", '{"drawing": []}', f"{folder / 'a.ndjson'}:1"),
  ):
    for path in folder.iterdir():
      path.unlink()
    (folder / name).write_text(content)
    assert command.main(["tfds", str(folder), str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"alcurr: {place}: ")
    assert not list(out.rglob("*.json"))
  (folder / "a.ndjson").write_text('{"drawing": [[[1], [2]]]}')
  assert command.main(["tfds", str(folder), str(out)]) == 0
  assert "1 drawings" in capsys.readouterr().out
  assert command.main(["tfds", str(folder), str(out)]) == 2
  assert capsys.readouterr().err.startswith("alcurr: OUT: ")
