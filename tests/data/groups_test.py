"""Groups: arms of the user's own, beside the labels or from a table by key."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusal import refused

from alcurr.data import array_files, arrays, groups, pool, sources, splitting
from configs import default

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 4, 4, 1), np.uint8)
LABELS = np.arange(60) % 3
SITES = np.array(["web", "book", "web", "news"])[np.arange(60) % 4]


@pytest.mark.parametrize(
  "given",
  [SITES, SITES.tolist(), pd.Series(SITES), pd.Categorical(SITES)],
)
def test_groups_are_read_like_labels(given):
  dataset = arrays.from_arrays(IMAGES, LABELS, groups=given)
  assert dataset.group_names == ("book", "news", "web")
  assert dataset.groups.dtype == np.int32
  assert np.array(dataset.group_names)[dataset.groups].tolist() == [*SITES]


@pytest.mark.parametrize(
  "bad",
  [SITES[:5], [None, *SITES[1:]], [0.5] * 60, np.full(60, -1), ["a"] * 60],
)
def test_groups_that_cannot_be_read(bad):
  with refused("data", "groups"):
    arrays.from_arrays(IMAGES, LABELS, groups=bad)


def test_numbers_sort_as_numbers():
  dataset = arrays.from_arrays(IMAGES, LABELS, groups=np.arange(60) % 12)
  assert dataset.group_names == tuple(map(str, range(12)))
  assert dataset.groups.tolist() == [*np.arange(60) % 12]


def test_splits_keep_groups_aligned(tmp_path):
  path = array_files.save_npz(IMAGES, LABELS, tmp_path, groups=SITES)
  other = array_files.save_npz(IMAGES, LABELS, tmp_path, groups=SITES[::-1])
  assert path != other != array_files.save_npz(IMAGES, LABELS, tmp_path)
  dataset = array_files.load_npz(path)
  site = {i.tobytes(): s for i, s in zip(IMAGES, SITES, strict=True)}
  parts = splitting.split(dataset, 0.2, 0.2, 0.2)
  parts["joint"] = pool.concatenate(parts["train"], parts["probe"])
  for part in parts.values():
    assert len(part.groups) == len(part.label)
    named = [part.group_names[g] for g in part.groups]
    assert named == [site[image.tobytes()] for image in part.source.image]


def test_the_content_hash_depends_on_the_groups():
  plain = arrays.from_arrays(IMAGES, LABELS)
  grouped = arrays.from_arrays(IMAGES, LABELS, groups=SITES)
  other = arrays.from_arrays(IMAGES, LABELS, groups=SITES[::-1])
  known = plain._replace(content="of files")
  added = groups.with_groups(known, grouped.groups, grouped.group_names)
  hashes = {pool.content_hash(d) for d in (plain, grouped, other, known, added)}
  assert len(hashes) == 5


def _table(path, keys, names):
  frame = pd.DataFrame({"key": keys, "group": names})
  frame.to_csv(path, index=False)
  return str(path)


def _load(tmp_path, **changes):
  data = default.get_config().data
  data.update(changes)
  sources.check(data)
  return sources.load(data, tmp_path / "cache").parts


def test_a_folder_has_groups_by_path(tmp_path):
  names = {}
  for i, image in enumerate(IMAGES):
    path = tmp_path / "images" / ("cat", "dog")[i % 2] / f"{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(path)
    names[f"{path.parent.name}/{path.name}"] = SITES[i]
  keys = sorted(names, reverse=True)
  table = _table(tmp_path / "g.csv", keys, [names[key] for key in keys])
  parts = _load(
    tmp_path,
    source="folder",
    dir=str(tmp_path / "images"),
    classes="all",
    image_size=4,
    groups=table,
  )
  site = {i.tobytes(): s for i, s in zip(IMAGES, SITES, strict=True)}
  for part in parts.values():
    for image, group in zip(part.source.image, part.groups, strict=True):
      assert part.group_names[group] == site[image.tobytes()]


def test_drawings_have_groups_by_key_id(tmp_path):
  """The drawings come from files and, at the second call, from a cache."""
  folder = tmp_path / "drawings"
  folder.mkdir()
  keys = [str(5_000_000 + i) for i in range(60)]
  for name, start in (("cat", 0), ("dog", 30)):
    lines = [
      json.dumps(
        {"key_id": key, "drawing": [[[i % 9, 200, 0, 0], [0, 99 + i, 0, 0]]]}
      )
      for i, key in enumerate(keys[start : start + 30], start)
    ]
    (folder / f"{name}.ndjson").write_text("\n".join(lines))
  table = _table(tmp_path / "g.csv", [*keys, "1"], [*np.arange(60) // 6, 0])
  options = {"source": "files", "dir": str(folder), "classes": "all"}
  for _ in range(2):
    parts = _load(tmp_path, **options, groups=table)
    assert parts["train"].group_names == tuple(map(str, range(10)))
    for part in parts.values():
      # y of the second point counts the drawings.
      number = part.source.points[1::4, 1].astype(int) - 99
      np.testing.assert_array_equal(part.groups, number // 6)


def test_arrays_of_a_file_have_groups_by_number(tmp_path):
  np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
  table = _table(tmp_path / "g.csv", np.arange(60), SITES)
  options = {"source": "npz", "dir": str(tmp_path / "a.npz"), "groups": table}
  assert _load(tmp_path, **options)["train"].group_names[0] == "book"
  np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, groups=SITES)
  with refused("conflict", "data.groups"):
    _load(tmp_path, **options)


@pytest.mark.parametrize(
  ("text", "code"),
  [
    (None, "missing"),
    ("key,site\n0,a\n", "data"),
    ("key,group\n", "data"),
    ("key,group\n0,a\n0,b\n1,a\n2,a\n", "data"),
    ("key,group\n0,a\n1,b\n", "data"),
    ("key,group\n0,a\n1,a\n2,a\n", "data"),
    ("key,group\n0,a\n1,\n2,b\n", "data"),
    ('key,group\n0,"a\n', "damaged"),
  ],
)
def test_tables_that_are_refused(tmp_path, text, code):
  path = tmp_path / "g.csv"
  if text is not None:
    path.write_text(text)
  dataset = arrays.from_arrays(IMAGES[:3], [0, 1, 0])
  with refused(code, path):
    groups.from_table(dataset, path, np.arange(3).astype(str), "number")


def test_generated_doodles_have_no_keys(tmp_path):
  table = _table(tmp_path / "g.csv", [0], ["a"])
  with refused("unsupported", "data.groups"):
    _load(tmp_path, num_examples=60, classes="2", groups=table)
