"""Datasets on the host, their splits, and pools on the device."""

import hashlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from alcurr.core import specs
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
  content: str = ""  # a hash of it, if one is known
  # The user's own by name, [N] float32, if there are any
  scores: dict[str, np.ndarray] | None = None


def content_hash(dataset: Dataset) -> str:
  """Returns a hash of the examples, their labels, keys and class names."""
  if dataset.content:
    return dataset.content
  content = hashlib.blake2b(repr(dataset.class_names).encode(), digest_size=16)
  for array in (*dataset.source, dataset.label, dataset.key):
    content.update(f"{array.dtype.str} {array.shape}".encode())
    content.update(np.ascontiguousarray(array))
  return content.hexdigest()


def check_class_names(names: Sequence[str]) -> None:
  """Raises UserError for fewer than two names, or one that is not usable.

  A blank or unprintable name is refused, and two that look the same.

  Any printable text is allowed: pages escape it, and no file is named by it.
  """
  if len(names) < 2:
    text = f"expected at least two, got only {names[0]!r}"
    raise UserError("data", "classes", text)
  for name in names:
    if not name.strip() or not name.isprintable():
      raise UserError("data", "classes", f"a name is not printable: {name!a}")
  by_look: dict[str, str] = {}
  for name in names:
    look = unicodedata.normalize("NFC", " ".join(name.split()))
    if (other := by_look.setdefault(look, name)) != name:
      text = f"two names look the same: {other!a} and {name!a}"
      raise UserError("data", "classes", text)


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
  if classes == "all":
    chosen = known
  elif isinstance(classes, int) or str(classes).strip().isdecimal():
    specs.check_range("classes", int(classes), 2, len(known))
    chosen = known[: int(classes)]
  else:
    given = classes.split(",") if isinstance(classes, str) else classes
    chosen = [name.strip() for name in map(str, given) if name.strip()]
  if not chosen:
    raise UserError("missing", "classes", "expected all, a number, or names")
  for name in chosen:
    if name not in known:
      hint = specs.did_you_mean(name, known)
      text = f"no {name!r} among the {len(known)}{hint}"
      raise UserError("unknown", "classes", text)
  names = sorted(set(chosen))
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
  arrays = dataset.label, dataset.key, dataset.flags, dataset.scores
  label, key, flags, scores = jax.tree.map(lambda x: x[index], arrays)
  part = dataset._replace(label=label, key=key, flags=flags, scores=scores)
  return part._replace(source=take_source(part.source, index), content="")


def concatenate(first: Dataset, second: Dataset) -> Dataset:
  """Joins two datasets of the same classes, with the flags that both have."""
  both = first.flags.keys() & second.flags.keys()
  label, key, flags, scores = jax.tree.map(
    lambda *x: np.concatenate(x),
    *(
      (d.label, d.key, {n: d.flags[n] for n in both}, d.scores)
      for d in (first, second)
    ),
  )
  joined = first._replace(label=label, key=key, flags=flags, scores=scores)
  source = join_sources([first.source, second.source])
  return joined._replace(source=source, content="")


def check_fractions(
  valid_fraction: float, test_fraction: float, probe_fraction: float
) -> None:
  """Raises ValueError for shares of `split` that leave no training data."""
  left = 1 - (valid_fraction + test_fraction)
  if not min(valid_fraction, test_fraction) > 0 <= probe_fraction < left:
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

  Equal keys stay together. Each class has its share, up to binomial noise, and
  at least one key in each split where it can: in train, test, valid and probe,
  in this order. An example only moves when data is added if it had been taken
  for a split that lacked its class. The log has the classes that a split lacks.

  Args:
    dataset: N examples.
    valid_fraction: share for learning curves and model selection, in (0, 1).
    test_fraction: share for the final evaluation, in (0, 1).
    probe_fraction: share that samplers may learn from, in [0, 1).

  Returns:
    "train", "valid", "test" and, unless probe_fraction is 0, "probe".

  Raises:
    ValueError: fractions that leave no training data, or an empty split.
  """
  check_fractions(valid_fraction, test_fraction, probe_fraction)
  # The top 53 bits of a hash are a uniform number in [0, 1).
  uniform = (dataset.key >> np.uint64(11)) * 2.0**-53
  evaluated = valid_fraction + test_fraction
  bounds = [valid_fraction, evaluated, 1 - probe_fraction]
  split_number = np.digitize(uniform, bounds)
  names = ("valid", "test", "train", *(["probe"] if probe_fraction else []))
  _fill(split_number, dataset, len(names))
  parts = {}
  for i, name in enumerate(names):
    parts[name] = part = take(dataset, np.flatnonzero(split_number == i))
    if not len(part.label):
      problem = f"the split {name} of {len(dataset.label)} examples is empty"
      raise ValueError(f"{problem}; expected more, with different content")
    count = np.bincount(part.label, minlength=len(part.class_names))
    if lacking := [part.class_names[c] for c in np.flatnonzero(count == 0)]:
      few = ", ".join(map(repr, lacking[:5])) + ", ..." * (len(lacking) > 5)
      text = "The split %s has no example of %d classes, which are rare: %s."
      logging.warning(text, name, len(lacking), few)
  return parts


def _fill(split_number: np.ndarray, dataset: Dataset, num_splits: int) -> None:
  """Gives each class a key in each split, if a split lacks it and it has some.

  Changes `split_number` [N]. The keys of such a class, in their order, are cut
  at nearly the same places, so that each split gets one. A key of two classes
  belongs to the first.
  """
  present = np.zeros((len(dataset.class_names), num_splits), bool)
  present[dataset.label, split_number] = True
  rare = np.flatnonzero(~present.all(1)[dataset.label])
  if not len(rare):
    return
  rare = rare[np.lexsort((dataset.label[rare], dataset.key[rare]))]
  key, first = np.unique(dataset.key[rare], return_index=True)
  first = rare[first]
  for label in np.unique(dataset.label[first]).tolist():
    index = first[dataset.label[first] == label]
    size = np.bincount(split_number[index], minlength=num_splits)
    # Of the splits by number: train, test, valid, probe.
    least = np.zeros(num_splits, int)
    least[[2, 1, 0, 3][: min(len(index), num_splits)]] = 1
    end = np.cumsum(size)
    for i in range(num_splits):
      end[i] = max(end[i], (end[i - 1] if i else 0) + least[i])
    end[-1] = len(index)
    for i in range(num_splits - 1, 0, -1):
      end[i - 1] = min(end[i - 1], end[i] - least[i])
    split_number[index] = np.searchsorted(end, np.arange(len(index)), "right")
  # Equal keys, perhaps of another class, follow.
  same = np.flatnonzero(np.isin(dataset.key, key))
  place = np.searchsorted(key, dataset.key[same])
  split_number[same] = split_number[first[place]]


def host_pool(
  dataset: Dataset,
  difficulty: np.ndarray | None = None,
  partitions: Mapping[str, Partition] | None = None,
) -> Pool:
  """Builds a pool of the dataset's own NumPy arrays, in host memory.

  The difficulty [N] float32 is zero by default; for partitions by name see
  `alcurr.data.partitions`.
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
