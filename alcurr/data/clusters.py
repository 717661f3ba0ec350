"""Clusters of examples by the features that a model has of them: k-means."""

import numpy as np

from alcurr.core.arguments import check_at_least

MOST = 50_000  # examples that the centres are found on
_ITERATIONS = 50


def k_means(
  features: np.ndarray, num_clusters: int, seed: int = 0
) -> np.ndarray:
  """Returns the centres of K clusters, [K, F] float32.

  Lloyd's algorithm on features of unit length, so that clusters are of
  directions, from the start of Arthur & Vassilvitskii (2007, "k-means++: The
  Advantages of Careful Seeding"). A cluster that loses all its examples gets
  the one farthest from its centre. Memory: n times K distances.

  Args:
    features: [n, F], finite. Of more than MOST rows, a random choice is used.
    num_clusters: K, at most n.
    seed: of the random choices.

  Raises:
    ValueError: fewer different rows than clusters.
  """
  check_at_least(1, num_clusters=num_clusters)
  rng = np.random.default_rng(seed)
  rows = _normalized(features)
  if len(rows) > MOST:
    rows = rows[np.sort(rng.permutation(len(rows))[:MOST])]
  centres = _first_centres(rows, num_clusters, rng)
  label = None
  for _ in range(_ITERATIONS):
    distance = _distances(rows, centres)
    new = distance.argmin(1)
    for k in np.flatnonzero(np.bincount(new, minlength=num_clusters) == 0):
      farthest = distance[np.arange(len(rows)), new].argmax()
      new[farthest], distance[farthest] = k, 0
    if label is not None and (new == label).all():
      break
    label = new
    sums = np.zeros_like(centres)
    np.add.at(sums, label, rows)
    count = np.bincount(label, minlength=num_clusters)
    centres = sums / count[:, None].astype(np.float32)
  return centres


def nearest(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
  """Returns the cluster of each example, [n] int32."""
  blocks = range(0, len(features), MOST)
  found = [
    _distances(_normalized(features[i : i + MOST]), centres).argmin(1)
    for i in blocks
  ]
  return np.concatenate(found).astype(np.int32)


def _normalized(features: np.ndarray) -> np.ndarray:
  rows = np.asarray(features, np.float32)
  length = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.where(length > 0, length, 1)


def _distances(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
  """Returns the squared distances [n, K], up to each row's own length."""
  return (centres**2).sum(1)[None] - 2 * rows @ centres.T + 1


def _first_centres(
  rows: np.ndarray, num_clusters: int, rng: np.random.Generator
) -> np.ndarray:
  """Draws rows, each in proportion to its squared distance to those drawn."""
  chosen = [int(rng.integers(len(rows)))]
  closest = np.full(len(rows), np.inf)
  for _ in range(num_clusters - 1):
    offset = rows - rows[chosen[-1]]
    closest = np.minimum(closest, (offset.astype(np.float64) ** 2).sum(1))
    total = closest.sum()
    if not total > 0:
      text = f"{len(chosen)} different features do not make {num_clusters}"
      raise ValueError(f"{text} clusters; take fewer")
    chosen.append(int(rng.choice(len(rows), p=closest / total)))
  return rows[chosen].copy()
