"""The gallery holds the examples and difficulties that its index names."""

import numpy as np
import pytest

from alcurr.data.partitions import make_partition
from alcurr.data.pool import make_gather
from alcurr.report import drawings, gallery


@pytest.fixture
def written(tmp_path, pool):
  gallery.write_gallery(tmp_path, pool, make_gather(), ["a", "b", "c", "d"])
  return gallery.read_gallery(tmp_path)


def test_an_example_is_the_image_at_its_index(written):
  """The pixels and the difficulty of image i are i."""
  np.testing.assert_array_equal(written.image[:, 0, 0, 0], written.index)
  np.testing.assert_array_equal(written.difficulty, written.index)
  np.testing.assert_array_equal(written.label, written.index % 4)
  assert len(set(written.index.tolist())) == len(written.index)


def test_least_and_most_are_the_ends_of_a_class(written):
  """Class 1 is 1, 5, ..., 77."""
  kinds = written.info["drawings"]["1"]
  assert written.index[kinds["least"]].tolist() == list(range(1, 33, 4))
  assert written.index[kinds["most"]].tolist() == list(range(77, 45, -4))
  assert set(written.index[kinds["random"]] % 4) == {1}


def test_classes_are_ordered_by_their_median(written):
  """Class v is v, v + 4, ..., v + 76: median v + 38, mean the same."""
  assert written.info["hardest"] == 3
  assert written.info["easiest"] == 0
  for v, record in enumerate(written.info["classes"]):
    assert record["count"] == 20
    assert record["difficulty"]["q50"] == v + 38
    assert record["difficulty"]["mean"] == v + 38
    # The quantile p of 20 values 4 apart is at 4 * 19 * p.
    assert record["difficulty"]["q05"] == pytest.approx(v + 3.8)
    assert record["difficulty"]["q75"] == pytest.approx(v + 57)


def test_examples_of_an_arm_belong_to_it(written):
  """Arm k of 4 holds the difficulties 20 k to 20 k + 19."""
  arms = written.info["partitions"]["difficulty"]
  assert arms["size"] == [20] * 4
  assert arms["difficulty"] == [9.5, 29.5, 49.5, 69.5]
  for k, positions in enumerate(arms["drawings"]):
    index = written.index[positions]
    assert len(set(index.tolist())) == gallery.EXAMPLES
    assert (index // 20 == k).all()


def test_a_partition_of_many_arms_has_no_examples(tmp_path, pool):
  arms = (
    make_partition(np.arange(80) // 2, 40),
    make_partition(np.arange(80), 80),
  )
  pool = pool._replace(partitions=dict(zip(("few", "many"), arms, strict=True)))
  gallery.write_gallery(tmp_path, pool, make_gather(), ["a", "b", "c", "d"])
  partitions = gallery.read_gallery(tmp_path).info["partitions"]
  assert [len(positions) for positions in partitions["few"]["drawings"]] == [
    2
  ] * 40
  assert partitions["many"]["drawings"] == []
  assert partitions["many"]["size"] == [1] * 80


def test_a_pool_without_scores_has_no_difficulty(tmp_path, pool):
  pool = pool._replace(
    scores={"difficulty": 0 * pool.scores["difficulty"]}, partitions={}
  )
  gallery.write_gallery(tmp_path, pool, make_gather(), ["a", "b", "c", "d"])
  written = gallery.read_gallery(tmp_path)
  assert written.info["classes"] == [{"count": 20}] * 4
  assert written.info["partitions"] == {}
  assert written.info.keys() == {
    *("class_names", "classes", "found", "input_shape", "partitions"),
  }
  assert written.info["input_shape"] == [6, 6, 1]
  assert len(written.image) == 0


def test_a_large_image_becomes_means_of_squares(pool):
  image = np.arange(2 * 130 * 130, dtype=np.float32).reshape(2, 130, 130, 1)
  small = gallery._shrink(image, 3)
  assert small.shape == (2, 43, 43, 1)
  assert small[1, 2, 4, 0] == pytest.approx(image[1, 6:9, 12:15, 0].mean())


def test_examples_are_found_by_the_users_columns(tmp_path, pool):
  gallery.write_gallery(
    tmp_path,
    pool,
    make_gather(),
    ["a", "b", "c", "d"],
    lambda index: {"path": np.array([f"{i}.png" for i in index])},
  )
  written = gallery.read_gallery(tmp_path)
  table = drawings.drawings_table(written, ["most"], [1])
  assert table["path"].tolist() == [f"{i}.png" for i in range(77, 45, -4)]


def test_no_gallery_is_none(tmp_path):
  assert gallery.read_gallery(tmp_path) is None
