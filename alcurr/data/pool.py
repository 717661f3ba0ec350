"""Datasets on the host, their splits, and pools on the device."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.host_store import Fetch, place_in
from alcurr.data.quickdraw import strokes
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


class Dataset(NamedTuple):
  """Labelled examples on the host."""

  source: Images | Strokes | Stored  # of NumPy arrays
  label: np.ndarray  # [N] int32, index into class_names
  key: np.ndarray  # [N] uint64, hash of an example's own key or content
  class_names: tuple[str, ...]  # [V]
  flags: dict[str, np.ndarray]  # [N] bool each, what is known of an example


def check_class_names(names: Sequence[str]) -> None:
  """Refuses names that no page could show, and a single class.

  Any printable text may be one: what shows a name escapes it, and no file is
  called after it.

  Raises:
    UserError: fewer than two names, or one that is empty or not printable.
  """
  if len(names) < 2:
    raise UserError(
      f"there is one class alone, {names[0]!r}; give at least two to tell "
      "apart."
    )
  for name in names:
    if not name.strip() or not name.isprintable():
      raise UserError(
        f"a class is called {name!a}; rename it so that it can be printed."
      )


def take(dataset: Dataset, index: np.ndarray) -> Dataset:
  """The examples at `index` [n], in that order."""
  if isinstance(dataset.source, Strokes):
    source = strokes.take_strokes(dataset.source, index)
  else:
    source = jax.tree.map(lambda x: x[index], dataset.source)
  return dataset._replace(
    source=source,
    label=dataset.label[index],
    key=dataset.key[index],
    flags={name: flag[index] for name, flag in dataset.flags.items()},
  )


def concatenate(first: Dataset, second: Dataset) -> Dataset:
  """The examples of two datasets of the same classes; the flags of both."""
  a, b = first.source, second.source
  if isinstance(a, Strokes):
    source = strokes.concatenate([a, b])
  else:
    source = jax.tree.map(lambda *x: np.concatenate(x), a, b)
  return Dataset(
    source,
    np.concatenate([first.label, second.label]),
    np.concatenate([first.key, second.key]),
    first.class_names,
    {
      name: np.concatenate([first.flags[name], second.flags[name]])
      for name in first.flags.keys() & second.flags.keys()
    },
  )


def check_fractions(
  valid_fraction: float, test_fraction: float, probe_fraction: float
) -> None:
  """Refuses shares of `split` that leave no data to train on."""
  if not (
    valid_fraction > 0
    and test_fraction > 0
    and probe_fraction >= 0
    and valid_fraction + test_fraction + probe_fraction < 1
  ):
    raise ValueError(
      "valid_fraction and test_fraction must be positive, probe_fraction not "
      "negative, and leave some of the data to train on, got "
      f"{valid_fraction}, {test_fraction} and {probe_fraction}"
    )


def split(
  dataset: Dataset,
  valid_fraction: float,
  test_fraction: float,
  probe_fraction: float = 0.0,
) -> dict[str, Dataset]:
  """Splits by the hash of each example's key: train, valid, test, probe.

  An example's side depends on its own key alone, so the splits are disjoint,
  equal keys stay together, every class gives the same share up to binomial
  noise, and no example changes sides when data is added.

  Args:
    dataset: N examples.
    valid_fraction: share of learning curves and model selection, in (0, 1).
    test_fraction: share of the final evaluation, in (0, 1).
    probe_fraction: share that samplers may learn from, in [0, 1).

  Returns:
    A dataset for each of "train", "valid", "test" and, if it has a share,
    "probe".

  Raises:
    ValueError: fractions that leave no training data, or a split in which a
      class has no example.
  """
  check_fractions(valid_fraction, test_fraction, probe_fraction)
  # The key is a hash already: its top 53 bits are a uniform number in [0, 1).
  place = (dataset.key >> np.uint64(11)) * 2.0**-53
  bounds = [
    valid_fraction,
    valid_fraction + test_fraction,
    1 - probe_fraction,
  ]
  side = np.digitize(place, bounds)
  parts = {
    name: take(dataset, np.flatnonzero(side == i))
    for i, name in enumerate(("valid", "test", "train", "probe"))
  }
  if not probe_fraction:
    del parts["probe"]
  for name, part in parts.items():
    count = np.bincount(part.label, minlength=len(part.class_names))
    if count.min() == 0:
      raise ValueError(
        f"class {part.class_names[count.argmin()]!r} has no example in the "
        f"{name} split; give it more examples, of keys that differ, or the "
        "split a larger fraction"
      )
  return parts


def host_pool(
  dataset: Dataset,
  difficulty: np.ndarray | None = None,
  partitions: Mapping[str, Partition] | None = None,
) -> Pool:
  """A pool of NumPy arrays, the dataset's own; by default not scored.

  Wherever shapes are enough, it stands for the pool on the device.
  """
  if difficulty is None:
    difficulty = np.zeros(len(dataset.label), np.float32)
  return Pool(
    dataset.source,
    dataset.label,
    {"difficulty": difficulty},
    dict(partitions or {}),
  )


def make_pool(
  dataset: Dataset,
  difficulty: np.ndarray | None = None,
  partitions: Mapping[str, Partition] | None = None,
) -> Pool:
  """Puts a dataset on the device; difficulty is zero where none is given."""
  return jax.tree.map(jnp.asarray, host_pool(dataset, difficulty, partitions))


def on_device(pools: dict[str, Pool]) -> dict[str, Pool]:
  """The same pools on the device, one that has two names there once."""
  put = {id(p): jax.tree.map(jnp.asarray, p) for p in pools.values()}
  return {name: put[id(p)] for name, p in pools.items()}


def make_gather(
  render: Callable[[Strokes, Array], Array] | None = None,
  fetch: Fetch | None = None,
) -> Callable[[Pool, Array], Batch]:
  """A function (pool, index [B]) -> Batch.

  Args:
    render: (strokes, index [B]) -> image [B, H, W, 1] float32 in [0, 1], for
      pools of strokes; `alcurr.data.render.make_render` makes one.
    fetch: for pools that are stored on the host; `alcurr.data.host_store.make_fetch`
      makes one for a store.
  """

  def gather(pool: Pool, index: Array) -> Batch:
    source, place = pool.source, index
    if isinstance(source, Stored):
      if fetch is None:
        raise ValueError("a pool on the host needs a fetch function")
      source, place = fetch(source.row[index]), jnp.arange(index.shape[0])
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
