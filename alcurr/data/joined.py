"""Several datasets in one: a group of examples for each of its sources."""

from collections.abc import Mapping

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.host_store import Examples
from alcurr.data.pool import (
  Dataset,
  Locate,
  content_hash,
  join_sources,
  locate,
)
from alcurr.data.render import Render, render_all
from alcurr.types import Images, Rows, Strokes


def join(datasets: Mapping[str, Dataset], render: Render) -> Dataset:
  """Joins datasets of the same classes; each is a group, by its name.

  Drawings stay drawings if all datasets are drawings; else they are rendered.
  Images of bytes and of floats together become floats. Flags that not all have
  are dropped.

  Args:
    datasets: at least two, by name; host arrays.
    render: turns drawings into images.

  Raises:
    UserError: other classes, or images of another size or other channels.
  """
  first, *others = datasets
  class_names = datasets[first].class_names
  for name in others:
    if {*datasets[name].class_names} != {*class_names}:
      only = {*datasets[name].class_names} ^ {*class_names}
      text = f"only one of {first!r} and {name!r} has {_some(only)}"
      expected = "expected the same classes, perhaps by `classes`; "
      raise UserError("conflict", f"data.sources.{name}", expected + text)
  content = {name: content_hash(d) for name, d in datasets.items()}
  flags = set.intersection(*({*d.flags} for d in datasets.values()))
  sizes = [len(d.label) for d in datasets.values()]
  at = {f"data.sources.{name}": d.source for name, d in datasets.items()}
  parts = of_one_kind(at, render)
  labels = [
    np.array([class_names.index(name) for name in d.class_names])[d.label]
    for d in datasets.values()
  ]
  return Dataset(
    source=join_sources(parts),
    label=np.concatenate(labels).astype(np.int32),
    key=np.concatenate([d.key for d in datasets.values()]),
    class_names=class_names,
    flags={
      flag: np.concatenate([d.flags[flag] for d in datasets.values()])
      for flag in flags
    },
    content=cache.digest(content),
    groups=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
    group_names=tuple(datasets),
    target=_join_targets([d.target for d in datasets.values()]),
    locate=_make_locate(datasets),
  )


def _join_targets(targets: list[np.ndarray | None]) -> np.ndarray | None:
  return None if targets[0] is None else np.concatenate(targets)


def _make_locate(datasets: Mapping[str, Dataset]) -> Locate:
  """Returns the function that finds rows of the joined data in its sources.

  A column that a source lacks is empty there.
  """
  # Without the examples, so that their memory can be freed.
  empty = Images(np.zeros((0, 1, 1, 1), np.uint8))
  parts = {name: d._replace(source=empty) for name, d in datasets.items()}
  start = np.cumsum([0, *(len(d.label) for d in datasets.values())])

  def locate_joined(row: np.ndarray) -> dict[str, np.ndarray]:
    source = np.searchsorted(start, row, "right") - 1
    columns = {"source": np.array([*parts])[source]}
    for i, part in enumerate(parts.values()):
      chosen = np.flatnonzero(source == i)
      for name, values in locate(part, row[chosen] - start[i]).items():
        column = columns.setdefault(name, np.full(len(row), "", object))
        column[chosen] = values
    return columns

  return locate_joined


def _some(names: set[str]) -> str:
  few = sorted(names)[:3]
  return ", ".join(map(repr, few)) + ", ..." * (len(names) > len(few))


def of_one_kind(
  sources: Mapping[str, Examples], render: Render
) -> list[Examples]:
  """Returns drawings with the same columns, or images or rows of one shape.

  Sources are named by their places, for errors.

  Raises:
    UserError: images of another size or other channels than the first's, or
      rows of other arrays.
  """
  if any(isinstance(source, Rows) for source in sources.values()):
    return _rows_of_one_kind(sources)
  if all(isinstance(source, Strokes) for source in sources.values()):
    columns = min(source.points.shape[1] for source in sources.values())
    return [s._replace(points=s.points[:, :columns]) for s in sources.values()]
  images = {
    name: render_all(s, render) if isinstance(s, Strokes) else s.image
    for name, s in sources.items()
  }
  (first, image), *others = images.items()
  for name, other in others:
    if other.shape[1:] != image.shape[1:]:
      shapes = f"{list(other.shape[1:])} and {list(image.shape[1:])} of {first}"
      text = f"expected images [H, W, C] of the same shape, got {shapes}"
      raise UserError("conflict", name, text)
  if len({image.dtype for image in images.values()}) == 1:
    return [Images(image) for image in images.values()]
  return [
    Images(image / np.float32(255) if image.dtype == np.uint8 else image)
    for image in images.values()
  ]


def _rows_of_one_kind(sources: Mapping[str, Examples]) -> list[Rows]:
  kinds = {name: _describe(source) for name, source in sources.items()}
  first = next(iter(kinds))
  for name, kind in kinds.items():
    if kind != kinds[first]:
      text = f"expected {kinds[first]}, as of {first}, got {kind}"
      raise UserError("conflict", name, text)
  return [*sources.values()]


def _describe(source: Examples) -> str:
  """Returns the shapes and types of rows, or the kind of other examples."""
  if not isinstance(source, Rows):
    return type(source).__name__.lower()
  one = jax.tree.map(lambda x: f"{list(x.shape[1:])} {x.dtype}", source.inputs)
  return f"rows of {one}"
