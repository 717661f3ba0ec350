"""Datasets on the host, their splits, and pools on the device."""

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
  Rows,
  Split,
  Stored,
  Strokes,
)

Source = Images | Rows | Strokes | Stored | Split  # of NumPy arrays
# (row [n]) -> columns [n] by name, by which users find their examples
Locate = Callable[[np.ndarray], dict[str, np.ndarray]]


class Dataset(NamedTuple):
  """Labelled examples on the host."""

  source: Source
  label: np.ndarray  # [N] int32, index into class_names
  key: np.ndarray  # [N] uint64, hash of an example's own key or content
  class_names: tuple[str, ...]  # [V]
  flags: dict[str, np.ndarray]  # by name, [N] bool, known facts of an example
  content: str = ""  # a hash of it, if one is known
  # [N] int32, index into group_names; None without groups
  groups: np.ndarray | None = None
  group_names: tuple[str, ...] = ()
  # [N] texts, the images' paths in their folder; None where there is none, and
  # after a split
  paths: np.ndarray | None = None
  # [N] or [N, V] float32, numbers to predict instead of the classes: then all
  # examples are of one class
  target: np.ndarray | None = None
  # The user's own by name, [N] float32, if there are any
  scores: dict[str, np.ndarray] | None = None
  # [N] int, rows of the data as it was read; None: all, in their order
  row: np.ndarray | None = None
  locate: Locate | None = None  # of those rows; None: by `index`, the row


def rows_of(dataset: Dataset) -> np.ndarray:
  """Returns the rows [N] of the data as it was read."""
  if dataset.row is None:
    return np.arange(len(dataset.label))
  return dataset.row


def locate(dataset: Dataset, index: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the columns by which users find examples at `index` [n].

  By name, [n] each: `index` in their arrays, or `path` of an image, or `file`,
  `line` and `key` of a drawing; of several sources, also the `source`.
  """
  row = rows_of(dataset)[index]
  return dataset.locate(row) if dataset.locate else {"index": row}


def content_hash(dataset: Dataset) -> str:
  """Returns a hash of the examples, labels, groups, keys and names."""
  if dataset.content:
    return dataset.content
  content = hashlib.blake2b(repr(dataset.class_names).encode(), digest_size=16)
  source = jax.tree.leaves(dataset.source)
  arrays = [*source, dataset.label, dataset.key]
  if dataset.groups is not None:
    content.update(repr(dataset.group_names).encode())
    arrays.append(dataset.groups)
  if dataset.target is not None:
    arrays.append(dataset.target)
  for array in arrays:
    content.update(f"{array.dtype.str} {array.shape}".encode())
    content.update(np.ascontiguousarray(array))
  return content.hexdigest()


def check_class_names(names: Sequence[str], place: str = "classes") -> None:
  """Raises UserError for fewer than two names, or one that is not usable.

  A blank or unprintable name is refused, and two that look the same.

  Any printable text is allowed: pages escape it, and no file is named by it.
  """
  if len(names) < 2:
    text = f"expected at least two, got only {names[0]!r}"
    raise UserError("data", place, text)
  for name in names:
    if not name.strip() or not name.isprintable():
      raise UserError("data", place, f"a name is not printable: {name!a}")
  by_look: dict[str, str] = {}
  for name in names:
    look = unicodedata.normalize("NFC", " ".join(name.split()))
    if (other := by_look.setdefault(look, name)) != name:
      text = f"two names look the same: {other!a} and {name!a}"
      raise UserError("data", place, text)


def choose_classes(
  known: Sequence[str], classes: str | int | Collection[str]
) -> list[str]:
  """Returns the chosen names, sorted.

  Args:
    known: all names, sorted.
    classes: "all"; a number, for the first classes by name; names, as a
      sequence or separated by commas; or a frozenset, for those of its names
      that are known.

  Raises:
    UserError: an unknown name, a number out of range, or an unusable name.
  """
  if classes == "all":
    chosen = known
  elif isinstance(classes, int) or str(classes).strip().isdecimal():
    number = int(classes.strip() if isinstance(classes, str) else classes)
    specs.check_range("classes", number, 2, len(known))
    chosen = known[:number]
  elif isinstance(classes, frozenset):
    chosen = [name for name in known if name in classes]
    if not chosen:
      few = ", ".join(map(repr, known[:3])) + ", ..." * (len(known) > 3)
      raise UserError("data", "classes", f"expected others, got only {few}")
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
  """Joins examples of the same kind; a source by itself is not copied."""
  if len(sources) == 1:
    return sources[0]
  if isinstance(sources[0], Strokes):
    return strokes.concatenate(sources)
  return jax.tree.map(lambda *x: np.concatenate(x), *sources)


def take(dataset: Dataset, index: np.ndarray) -> Dataset:
  """Returns the examples at `index` [n], in that order."""
  arrays = dataset.label, dataset.key, dataset.flags
  label, key, flags = jax.tree.map(lambda x: x[index], arrays)
  source = take_source(dataset.source, index)
  part = dataset._replace(
    source=source, label=label, key=key, content="", paths=None
  )
  own = dataset.groups, dataset.scores, dataset.target
  groups, scores, target = jax.tree.map(lambda x: x[index], own)
  row = rows_of(dataset)[index]
  part = part._replace(flags=flags, groups=groups, scores=scores, row=row)
  return part._replace(target=target)


def concatenate(first: Dataset, second: Dataset) -> Dataset:
  """Joins two datasets of the same classes, with the facts that both have.

  These are flags, groups and scores.
  """
  if first.groups is None or second.groups is None:
    first, second = (d._replace(groups=None) for d in (first, second))
  if first.scores is None or second.scores is None:
    first, second = (d._replace(scores=None) for d in (first, second))
  both = first.flags.keys() & second.flags.keys()
  joined = jax.tree.map(
    lambda *x: np.concatenate(x),
    *(
      {
        "label": d.label,
        "key": d.key,
        "flags": {n: d.flags[n] for n in both},
        "groups": d.groups,
        "scores": d.scores,
        "target": d.target,
        "row": rows_of(d),
      }
      for d in (first, second)
    ),
  )
  source = join_sources([first.source, second.source])
  return first._replace(source=source, content="", paths=None, **joined)


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
  label = dataset.label if dataset.target is None else dataset.target
  return Pool(dataset.source, label, scores, dict(partitions or {}))


def num_outputs(dataset: Dataset) -> int:
  """Returns V: the classes, or the numbers to predict for an example."""
  if dataset.target is None:
    return len(dataset.class_names)
  return dataset.target.reshape(len(dataset.target), -1).shape[1]


def make_pool(
  dataset: Dataset,
  difficulty: np.ndarray | None = None,
  partitions: Mapping[str, Partition] | None = None,
) -> Pool:
  """Puts a dataset on the device; the arguments are those of `host_pool`."""
  return as_jax(host_pool(dataset, difficulty, partitions))


def as_jax(pool: Pool) -> Pool:
  """Returns a copy of a pool as JAX's arrays, on the default device."""
  # `jnp.asarray` would compile a program for each shape.
  return jax.device_put(pool, may_alias=False)


def on_device(
  pools: dict[str, Pool], put: Callable[[Pool], Pool] = as_jax
) -> dict[str, Pool]:
  """Puts host pools on the device; a pool with two names is copied once.

  `put` is how, see `alcurr.training.parallel.put` for many devices.
  """
  copies = {id(p): put(p) for p in pools.values()}
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
      source = fetch(source.row[index])
      place = jnp.arange(index.shape[0], dtype=jnp.int32)
    elif isinstance(source, Fetched):
      source, place = source.source, place_in(source, index)
    elif isinstance(source, Split):  # on one device, or on the host
      source = source.examples
    if isinstance(source, Strokes):
      if render is None:
        raise ValueError("a pool of strokes needs a render function")
      inputs = render(source, place)
    elif isinstance(source, Rows):
      inputs = jax.tree.map(lambda x: x[place], source.inputs)
    else:
      inputs = source.image[place]
      if inputs.dtype == jnp.uint8:
        inputs = inputs.astype(jnp.float32) / 255
    return Batch(inputs, pool.label[index])

  return gather
