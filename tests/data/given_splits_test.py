"""Splits that the user gives are used as they are."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from refusal import refused

from alcurr.data import pool, sources
from alcurr.experiments.config import plain, schema
from configs import default

RNG = np.random.default_rng(0)


def _images(count, shape=(6, 6)):
  return RNG.integers(1, 256, (count, *shape)).astype(np.uint8)


def _npz(path, count=200, num_classes=3, shape=(6, 6), **more):
  images = _images(count, shape)
  arrays = {"images": images, "labels": np.arange(count) % num_classes}
  np.savez(path, **arrays | more)
  return arrays["images"], (arrays | more)["labels"]


def _load(tmp_path, **changes):
  changes = {"source": "npz", "dir": str(tmp_path / "train.npz")} | changes
  config = plain.merge(default.get_config(), {"data": changes})
  config = plain.normalize(config, schema.FIELDS)
  schema.check(config)
  sources.check(config.data)
  return sources.load(config.data, tmp_path / "cache")


def _content(loaded, name):
  part = loaded.parts[name]
  index = jnp.arange(len(part.label), dtype=jnp.int32)
  batch = loaded.gather(pool.make_pool(part), index)
  return np.round(np.asarray(batch.inputs)[..., 0] * 255), part.label


@pytest.mark.parametrize("where", ["device", "host"])
def test_a_given_split_is_used_as_it_is(tmp_path, where):
  """Noise, a share and a limit are of the training data alone."""
  train, _ = _npz(tmp_path / "train.npz")
  test, label = _npz(tmp_path / "test.npz", 50)
  loaded = _load(
    tmp_path,
    test_dir=str(tmp_path / "test.npz"),
    label_noise=0.5,
    share=0.9,
    pool=where,
  )
  assert loaded.parts.keys() == {"train", "valid", "test"}
  images, labels = _content(loaded, "test")
  np.testing.assert_array_equal(images, test)
  np.testing.assert_array_equal(labels, label)
  sizes = {name: len(part.label) for name, part in loaded.parts.items()}
  assert sizes["train"] + sizes["valid"] == round(0.9 * len(train))
  assert sizes["valid"] < 0.15 * len(train)  # its own share, 5 %
  flags = loaded.parts["train"].flags["planted"]
  assert 0.35 < flags.mean() < 0.65


def test_all_three_leave_the_data_for_training(tmp_path):
  train, label = _npz(tmp_path / "train.npz")
  dirs = {}
  for name, count in (("valid", 20), ("test", 30), ("probe", 1)):
    _npz(tmp_path / f"{name}.npz", count)
    dirs[f"{name}_dir"] = str(tmp_path / f"{name}.npz")
  loaded = _load(tmp_path, **dirs, valid_fraction=0.0, test_fraction=0.0)
  images, labels = _content(loaded, "train")
  np.testing.assert_array_equal(images, train)
  np.testing.assert_array_equal(labels, label)
  sizes = {name: len(part.label) for name, part in loaded.parts.items()}
  assert sizes == {"train": 200, "valid": 20, "test": 30, "probe": 1}


def test_what_is_not_given_is_split_as_without_it(tmp_path):
  """A given probe split moves no other example."""
  _npz(tmp_path / "train.npz")
  _npz(tmp_path / "probe.npz", 20)
  alone = _load(tmp_path)
  given = _load(tmp_path, probe_dir=str(tmp_path / "probe.npz"))
  for name, part in alone.parts.items():
    np.testing.assert_array_equal(part.key, given.parts[name].key)


def test_the_content_is_in_the_fingerprint(tmp_path):
  _npz(tmp_path / "train.npz")
  path = str(tmp_path / "test.npz")
  found = [_load(tmp_path).content]
  for _ in range(2):
    _npz(path, 50)
    found += [_load(tmp_path, test_dir=path).content]
    found += [_load(tmp_path, test_dir=path).content]
  assert found[1] == found[2] and found[3] == found[4]
  assert len({*found}) == 3


@pytest.mark.parametrize(
  ("names", "held_out"),
  [
    (("x_train", "y_train"), ("x_test", "y_test")),  # Keras
    (("train_images", "train_labels"), ("test_images", "test_labels")),
  ],
)
def test_one_file_may_have_every_part(tmp_path, names, held_out):
  path = tmp_path / "train.npz"
  test = _images(40), np.arange(40)[:, None] % 2
  arrays = dict(zip(names, (_images(100), np.arange(100) % 2), strict=True))
  # The groups are those of the training part.
  arrays["groups"] = np.arange(100) % 2
  np.savez(path, **arrays, **dict(zip(held_out, test, strict=True)))
  loaded = _load(tmp_path, test_dir=str(path))
  images, labels = _content(loaded, "test")
  np.testing.assert_array_equal(images, test[0])
  np.testing.assert_array_equal(labels, test[1][:, 0])
  # There is no validation part: it would be the training part.
  with refused("data", "data.valid_dir"):
    _load(tmp_path, valid_dir=str(path))


def test_classes_are_matched_by_name(tmp_path):
  names = np.array(["ant", "bee", "cat"])
  _npz(tmp_path / "train.npz", class_names=names)
  # The split has other numbers, or names, and need not have all classes.
  label = np.array([0, 1, 1, 0])
  path, test = tmp_path / "test.npz", {"images": _images(4)}
  np.savez(path, **test, labels=label, class_names=["cat", "ant"])
  part = _load(tmp_path, test_dir=str(path)).parts["test"]
  assert part.class_names == tuple(names)
  assert part.label.tolist() == [2, 0, 0, 2]
  np.savez(path, **test, labels=names[[2, 2, 1, 2]])
  part = _load(tmp_path, test_dir=str(path)).parts["test"]
  assert part.label.tolist() == [2, 2, 1, 2]
  np.savez(path, **test, labels=[2, 2, 1, 2])
  part = _load(tmp_path, test_dir=str(path)).parts["test"]
  assert part.label.tolist() == [2, 2, 1, 2]
  np.savez(path, **test, labels=[2, 3, 1, 2])
  with refused("data", "data.test_dir"):
    _load(tmp_path, test_dir=str(path))
  np.savez(path, **test, labels=["ant", "dog", "ant", "ant"])
  with refused("data", "data.test_dir"):
    _load(tmp_path, test_dir=str(path))


def test_images_of_another_size(tmp_path):
  _npz(tmp_path / "train.npz")
  _npz(tmp_path / "test.npz", 50, shape=(7, 6))
  with refused("conflict", "data.test_dir"):
    _load(tmp_path, test_dir=str(tmp_path / "test.npz"))


def test_copies_are_counted_and_a_copy_of_all_is_refused(tmp_path, caplog):
  train, _ = _npz(tmp_path / "train.npz")
  test = _images(20)
  test[:5] = train[:5]
  path = tmp_path / "test.npz"
  np.savez(path, images=test, labels=np.arange(20) % 3)
  dirs = {"valid_dir": str(tmp_path / "valid.npz"), "test_dir": str(path)}
  _npz(dirs["valid_dir"], 20)
  with caplog.at_level("WARNING"):
    _load(tmp_path, **dirs)
  assert "5 of 20 examples of the split test" in caplog.text
  np.savez(path, images=train[:20], labels=np.arange(20) % 3)
  with refused("data", "data.test_dir"):
    _load(tmp_path, **dirs)
  # Trusted labels of training examples are a probe.
  caplog.clear()
  with caplog.at_level("WARNING"):
    loaded = _load(tmp_path, valid_dir=dirs["valid_dir"], probe_dir=str(path))
  assert len(loaded.parts["probe"].label) == 20
  # The others are in the test split.
  size = np.isin(loaded.parts["probe"].key, loaded.parts["train"].key).sum()
  assert 0 < size < 20
  text = f"{size} of 20 examples of the split probe are in the split train"
  assert text in caplog.text


def test_folders_of_grey_and_coloured_images(tmp_path):
  for part, shape in (("train", (8, 8, 3)), ("test", (8, 8))):
    for name in ("ant", "bee"):
      folder = tmp_path / part / name
      folder.mkdir(parents=True)
      for i in range(20):
        Image.fromarray(_images(1, shape)[0]).save(folder / f"{i}.png")
  loaded = _load(
    tmp_path,
    source="folder",
    dir=str(tmp_path / "train"),
    test_dir=str(tmp_path / "test"),
    image_size=8,
    classes="all",
  )
  image = loaded.parts["test"].source.image
  assert image.shape == (40, 8, 8, 3)
  np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_a_split_may_lack_a_class_that_is_chosen_by_name(tmp_path):
  """Its other classes are skipped, as those of the training data are."""
  held = {"train": ("ant", "bee", "cat", "dog"), "test": ("ant", "cat", "dog")}
  for part, names in held.items():
    for name in names:
      folder = tmp_path / part / name
      folder.mkdir(parents=True)
      for i in range(10):
        Image.fromarray(_images(1, (8, 8))[0]).save(folder / f"{i}.png")
  places = {name: str(tmp_path / name) for name in held}
  own = {"source": "folder", "dir": places["train"], "image_size": 8}
  own["test_dir"] = places["test"]
  test = _load(tmp_path, **own, classes="ant,bee,cat").parts["test"]
  assert test.class_names == ("ant", "bee", "cat")
  assert np.bincount(test.label).tolist() == [10, 0, 10]
  with refused("data", "data.test_dir"):
    _load(tmp_path, **own, classes="ant,bee")
  for name in held["test"]:
    (tmp_path / "test" / name).rename(tmp_path / "test" / f"{name}_")
  with refused("data", "data.test_dir"):
    _load(tmp_path, **own, classes="ant,bee,cat")


def test_groups_and_scores_are_of_the_training_data(tmp_path):
  groups = np.arange(200) % 2
  _npz(tmp_path / "train.npz", groups=groups, group_names=["web", "book"])
  # Groups of the probe are not read, and it may lack some.
  _npz(tmp_path / "probe.npz", 20, groups=groups[:1].repeat(20))
  parts = _load(tmp_path, probe_dir=str(tmp_path / "probe.npz")).parts
  assert parts["test"].groups is not None
  assert parts["probe"].groups is None
  joint = pool.concatenate(parts["train"], parts["probe"])
  assert joint.groups is None
  assert len(joint.label) == len(parts["train"].label) + 20


def test_settings_that_do_not_fit(tmp_path):
  with refused("conflict", "data.test_dir"):
    _load(tmp_path, source="synthetic", dir="", test_dir="a.npz")
  with refused("conflict", "data.probe_dir"):
    _load(tmp_path, probe_dir="a.npz", probe_fraction=0.1)
  _npz(tmp_path / "train.npz")
  both = {name: {"source": "npz", "dir": "a.npz"} for name in "ab"}
  with refused("unknown", "data.source"):
    _load(tmp_path, source="none", dir="", sources=both, test_dir="a.npz")
  missing = str(tmp_path / "none.npz")
  with refused("missing", missing):
    _load(tmp_path, test_dir=missing)
