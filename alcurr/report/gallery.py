"""A few examples of a training pool and its difficulties, for the report.

The experiment writes them while the pool is in memory.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from alcurr.core import files
from alcurr.types import Array, Batch, Pool

EXAMPLES = 8  # of each kind
CLASSES = 6  # with examples in the gallery
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
SIDE = 64  # most pixels of a thumbnail's side
MAX_ARMS = 40  # of a partition with examples in the gallery


class Gallery(NamedTuple):
  """n examples; positions in [n] count from 0."""

  image: np.ndarray  # [n, H, W, C] uint8, C is 1 or 3
  index: np.ndarray  # [n] int32, into the training pool
  label: np.ndarray  # [n] int32
  difficulty: np.ndarray  # [n] float32
  info: dict[str, Any]  # gallery.json, see write_gallery


def write_gallery(
  workdir: pathlib.Path,
  pool: Pool,
  gather: Callable[[Pool, Array], Batch],
  class_names: Sequence[str],
) -> None:
  """Writes gallery.npz and gallery.json of a training pool.

  gallery.json has
    class_names;
    image_shape: [H, W, C] as the models see the images;
    classes: for each its `count` and, in a scored pool, its `difficulty`
      (quantiles and mean);
    partitions: all but "label", whose arms are the classes; for each arm its
      `size`, mean `difficulty`, and `drawings` (random positions in
      gallery.npz; none if there are more than 40 arms);
    and for a scored pool `hardest` and `easiest`, classes by median, and
    `drawings`: for some classes the positions of the examples of the lowest
    (`least`) and highest (`most`) difficulty, and of `random` examples.

  Args:
    workdir: of the experiment.
    pool: N training examples; difficulties that are all zero are no scores.
    gather: (pool, index [B]) -> Batch.
    class_names: V names.
  """
  label = np.asarray(pool.label)
  difficulty = np.asarray(pool.scores["difficulty"])
  scored = bool(difficulty.any())
  rng = np.random.default_rng(0)
  members = _members(label, len(class_names))
  position: dict[int, int] = {}  # by pool index

  def add(index: np.ndarray) -> list[int]:
    return [position.setdefault(int(i), len(position)) for i in index]

  def add_random(index: np.ndarray) -> list[int]:
    return add(rng.permutation(index)[:EXAMPLES])

  info: dict[str, Any] = {
    "class_names": list(class_names),
    "classes": [
      {"count": len(index)}
      | ({"difficulty": _quantiles(difficulty[index])} if scored else {})
      for index in members
    ],
    "partitions": {},
  }
  for name in sorted(pool.partitions):
    if name != "label":
      info["partitions"][name] = _partition(pool, name, scored, add_random)
  if scored:
    info |= _by_difficulty(members, difficulty, add, add_random)
  index = np.fromiter(position, np.int32, len(position))
  one = jax.eval_shape(gather, pool, jax.ShapeDtypeStruct((1,), np.int32))
  info["image_shape"] = one.image.shape[1:]
  arrays = {
    "index": index,
    "label": label[index],
    "image": _thumbnails(pool, gather, index),
    "difficulty": difficulty[index],
  }
  files.write_file(
    workdir / "gallery.npz",
    lambda file: np.savez_compressed(file, **arrays),
  )
  files.write_json(workdir / "gallery.json", info)


def read_gallery(workdir: pathlib.Path) -> Gallery | None:
  """Returns the gallery of an experiment, or None if it has none."""
  path = workdir / "gallery.npz"
  if not (path.exists() and (workdir / "gallery.json").exists()):
    return None
  info = files.read_json(workdir / "gallery.json")
  with np.load(path, allow_pickle=False) as file:
    names = ("image", "index", "label", "difficulty")
    return Gallery(*(file[name] for name in names), info)


def _members(label: np.ndarray, num_classes: int) -> list[np.ndarray]:
  """Returns the examples of each class, ascending."""
  order = np.argsort(label, kind="stable")
  ends = np.cumsum(np.bincount(label, minlength=num_classes))
  return np.split(order, ends[:-1])


def _quantiles(difficulty: np.ndarray) -> dict[str, float] | None:
  if not len(difficulty):
    return None
  values = np.quantile(difficulty, list(QUANTILES.values()))
  return dict(zip(QUANTILES, values.tolist(), strict=True)) | {
    "mean": float(difficulty.mean(dtype=np.float64))
  }


def _partition(
  pool: Pool,
  name: str,
  scored: bool,
  add_random: Callable[[np.ndarray], list[int]],
) -> dict[str, list]:
  """Returns the record of a partition in gallery.json."""
  arms = jax.device_get(pool.partitions[name])
  groups = [
    arms.order[start : start + size]
    for start, size in zip(arms.start, arms.size, strict=True)
  ]
  few = len(groups) <= MAX_ARMS
  record = {
    "size": [len(group) for group in groups],
    "drawings": [add_random(group) for group in groups] if few else [],
  }
  if scored:
    difficulty = np.asarray(pool.scores["difficulty"], np.float64)
    record["difficulty"] = [
      float(difficulty[group].mean()) if len(group) else None
      for group in groups
    ]
  return record


def _by_difficulty(
  members: list[np.ndarray],
  difficulty: np.ndarray,
  add: Callable[[np.ndarray], list[int]],
  add_random: Callable[[np.ndarray], list[int]],
) -> dict[str, Any]:
  """Returns the hardest and easiest classes, and examples of some classes."""
  present = [i for i, index in enumerate(members) if len(index)]
  by_median = sorted(present, key=lambda i: np.median(difficulty[members[i]]))
  places = np.linspace(len(by_median) - 1, 0, min(CLASSES, len(by_median)))
  examples = {}
  for place in places.round().astype(int):
    index = members[by_median[place]]
    order = index[np.argsort(difficulty[index], kind="stable")]
    examples[str(by_median[place])] = {
      "least": add(order[:EXAMPLES]),
      "most": add(order[::-1][:EXAMPLES]),
      "random": add_random(index),
    }
  return {
    "hardest": by_median[-1],
    "easiest": by_median[0],
    "drawings": examples,
  }


def _thumbnails(
  pool: Pool, gather: Callable[[Pool, Array], Batch], index: np.ndarray
) -> np.ndarray:
  """Returns the images at `index` [n] as the model sees them, reduced.

  [n, h, w, 1 or 3] uint8, h and w at most SIDE.
  """
  # One program for batches of one size; the last is padded.
  size = 64
  padded = np.resize(index, max(1, -(-len(index) // size)) * size)
  gather_image = jax.jit(lambda pool, index: gather(pool, index).image)
  batches = [gather_image(pool, part) for part in padded.reshape(-1, size)]
  image = np.concatenate([np.asarray(batch) for batch in batches])
  image = _shrink(image[: len(index)], -(-max(image.shape[1:3]) // SIDE))
  if image.shape[-1] not in (1, 3):
    image = image.mean(-1, keepdims=True)
  return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _shrink(image: np.ndarray, side: int) -> np.ndarray:
  """Returns means over squares of `side` pixels; the remainder is cut off."""
  n, height, width, channels = image.shape
  height, width = height // side, width // side
  cut = image[:, : height * side, : width * side]
  blocks = cut.reshape(n, height, side, width, side, channels)
  return blocks.mean((2, 4))
