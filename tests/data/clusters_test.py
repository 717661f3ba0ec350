"""K-means against scikit-learn, on features of a model."""

import numpy as np
import pytest

from alcurr.data import clusters

RNG = np.random.default_rng(0)


def _blobs(num=600, dim=8, spread=0.15):
  """Returns features around four directions, and each one's direction."""
  label = RNG.integers(0, 4, num)
  centres = np.eye(4, dim)
  length = RNG.uniform(0.5, 3, (num, 1))
  rows = length * (centres[label] + spread * RNG.normal(size=(num, dim)))
  return rows.astype(np.float32), label


def test_blobs_are_found_whatever_their_length():
  rows, label = _blobs()
  centres = clusters.k_means(rows, 4)
  found = clusters.nearest(rows, centres)
  assert found.dtype == np.int32
  pairs = {(a, b) for a, b in zip(label.tolist(), found.tolist(), strict=True)}
  assert len(pairs) == 4
  np.testing.assert_array_equal(clusters.nearest(7 * rows, centres), found)


def test_the_sum_of_squares_is_as_small_as_scikit_learns():
  cluster = pytest.importorskip("sklearn.cluster")
  rows = RNG.normal(size=(500, 5)).astype(np.float32)
  unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)

  def inertia(centres):
    offset = unit[:, None] - centres[None]
    return (offset**2).sum(2).min(1).sum()

  ours = inertia(clusters.k_means(rows, 6))
  theirs = cluster.KMeans(6, n_init=1, random_state=0).fit(unit)
  assert ours < 1.05 * theirs.inertia_
  # From scikit-learn's centres, one more step of ours moves nothing.
  np.testing.assert_array_equal(
    clusters.nearest(rows, theirs.cluster_centers_.astype(np.float32)),
    theirs.labels_,
  )


def test_every_cluster_has_an_example_and_few_rows_are_refused():
  rows = np.concatenate([np.ones((50, 3)), np.eye(3)])
  found = clusters.nearest(rows, clusters.k_means(rows, 4))
  assert len(set(found.tolist())) == 4
  with pytest.raises(ValueError, match="different features"):
    clusters.k_means(np.ones((5, 2)), 2)
  zeros = np.zeros((4, 2))
  zeros[1:, 0] = 1
  assert len({*clusters.nearest(zeros, clusters.k_means(zeros, 2))}) == 2


def test_of_many_examples_some_are_used(monkeypatch):
  monkeypatch.setattr(clusters, "MOST", 100)
  rows, label = _blobs()
  found = clusters.nearest(rows, clusters.k_means(rows, 4))
  pairs = {(a, b) for a, b in zip(label.tolist(), found.tolist(), strict=True)}
  assert len(pairs) == 4
