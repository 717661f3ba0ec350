"""A few drawings of a pool and its difficulties, kept for the report.

Written once by the experiment, while the pool is there; the report is then
made from files alone.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from alcurr.core import files
from alcurr.types import Array, Batch, Pool

DRAWINGS = 8  # of each kind
CLASSES = 6  # of which the drawings are kept
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
SIDE = 64  # most pixels of a thumbnail's side
MAX_ARMS = 40  # of a partition whose drawings are kept


class Gallery(NamedTuple):
  """n drawings, and where they belong; positions count from 0 in [n]."""

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
  """Leaves gallery.npz and gallery.json of a training pool in a workdir.

  gallery.json holds `class_names`; `image_shape`, [H, W, C] as the models see
  them; `classes`, a record for each: its `count` and, if the pool has been
  scored, its `difficulty` (quantiles and mean); `partitions`, those of
  pool.arms but "label", whose arms are the classes: for each arm its `size`,
  `difficulty` (mean) and `drawings` (positions in gallery.npz, chosen at
  random; none of more than 40 arms). Of a scored pool also `hardest` and
  `easiest`, classes by median, and `drawings`: for some classes the positions
  of their `least` and `most` informative drawings (the lowest and the highest
  difficulty) and of `random` ones.

  Args:
    workdir: of the experiment.
    pool: N training examples; difficulties that are all zero are no scores.
    gather: (pool, index [B]) -> Batch, which renders the drawings.
    class_names: V names.
  """
  label = np.asarray(pool.label)
  difficulty = np.asarray(pool.scores["difficulty"])
  scored = bool(difficulty.any())
  rng = np.random.default_rng(0)
  members = _members(label, len(class_names))
  kept: dict[int, int] = {}  # pool index -> position

  def keep(index: np.ndarray) -> list[int]:
    return [kept.setdefault(int(i), len(kept)) for i in index]

  info: dict[str, Any] = {
    "class_names": list(class_names),
    "classes": [
      {"count": len(mine)}
      | ({"difficulty": _quantiles(difficulty[mine])} if scored else {})
      for mine in members
    ],
    "partitions": {},
  }
  for name in sorted(pool.partitions):
    if name != "label":
      info["partitions"][name] = _partition(pool, name, scored, rng, keep)
  if scored:
    info |= _by_difficulty(members, difficulty, rng, keep)
  index = np.fromiter(kept, np.int32, len(kept))
  one = jax.eval_shape(gather, pool, jax.ShapeDtypeStruct((1,), np.int32))
  info["image_shape"] = one.image.shape[1:]
  image = _thumbnails(pool, gather, index)
  arrays = {"index": index, "label": label[index]}
  arrays |= {"image": image, "difficulty": difficulty[index]}
  files.write_file(
    workdir / "gallery.npz",
    lambda file: np.savez_compressed(file, **arrays),
  )
  files.write_json(workdir / "gallery.json", info)


def read_gallery(workdir: pathlib.Path) -> Gallery | None:
  """The gallery of an experiment, or None where it has left none."""
  path = workdir / "gallery.npz"
  if not (path.exists() and (workdir / "gallery.json").exists()):
    return None
  info = files.read_json(workdir / "gallery.json")
  with np.load(path, allow_pickle=False) as file:
    names = ("image", "index", "label", "difficulty")
    return Gallery(*(file[name] for name in names), info)


def _members(label: np.ndarray, num_classes: int) -> list[np.ndarray]:
  """The examples of each class, rising."""
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


def _some(rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
  return rng.permutation(members)[:DRAWINGS]


def _partition(
  pool: Pool,
  name: str,
  scored: bool,
  rng: np.random.Generator,
  keep: Callable[[np.ndarray], list[int]],
) -> dict[str, list]:
  """The arms of a partition: size, mean difficulty, and a few drawings."""
  arms = jax.device_get(pool.partitions[name])
  groups = [
    arms.order[start : start + size]
    for start, size in zip(arms.start, arms.size, strict=True)
  ]
  record = {
    "size": [len(group) for group in groups],
    "drawings": [],
  }
  if len(groups) <= MAX_ARMS:
    record["drawings"] = [keep(_some(rng, group)) for group in groups]
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
  rng: np.random.Generator,
  keep: Callable[[np.ndarray], list[int]],
) -> dict[str, Any]:
  """The hardest and easiest classes, and the drawings of some between."""
  present = [i for i, mine in enumerate(members) if len(mine)]
  by_median = sorted(present, key=lambda i: np.median(difficulty[members[i]]))
  places = np.linspace(len(by_median) - 1, 0, min(CLASSES, len(by_median)))
  drawings = {}
  for place in places.round().astype(int):
    mine = members[by_median[place]]
    order = mine[np.argsort(difficulty[mine], kind="stable")]
    drawings[str(by_median[place])] = {
      "least": keep(order[:DRAWINGS]),
      "most": keep(order[::-1][:DRAWINGS]),
      "random": keep(_some(rng, mine)),
    }
  return {
    "hardest": by_median[-1],
    "easiest": by_median[0],
    "drawings": drawings,
  }


def _thumbnails(
  pool: Pool, gather: Callable[[Pool, Array], Batch], index: np.ndarray
) -> np.ndarray:
  """The drawings at `index` [n] as the model sees them: [n, h, w, 1 or 3]."""
  # One program for batches of one size; the last is filled up and cut.
  size = 64
  filled = np.resize(index, -(-len(index) // size) * size)
  draw = jax.jit(lambda pool, index: gather(pool, index).image)
  image = np.concatenate(
    [np.asarray(draw(pool, part)) for part in filled.reshape(-1, size)]
    or [np.asarray(draw(pool, np.zeros(size, np.int32)))]
  )[: len(index)]
  every = -(-max(image.shape[1:3]) // SIDE)
  image = _shrink(image, every)
  if image.shape[-1] not in (1, 3):
    image = image.mean(-1, keepdims=True)
  return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _shrink(image: np.ndarray, every: int) -> np.ndarray:
  """Means over squares of `every` pixels; what is left at the rim is cut."""
  n, height, width, channels = image.shape
  height, width = height // every, width // every
  cut = image[:, : height * every, : width * every]
  blocks = cut.reshape(n, height, every, width, every, channels)
  return blocks.mean((2, 4))
