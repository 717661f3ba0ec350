"""The five sources: disjoint, even over the classes, and what they claim."""

import numpy as np
import pytest

from alcurr.data import array_files, arrays
from benchmarks import five_sources

RNG = np.random.default_rng(0)


def _dataset(num_classes, count):
  """Images whose first pixel is their class."""
  image = RNG.integers(0, 256, (count, 28, 28)).astype(np.uint8)
  label = np.arange(count) % num_classes
  image[:, 0, 0] = label
  names = [f"class {c}" for c in range(num_classes)]
  return arrays.from_arrays(image, label, names)


@pytest.fixture(scope="module")
def parts():
  return five_sources.make(
    _dataset(5, 400), _dataset(3, 100),
    size=50, valid_size=30, test_size=70, probes=[7, 20], seed=1,
  )  # fmt: skip


def test_sources_have_the_same_size_and_classes(parts):
  for name in five_sources.SOURCES:
    size = np.bincount(parts[name].label)
    # Some doodles have wrong labels.
    spread = 5 if name == "synthetic" else 0
    assert size.sum() == 50 and abs(size - 10).max() <= spread, name
  assert np.bincount(parts["test"].label).tolist() == [14] * 5
  assert sorted(np.bincount(parts["probe7"].label)) == [1, 1, 1, 2, 2]


def test_no_image_is_in_two_parts(parts):
  one_kind = ("real", "mislabelled", "valid", "test", "probe20")
  images = np.concatenate([parts[name].image for name in one_kind])
  assert len(np.unique(images, axis=0)) == len(images)
  few, many = (
    {image.tobytes() for image in parts[f"probe{n}"].image} for n in (7, 20)
  )
  assert few < many


def test_labels_are_right_but_of_the_mislabelled(parts):
  for name in ("real", "valid", "test", "probe7", "probe20"):
    part = parts[name]
    np.testing.assert_array_equal(part.image[:, 0, 0], part.label)
  true, label = parts["mislabelled"].image[:, 0, 0], parts["mislabelled"].label
  pairs = set(zip(true.tolist(), label.tolist(), strict=True))
  # Each class has one other label.
  assert len(pairs) == 5 == len({b for _, b in pairs})
  assert all(a != b for a, b in pairs)


@pytest.mark.parametrize("num_foreign", [2, 3, 5, 7])
def test_foreign_classes_are_shared_out(num_foreign):
  """Fewer classes have several of the five names each, in turn."""
  parts = five_sources.make(
    _dataset(5, 400), _dataset(num_foreign, 280),
    size=50, valid_size=30, test_size=70, probes=[7], seed=1,
  )  # fmt: skip
  foreign = parts["foreign"]
  assert np.bincount(foreign.label).tolist() == [10] * 5
  kind = foreign.image[:, 0, 0] % 5
  assert (kind == foreign.label % min(num_foreign, 5)).all()


@pytest.mark.parametrize("count", [2, 3, 15])
def test_a_derangement_is_a_permutation_without_fixed_points(count):
  other = five_sources.derangement(count, np.random.default_rng(count))
  assert sorted(other) == list(range(count))
  assert (other != np.arange(count)).all()


def test_too_few_examples():
  with pytest.raises(ValueError, match="class 0"):
    five_sources.deal(np.zeros(3, int), [2, 2], RNG)


def test_files_are_read_as_sources(tmp_path):
  paths = []
  for name, classes, count in (("target", 3, 120), ("foreign", 3, 60)):
    paths.append(tmp_path / f"{name}.npz")
    data = _dataset(classes, count)
    np.savez(
      paths[-1],
      images=data.source.image,
      labels=np.array(data.class_names)[data.label],
    )
  out = tmp_path / "out"
  files = [f"--target={paths[0]}", f"--foreign={paths[1]}", f"--out={out}"]
  sizes = ["--size=15", "--valid_size=15", "--test_size=15", "--probes=6"]
  five_sources.main(files + sizes)
  names = {*five_sources.SOURCES, "valid", "test", "probe6"}
  assert {path.stem for path in out.iterdir()} == names
  for name in names:
    dataset = array_files.load_npz(out / f"{name}.npz")
    assert dataset.class_names == ("class 0", "class 1", "class 2")
