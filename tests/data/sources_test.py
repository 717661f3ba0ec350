"""The three sources of a config, each to batches."""

import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.data import pool, sources
from alcurr.errors import UserError
from configs import default


def _config(**changes):
  data = default.get_config().data
  data.update(changes)
  return data


def _batch(data, tmp_path):
  sources.check(data)
  parts, gather = sources.load(data, tmp_path / "cache")
  return parts, gather(pool.make_pool(parts["train"]), jnp.arange(3))


@pytest.mark.parametrize("render", ["in_step", "ahead"])
def test_synthetic(tmp_path, render):
  data = _config(num_examples=400, classes="2", image_size=20, render=render)
  parts, batch = _batch(data, tmp_path)
  assert sum(len(part.label) for part in parts.values()) == 400
  assert batch.image.shape == (3, 20, 20, 1)
  assert 0 < batch.image.mean() < 0.5


def test_npz(tmp_path):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (300, 6, 6, 3), np.uint8)
  np.savez(tmp_path / "a.npz", images=images, labels=np.arange(300) % 3)
  _, batch = _batch(
    _config(source="npz", dir=str(tmp_path / "a.npz")), tmp_path
  )
  assert batch.image.shape == (3, 6, 6, 3)


def test_files(tmp_path, quickdraw_dir):
  data = _config(
    source="files", dir=str(quickdraw_dir / "simplified"), classes="cat,dog"
  )
  parts, batch = _batch(data, tmp_path)
  assert parts["test"].class_names == ("cat", "dog")
  assert batch.image.shape == (3, 28, 28, 1)
  assert list((tmp_path / "cache").iterdir())


def test_mistakes(tmp_path):
  with pytest.raises(UserError, match="data: image size must be"):
    sources.check(_config(image_size=0))
  data = _config(source="files", dir=str(tmp_path / "none"))
  with pytest.raises(UserError, match="no such directory"):
    sources.load(data, tmp_path / "cache")
