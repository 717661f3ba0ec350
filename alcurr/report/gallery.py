"""A few examples of a training pool and its difficulties, for the report.

The experiment writes them while the pool is in memory.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from alcurr.core import files
from alcurr.data import rows
from alcurr.data.targets import TargetScale
from alcurr.types import Array, Batch, Pool

EXAMPLES = 8  # of each kind
CLASSES = 6  # with examples in the gallery
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
SIDE = 64  # most pixels of a thumbnail's side
MAX_ARMS = 40  # of a partition with examples in the gallery


class Gallery(NamedTuple):
  """n examples; positions in [n] count from 0."""

  # [n, H, W, C] uint8, C is 1 or 3; [n, 0, 0, 1] of rows, which have no images
  image: np.ndarray
  index: np.ndarray  # [n] int32, into the training pool
  label: np.ndarray  # [n] int32
  difficulty: np.ndarray  # [n] float32
  info: dict[str, Any]  # gallery.json, see write_gallery


def write_gallery(
  workdir: pathlib.Path,
  pool: Pool,
  gather: Callable[[Pool, Array], Batch],  # (pool, index [B])
  class_names: Sequence[str],  # [V]
  # (index [n]) -> columns by which users find these examples, by name
  find: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None,
  scale: TargetScale | None = None,  # of regression
) -> None:
  """Writes gallery.npz and gallery.json of a training pool.

  Difficulties that are all zero are no scores. gallery.json has `class_names`
  and `input_shape`, [H, W, C] of images. For regression it has `target_mean`
  and `target_deviation`, [V]. Each of the `classes` has its `count`. Each arm
  of the `partitions` other than "label" has its `size` and `drawings`: random
  positions in gallery.npz, or none of more than 40 arms.
  A partition whose arms have names has `names`. `found` has the columns of
  `find` for each position.
  A scored pool adds the `difficulty`: quantiles and mean of a class, the mean
  of an arm. It also has the `hardest` and the `easiest` class by median, and
  `drawings` of some classes: those of lowest (`least`) and of highest (`most`)
  difficulty, and `random` ones.
  """
  label = np.asarray(pool.label)
  if label.dtype.kind == "f":  # targets, which are of one class
    label = np.zeros(len(label), np.int32)
  difficulty = np.asarray(pool.scores["difficulty"])
  scored = bool(difficulty.any())
  rng = np.random.default_rng(0)
  position: dict[int, int] = {}  # by pool index

  def add(index: np.ndarray) -> list[int]:
    return [position.setdefault(i, len(position)) for i in index.tolist()]

  def add_random(index: np.ndarray) -> list[int]:
    return add(rng.permutation(index)[:EXAMPLES])

  counts = np.bincount(label, minlength=len(class_names))
  classes = _split(np.argsort(label, kind="stable"), counts)
  info: dict[str, Any] = {
    "class_names": list(class_names),
    "classes": [{"count": len(index)} for index in classes],
    "partitions": {},
  }
  for name in sorted(pool.partitions.keys() - {"label"}):
    part = jax.device_get(pool.partitions[name])
    arms = _split(part.order, part.size)
    few = len(arms) <= MAX_ARMS
    info["partitions"][name] = {
      "size": part.size,
      "drawings": [add_random(arm) for arm in arms] if few else [],
    }
    if part.names:
      info["partitions"][name]["names"] = [*part.names]
    if scored:
      means = [_describe(difficulty[arm]).get("mean") for arm in arms]
      info["partitions"][name]["difficulty"] = means
  if scored:
    for record, index in zip(info["classes"], classes, strict=True):
      record["difficulty"] = _describe(difficulty[index]) or None
    present = [i for i, index in enumerate(classes) if len(index)]
    by_median = sorted(present, key=lambda i: np.median(difficulty[classes[i]]))
    info |= {"hardest": by_median[-1], "easiest": by_median[0], "drawings": {}}
    places = np.linspace(len(present) - 1, 0, min(CLASSES, len(present)))
    for i in np.array(by_median)[places.round().astype(int)].tolist():
      order = classes[i][np.argsort(difficulty[classes[i]], kind="stable")]
      info["drawings"][str(i)] = {
        "least": add(order[:EXAMPLES]),
        "most": add(order[::-1][:EXAMPLES]),
        "random": add_random(classes[i]),
      }
  if scale is not None:
    info |= {f"target_{k}": v for k, v in scale._asdict().items()}
  index = np.fromiter(position, np.int32, len(position))
  batch = jax.eval_shape(gather, pool, jax.ShapeDtypeStruct((1,), np.int32))
  info["input_shape"] = rows.shape_to_json(rows.input_shape(batch.inputs))
  info["found"] = find(index) if find else {"index": index}
  arrays = {
    "index": index,
    "label": label[index],
    "image": thumbnails(pool, gather, index),
    "difficulty": difficulty[index],
  }
  path = workdir / "gallery.npz"
  files.write_file(path, lambda file: np.savez_compressed(file, **arrays))
  files.write_json(workdir / "gallery.json", info)


def read_gallery(workdir: pathlib.Path) -> Gallery | None:
  """Returns the gallery of an experiment, or None if it has none."""
  arrays, info = workdir / "gallery.npz", workdir / "gallery.json"
  if not (arrays.exists() and info.exists()):
    return None
  files.check_regular(arrays)
  with np.load(arrays, allow_pickle=False) as file:
    return Gallery(**file, info=files.read_json(info))


def _split(order: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
  return np.split(order, np.cumsum(sizes)[:-1])


def _describe(difficulty: np.ndarray) -> dict[str, float]:
  """Returns quantiles and mean; nothing for an empty class or arm."""
  if not len(difficulty):
    return {}
  values = np.quantile(difficulty, list(QUANTILES.values())).tolist()
  mean = float(difficulty.mean(dtype=np.float64))
  return dict(zip(QUANTILES, values, strict=True)) | {"mean": mean}


def thumbnails(
  pool: Pool, gather: Callable[[Pool, Array], Batch], index: np.ndarray
) -> np.ndarray:
  """Returns the reduced images at `index` [n]: [n, h, w, 1 or 3] uint8.

  Of rows, which have no images, h and w are 0.
  """
  first = jax.ShapeDtypeStruct((1,), np.int32)
  shape = rows.input_shape(jax.eval_shape(gather, pool, first).inputs)
  if not isinstance(shape, tuple):
    return np.zeros((len(index), 0, 0, 1), np.uint8)
  size = 64  # of a batch; the last is padded, so that all are one program
  padded = np.resize(index, max(1, -(-len(index) // size)) * size)
  gather_image = jax.jit(lambda pool, index: gather(pool, index).inputs)
  batches = [gather_image(pool, part) for part in padded.reshape(-1, size)]
  image = np.concatenate([np.asarray(batch) for batch in batches])
  image = _shrink(image[: len(index)], -(-max(image.shape[1:3]) // SIDE))
  if image.shape[-1] not in (1, 3):
    image = image.mean(-1, keepdims=True)
  return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _shrink(image: np.ndarray, side: int) -> np.ndarray:
  """Returns means over squares of `side` pixels, without the remainder."""
  n, height, width, channels = image.shape
  height, width = height // side, width // side
  cut = image[:, : height * side, : width * side]
  return cut.reshape(n, height, side, width, side, channels).mean((2, 4))
