"""The sources of a config, each to batches."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from alcurr.data import pool, sources
from configs import default


def _config(**changes):
  data = default.get_config().data
  data.update(changes)
  return data


def _batch(data, tmp_path):
  sources.check(data)
  parts, gather, *_ = sources.load(data, tmp_path / "cache")
  return parts, gather(pool.make_pool(parts["train"]), jnp.arange(3))


@pytest.mark.parametrize("render", ["in_step", "precompute"])
def test_synthetic(tmp_path, render):
  data = _config(num_examples=400, classes="2", image_size=20, render=render)
  parts, batch = _batch(data, tmp_path)
  assert sum(len(part.label) for part in parts.values()) == 400
  assert batch.inputs.shape == (3, 20, 20, 1)
  assert 0 < batch.inputs.mean() < 0.5


def test_npz(tmp_path):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (300, 6, 6, 3), np.uint8)
  np.savez(tmp_path / "a.npz", images=images, labels=np.arange(300) % 3)
  _, batch = _batch(
    _config(source="npz", dir=str(tmp_path / "a.npz")), tmp_path
  )
  assert batch.inputs.shape == (3, 6, 6, 3)


def test_files(tmp_path, quickdraw_dir):
  data = _config(
    source="files", dir=str(quickdraw_dir / "simplified"), classes="cat,dog"
  )
  parts, batch = _batch(data, tmp_path)
  assert parts["test"].class_names == ("cat", "dog")
  assert batch.inputs.shape == (3, 28, 28, 1)
  assert list((tmp_path / "cache").iterdir())


@pytest.fixture
def raw(quickdraw_dir, tmp_path):
  """A folder of two raw classes, with drawings enough for every split."""
  folder = tmp_path / "raw"
  folder.mkdir()
  for path in sorted((quickdraw_dir / "raw").iterdir())[:2]:
    rows = [json.loads(line) for line in path.open()]
    lines = [
      json.dumps(row | {"key_id": str(i)})
      for i, row in enumerate((rows * 30)[:60])
    ]
    (folder / path.name).write_text("\n".join(lines))
  return folder


@pytest.mark.slow
def test_channels_of_raw_drawings(raw, tmp_path):
  """In every place, the same; and a pool takes what is asked for alone."""
  found = {}
  changes = dict(source="files", dir=str(raw), classes="all", image_size=32)
  for name, more in (
    ("ink", {}),
    ("all", {"channels": "ink, order,speed"}),
    ("precompute", {"channels": "ink,order,speed", "render": "precompute"}),
    ("host", {"channels": "ink,order,speed", "pool": "host"}),
  ):
    parts, batch = _batch(_config(**changes, **more), tmp_path)
    found[name] = np.asarray(batch.inputs)
    if name in ("ink", "all"):
      columns = parts["train"].source.points.shape[1]
      assert columns == (3 if name == "all" else 2)
  assert found["all"].shape == (3, 32, 32, 3)
  np.testing.assert_allclose(
    found["ink"][..., 0], found["all"][..., 0], atol=1.01 / 255
  )
  for name in ("precompute", "host"):
    np.testing.assert_array_equal(found[name], found["all"])
  speed = found["all"][..., 2]
  assert 0.05 < speed[speed > 0].mean() < 0.9


def test_channels_that_are_not_there(tmp_path):
  np.savez(
    tmp_path / "a.npz",
    images=np.arange(300 * 36).reshape(300, 6, 6) % 256,
    labels=np.arange(300) % 3,
  )
  data = _config(
    source="npz", dir=str(tmp_path / "a.npz"), channels="ink,order"
  )
  with refused("conflict", "data.channels"):
    sources.load(data, tmp_path / "cache")
  data = _config(num_examples=400, classes="2", channels="speed")
  with refused("conflict", "data.channels"):
    sources.load(data, tmp_path / "cache")


@pytest.mark.parametrize(
  ("name", "value", "code"),
  [
    ("source", "file", "unknown"),
    ("dir", "here", "conflict"),
    ("on_error", "stop", "unknown"),
    ("pool", "gpu", "unknown"),
    ("render", "ahead", "unknown"),
    ("max_per_class", -1, "range"),
    ("train_examples", -1, "range"),
    ("label_noise", 1.0, "range"),
    ("label_noise_in", "train,test", "unknown"),
    ("label_noise_in", "probe", "conflict"),
  ],
)
def test_impossible_settings(name, value, code):
  with refused(code, f"data.{name}"):
    sources.check(_config(**{name: value}))


def test_strokes_are_not_split_over_devices(tmp_path):
  given = dict(num_examples=400, classes="2", pool="split")
  with refused("conflict", "data.pool"):
    sources.load(_config(**given), tmp_path)
  _, batch = _batch(_config(**given, render="precompute"), tmp_path)
  _, expected = _batch(
    _config(**given | {"pool": "device"}, render="precompute"), tmp_path
  )
  np.testing.assert_array_equal(batch.inputs, expected.inputs)


def test_a_source_without_a_path():
  with refused("conflict", "data.dir"):
    sources.check(_config(source="files"))


def test_values_that_a_factory_refuses():
  for changes in ({"image_size": 0}, {"valid_fraction": 0.0}):
    with pytest.raises(ValueError, match=next(iter(changes)).split("_")[1]):
      sources.check(_config(**changes))


def test_a_loader_names_the_field(tmp_path):
  missing = str(tmp_path / "none")
  with refused("missing", missing):
    sources.load(_config(source="files", dir=missing), tmp_path / "cache")
  for name in "ab":
    (tmp_path / f"{name}.ndjson").write_text('{"drawing": [[[1], [2]]]}')
  data = _config(source="files", dir=str(tmp_path), classes="c")
  with refused("unknown", "data.classes"):
    sources.load(data, tmp_path / "cache")
  with refused("range", "data.train_examples"):
    sources.load(
      _config(num_examples=400, classes="2", train_examples=400), tmp_path
    )
