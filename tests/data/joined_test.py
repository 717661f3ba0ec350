"""Several sources in one pool: kinds, classes, groups, shares and noise."""

import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from alcurr.core.errors import UserError
from alcurr.data import pool, render, sources
from alcurr.data.quickdraw import synthetic
from alcurr.experiments.config import plain, schema
from alcurr.types import Images, Strokes
from configs import default

RNG = np.random.default_rng(0)
NAMES = synthetic.make_synthetic(4, num_classes=2).class_names
DOODLES = {"source": "synthetic", "classes": "2", "num_examples": 200}


def _npz(path, shape=(28, 28), names=NAMES, dtype=np.uint8, count=100):
  images = RNG.integers(1, 256, (count, *shape)).astype(dtype)
  if dtype == np.float32:
    images /= 255
  np.savez(path, images=images, labels=np.array(names)[np.arange(count) % 2])
  return {"source": "npz", "dir": str(path)}


def _config(of_each, **changes):
  config = default.get_config()
  config = plain.merge(config, {"data": {**changes, "sources": of_each}})
  config = plain.normalize(config, schema.FIELDS)
  schema.check(config)
  sources.check(config.data)
  return config.data


def _load(tmp_path, of_each, **changes):
  return sources.load(_config(of_each, **changes), tmp_path / "cache")


@pytest.mark.parametrize(
  ("dtype", "where"),
  [
    (np.uint8, "host"),
    (np.float32, "device"),
    pytest.param(np.uint8, "device", marks=pytest.mark.slow),
    pytest.param(np.float32, "host", marks=pytest.mark.slow),
  ],
)
def test_drawings_and_images_are_images(tmp_path, dtype, where):
  photos = _npz(tmp_path / "a.npz", dtype=dtype, names=NAMES[::-1])
  of_each = {"doodles": DOODLES, "photos": photos}
  loaded = _load(tmp_path, of_each, pool=where)
  alone = synthetic.make_synthetic(200, num_classes=2)
  drawn = render.render_all(alone.source, render.make_render())
  by_key = dict(zip(alone.key.tolist(), drawn, strict=True))
  label = dict(zip(alone.key.tolist(), alone.label, strict=True))
  for part in loaded.parts.values():
    assert part.group_names == ("doodles", "photos")
    assert part.class_names == NAMES
    index = np.arange(len(part.label))
    batch = loaded.gather(pool.make_pool(part), jnp.asarray(index))
    for i in index[part.groups == 0]:
      key = int(part.key[i])
      assert label[key] == part.label[i]
      np.testing.assert_allclose(batch.inputs[i] * 255, by_key[key], atol=1e-3)
  total = [
    np.bincount(part.groups, minlength=2) for part in loaded.parts.values()
  ]
  assert sum(total).tolist() == [200, 100]


def test_drawings_stay_drawings_and_classes_have_their_names(tmp_path):
  other = DOODLES | {"seed": 1, "share": 0.25}
  loaded = _load(tmp_path, {"a": DOODLES, "b": other})
  total = sum(np.bincount(p.groups, minlength=2) for p in loaded.parts.values())
  assert total.tolist() == [200, 50]
  assert isinstance(loaded.parts["train"].source, Strokes)
  again = _load(tmp_path, {"a": DOODLES, "b": other})
  assert again.content == loaded.content
  more = _load(tmp_path, {"a": DOODLES, "b": other | {"share": 0.5}})
  renamed = _load(tmp_path, {"a": DOODLES, "c": other})
  assert len({loaded.content, more.content, renamed.content}) == 3


def test_labels_are_those_of_the_names(tmp_path):
  """The numbers of the classes differ between the sources."""
  paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
  for path, names in zip(paths, (NAMES, NAMES[::-1]), strict=True):
    images = np.zeros((100, 4, 4), np.uint8)
    label = np.arange(100) % 2
    images[:, 0, 0] = np.where(np.array(names)[label] == NAMES[1], 255, 1)
    images[:, 1:] = RNG.integers(0, 256, (100, 3, 4))
    np.savez(path, images=images, labels=label, class_names=names)
  of_each = {p.stem: {"source": "npz", "dir": str(p)} for p in paths}
  train = _load(tmp_path, of_each).parts["train"]
  assert isinstance(train.source, Images)
  np.testing.assert_array_equal(
    train.label == train.class_names.index(NAMES[1]),
    train.source.image[:, 0, 0, 0] == 255,
  )


def test_each_source_has_its_own_noise(tmp_path):
  of_each = {
    "clean": DOODLES | {"label_noise": 0.0},
    "noisy": DOODLES | {"seed": 1, "num_examples": 1000, "label_noise": 0.4},
  }
  train = _load(tmp_path, of_each).parts["train"]
  planted = [train.flags["planted"][train.groups == k].mean() for k in (0, 1)]
  assert planted[0] == 0
  assert abs(planted[1] - 0.4) < 0.08


def test_a_share_is_of_every_split(tmp_path):
  """As large a part of each, up to five standard deviations."""
  whole = _load(tmp_path, {}, classes="2", num_examples=4000)
  few = _load(tmp_path, {}, classes="2", num_examples=4000, share=0.1)
  for name, part in whole.parts.items():
    size = len(part.label)
    spread = 5 * np.sqrt(size * 0.1 * 0.9)
    assert abs(len(few.parts[name].label) - 0.1 * size) < spread


def test_a_share_without_sources(tmp_path):
  few = _load(tmp_path, {}, classes="2", num_examples=300, share=0.5)
  assert sum(len(part.label) for part in few.parts.values()) == 150
  assert few.parts["train"].groups is None


@pytest.mark.parametrize(
  ("changes", "code", "place"),
  [
    ({"b": {"classes": "3"}}, "conflict", "data.sources.b"),
    ({"b": {"classes": "x"}}, "type", "data.sources.b.classes"),
    ({"b": {"dir": "x"}}, "conflict", "data.sources.b.dir"),
    ({"b": {"share": 0}}, "range", "data.sources.b.share"),
    ({"b": {"share": "x"}}, "type", "data.sources.b.share"),
    ({"b": {"label_noise": 1.0}}, "range", "data.sources.b.label_noise"),
    ({"b": {"valid_fraction": 0.1}}, "unknown", "data.sources.b"),
    ({"b": {"dirs": "x"}}, "unknown", "data.sources.b.dirs"),
    ({"b": {"source": "x"}}, "unknown", "data.sources.b.source"),
    ({"b c": {}}, "syntax", "data.sources"),
    ({"b": 3}, "type", "data.sources.b"),
  ],
)
def test_mistakes(tmp_path, changes, code, place):
  of_each = {"a": DOODLES}
  for name, fields in changes.items():
    of_each[name] = fields if fields == 3 else DOODLES | fields
  with refused(code, place):
    _load(tmp_path, of_each)


def test_a_source_alone_and_images_of_other_shapes(tmp_path):
  with refused("range", "data.sources"):
    _load(tmp_path, {"a": DOODLES})
  with refused("conflict", "data.groups"):
    _load(tmp_path, {"a": DOODLES, "b": DOODLES}, groups="x.csv")
  for shape in ((28, 28, 3), (20, 20)):
    of_each = {"a": DOODLES, "b": _npz(tmp_path / "b.npz", shape)}
    with refused("conflict", "data.sources.b"):
      _load(tmp_path, of_each)
  with refused("missing", tmp_path / "none.npz"):
    of_each["b"] = {"source": "npz", "dir": str(tmp_path / "none.npz")}
    _load(tmp_path, of_each)


def test_the_command_line_may_not_add_a_field_of_none(tmp_path):
  config = default.get_config()
  config.data.sources = {"a": DOODLES, "b": DOODLES | {"classes": 2}}
  config = plain.normalize(config, schema.FIELDS)
  assert config.data.sources.b.classes == "2"
  config.data.sources.b = {"classes": None}
  with pytest.raises(UserError):
    schema.check(config)
