"""Datasets on the host, their splits, and pools on the device."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import strokes
from alcurr.data.host_store import Fetch, place_in
from alcurr.types import (
  Array,
  Batch,
  Fetched,
  Images,
  Partition,
  Pool,
  Stored,
  Strokes,
)

Source = Images | Strokes | Stored  # of NumPy arrays


class Dataset(NamedTuple):
  """Labelled examples on the host."""

  source: Source
  label: np.ndarray  # [N] int32, index into class_names
  key: np.ndarray  # [N] uint64, hash of an example's own key or content
  class_names: tuple[str, ...]  # [V]
  flags: dict[str, np.ndarray]  # by name, [N] bool, known facts of an example


def check_class_names(names: Sequence[str]) -> None:
  """Checks that there are at least two names, and that all are printable.

  Any printable text is allowed: pages escape it, and no file is named by it.

  Raises:
    UserError: fewer than two names, or a blank or unprintable name.
  """
  if len(names) < 2:
    text = f"expected at least two, got only {names[0]!r}"
    raise UserError("data", "classes", text)
  for name in names:
    if not name.strip() or not name.isprintable():
      raise UserError("data", "classes", f"a name is not printable: {name!a}")


def choose_classes(
  known: Sequence[str], classes: str | int | Sequence[str]
) -> list[str]:
  """Returns the chosen names, sorted.

  Args:
    known: all names, sorted.
    classes: "all"; a number, for the first classes by name; or names, as a
      sequence or separated by commas.

  Raises:
    UserError: an unknown name, a number out of range, or an unusable name.
  """
  if isinstance(classes, str) and classes.strip().isdecimal():
    classes = int(classes)
  if isinstance(classes, int):
    if not 2 <= classes <= len(known):
      text = f"expected 2 to {len(known)}, or all, got {classes}"
      raise UserError("range", "classes", text)
    classes = known[:classes]
  elif classes == "all":
    classes = known
  elif isinstance(classes, str):
    classes = [n.strip() for n in classes.split(",") if n.strip()]
  if not len(classes):
    raise UserError("missing", "classes", "expected all, a number, or names")
  for name in classes:
    if name not in known:
      close = difflib.get_close_matches(str(name), known, n=1)
      hint = f"; did you mean {close[0]!r}?" if close else ""
      text = f"no {name!r} among the {len(known)}{hint}"
      raise UserError("unknown", "classes", text)
  names = sorted(set(classes))
  check_class_names(names)
  return names


def take_source(source: Source, index: np.ndarray) -> Source:
  """Returns the examples at `index` [n], in that order."""
  if isinstance(source, Strokes):
    return strokes.take_strokes(source, index)
  return jax.tree.map(lambda x: x[index], source)


def join_sources(sources: Sequence[Source]) -> Source:
  """Joins examples of the same kind."""
  if isinstance(sources[0], Strokes):
    return strokes.concatenate(sources)
  return jax.tree.map(lambda *x: np.concatenate(x), *sources)


def take(dataset: Dataset, index: np.ndarray) -> Dataset:
  """Returns the examples at `index` [n], in that order."""
  return dataset._replace(
    source=take_source(dataset.source, index),
    label=dataset.label[index],
    key=dataset.key[index],
    flags={name: flag[index] for name, flag in dataset.flags.items()},
  )


def concatenate(first: Dataset, second: Dataset) -> Dataset:
  """Joins two datasets of the same classes, with the flags that both have."""
  names = first.flags.keys() & second.flags.keys()
  return Dataset(
    join_sources([first.source, second.source]),
    np.concatenate([first.label, second.label]),
    np.concatenate([first.key, second.key]),
    first.class_names,
    {n: np.concatenate([first.flags[n], second.flags[n]]) for n in names},
  )


def check_fractions(
  valid_fraction: float, test_fraction: float, probe_fraction: float
) -> None:
  """Raises ValueError for shares of `split` that leave no training data."""
  if not (
    valid_fraction > 0
    and test_fraction > 0
    and probe_fraction >= 0
    and valid_fraction + test_fraction + probe_fraction < 1
  ):
    raise ValueError(
      "valid_fraction and test_fraction must be > 0, probe_fraction >= 0, the "
      f"sum < 1, got {valid_fraction}, {test_fraction} and {probe_fraction}"
    )


def split(
  dataset: Dataset,
  valid_fraction: float,
  test_fraction: float,
  probe_fraction: float = 0.0,
) -> dict[str, Dataset]:
  """Splits a dataset by the hash of each example's key.

  A split depends on the key alone. Equal keys stay together, and no example
  moves when data is added. Classes have equal shares, up to binomial noise.

  Args:
    dataset: N examples.
    valid_fraction: share for learning curves and model selection, in (0, 1).
    test_fraction: share for the final evaluation, in (0, 1).
    probe_fraction: share that samplers may learn from, in [0, 1).

  Returns:
    "train", "valid", "test" and, unless probe_fraction is 0, "probe".

  Raises:
    ValueError: fractions that leave no training data, or a class that has no
      example in a split.
  """
  check_fractions(valid_fraction, test_fraction, probe_fraction)
  # The top 53 bits of a hash are a uniform number in [0, 1).
  uniform = (dataset.key >> np.uint64(11)) * 2.0**-53
  evaluated = valid_fraction + test_fraction
  bounds = [valid_fraction, evaluated, 1 - probe_fraction]
  split_number = np.digitize(uniform, bounds)
  names = ("valid", "test", "train", *(["probe"] if probe_fraction else []))
  parts = {
    name: take(dataset, np.flatnonzero(split_number == i))
    for i, name in enumerate(names)
  }
  for name, part in parts.items():
    count = np.bincount(part.label, minlength=len(part.class_names))
    if count.min() == 0:
      class_name = part.class_names[count.argmin()]
      raise ValueError(f"class {class_name!r} has no example in split {name}")
  return parts


def host_pool(
  dataset: Dataset,
  difficulty: np.ndarray | None = None,
  partitions: Mapping[str, Partition] | None = None,
) -> Pool:
  """Builds a pool of the dataset's own NumPy arrays, in host memory.

  Args:
    dataset: N examples.
    difficulty: [N] float32; zero by default.
    partitions: by name; see `alcurr.data.partitions`.
  """
  if difficulty is None:
    difficulty = np.zeros(len(dataset.label), np.float32)
  scores = {"difficulty": difficulty}
  return Pool(dataset.source, dataset.label, scores, dict(partitions or {}))


def make_pool(
  dataset: Dataset,
  difficulty: np.ndarray | None = None,
  partitions: Mapping[str, Partition] | None = None,
) -> Pool:
  """Puts a dataset on the device; the arguments are those of `host_pool`."""
  return jax.tree.map(jnp.asarray, host_pool(dataset, difficulty, partitions))


def on_device(pools: dict[str, Pool]) -> dict[str, Pool]:
  """Puts host pools on the device; a pool with two names is copied once."""
  copies = {id(p): jax.tree.map(jnp.asarray, p) for p in pools.values()}
  return {name: copies[id(p)] for name, p in pools.items()}


def make_gather(
  render: Callable[[Strokes, Array], Array] | None = None,
  fetch: Fetch | None = None,
) -> Callable[[Pool, Array], Batch]:
  """Returns a function (pool, index [B]) -> Batch.

  Args:
    render: for pools of strokes; see `alcurr.data.render.make_render`.
    fetch: for pools on the host; see `alcurr.data.host_store.make_fetch`.
  """

  def gather(pool: Pool, index: Array) -> Batch:
    source, place = pool.source, index
    if isinstance(source, Stored):
      if fetch is None:
        raise ValueError("a pool on the host needs a fetch function")
      source, place = (
        fetch(source.row[index]),
        jnp.arange(index.shape[0], dtype=jnp.int32),
      )
    elif isinstance(source, Fetched):
      source, place = source.source, place_in(source, index)
    if isinstance(source, Strokes):
      if render is None:
        raise ValueError("a pool of strokes needs a render function")
      image = render(source, place)
    else:
      image = source.image[place]
      if image.dtype == jnp.uint8:
        image = image.astype(jnp.float32) / 255
    return Batch(image, pool.label[index])

  return gather
