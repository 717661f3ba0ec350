"""python -m alcurr.data inspect: what is in a folder before it is trained on.

A row for each class: how many drawings, the share that was recognized, and
quantiles of their strokes and points; and, if asked for, some of each drawn.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from alcurr.core.errors import UserError
from alcurr.data import cache, parallel
from alcurr.data.quickdraw import packed, reader, sheet, strokes
from alcurr.data.quickdraw.class_files import read_blocks, total
from alcurr.types import Images, Strokes

_QUANTILES = (0.05, 0.5, 0.95)
_SOME = 8  # drawings of a class that are shown


class Summary(NamedTuple):
  """What is told of a class of n drawings."""

  key: np.ndarray  # [n] uint64
  strokes: np.ndarray  # [n] uint32, strokes of each; [0] for bitmaps
  points: np.ndarray  # [n] uint32, points of each; [0] for bitmaps
  some: Strokes | Images  # the few of the smallest keys, which are hashes
  recognized: np.ndarray  # [n] bool; [0] for bitmaps
  skipped: dict[str, int]  # by reason


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "folder",
    metavar="DIR",
    type=pathlib.Path,
    help="a folder of files, bad drawings of which are counted, or prepared",
  )
  parser.add_argument(
    "--out",
    metavar="FILE",
    type=pathlib.Path,
    help="a picture (.png) of some drawings of each class",
  )


def run(args: argparse.Namespace) -> None:
  if args.out and (args.out.suffix != ".png" or not args.out.parent.is_dir()):
    raise UserError(f"--out {args.out}: name a .png in a folder that is there.")
  found = summarize_folder(args.folder)
  print(_told(args.folder, found))
  print(table(found).to_string())
  if args.out:
    sheet.write(args.out, {name: each.some for name, each in found.items()})
    print(args.out, file=sys.stderr)


def summarize_folder(folder: pathlib.Path) -> dict[str, Summary]:
  """The classes of a folder of files or of a prepared store, by name.

  Memory: 17 bytes a drawing, and what `read_blocks` takes.

  Raises:
    UserError: nothing to read, or a file without a good drawing.
  """
  if (folder / cache.MANIFEST).is_file():
    return dict(_of_store(folder))
  files = reader.find(folder)
  names = sorted(files)
  paths = [files[name] for name in names]
  summaries = parallel.each_file(_of_file, paths, "reading")
  return dict(zip(names, summaries, strict=True))


def table(found: dict[str, Summary]) -> pd.DataFrame:
  """A row for each class, and one for all."""
  rows = {name: _row([each]) for name, each in found.items()}
  return pd.DataFrame.from_dict(
    {**rows, "all": _row(list(found.values()))}, orient="index"
  )


def _row(parts: list[Summary]) -> dict[str, object]:
  row: dict[str, object] = {"drawings": sum(len(p.key) for p in parts)}
  known = np.concatenate([part.recognized for part in parts])
  if len(known):
    row["recognized"] = f"{known.mean():.1%}"
  for what in ("strokes", "points"):
    lengths = np.concatenate([getattr(part, what) for part in parts])
    if len(lengths):
      found = np.quantile(lengths, _QUANTILES).round().astype(int).tolist()
      for q, length in zip(_QUANTILES, found, strict=True):
        row[f"{what} {q:.0%}"] = length
  return row


def _told(folder: pathlib.Path, found: dict[str, Summary]) -> str:
  """Of all classes in a few lines."""
  drawings = sum(len(each.key) for each in found.values())
  lines = [f"{folder}: {drawings} drawings of {len(found)} classes"]
  keys = np.concatenate([each.key for each in found.values()])
  if twice := drawings - len(np.unique(keys)):
    lines.append(f"keys that stand there more than once: {twice} drawings")
  skipped = total(each.skipped for each in found.values())
  lines += [f"left out: {n} {reason}" for reason, n in skipped.items()]
  return "\n".join(lines)


def _summary(source: Strokes | Images, key: np.ndarray, **more) -> Summary:
  few = np.argsort(key)[:_SOME]
  if isinstance(source, Images):
    none = np.zeros(0, np.uint32)
    return Summary(key, none, none, Images(source.image[few]), **more)
  of_drawing = source.stroke_start[source.drawing_start]
  return Summary(
    key,
    np.diff(source.drawing_start).astype(np.uint32),
    np.diff(of_drawing).astype(np.uint32),
    strokes.take_strokes(source, few),
    **more,
  )


def _of_file(path: pathlib.Path) -> Summary:
  """Block by block; of their few drawings the few of the smallest keys stay."""
  whole = None
  for block in read_blocks(path, skip=True):
    bitmaps = isinstance(block.source, Images)
    part = _summary(
      block.source,
      block.key,
      recognized=block.recognized[:0] if bitmaps else block.recognized,
      skipped=block.skipped,
    )
    whole = part if whole is None else _both(whole, part)
  return whole


def _both(first: Summary, second: Summary) -> Summary:
  joined = {
    field: np.concatenate([getattr(first, field), getattr(second, field)])
    for field in ("key", "strokes", "points", "recognized")
  }
  keys = np.concatenate([np.sort(x.key)[:_SOME] for x in (first, second)])
  few = np.argsort(keys)[:_SOME]
  if isinstance(first.some, Images):
    some = Images(np.concatenate([first.some.image, second.some.image])[few])
  else:
    both = strokes.concatenate([first.some, second.some])
    some = strokes.take_strokes(both, few)
  skipped = total([first.skipped, second.skipped])
  return Summary(**joined, some=some, skipped=skipped)


def _of_store(folder: pathlib.Path) -> Iterator[tuple[str, Summary]]:
  dataset, manifest = packed.open_store(folder)
  start = 0
  for name, count in manifest["classes"].items():
    rows = slice(start, start + count)
    source = dataset.source
    if isinstance(source, Images):
      source = Images(source.image[rows])
    else:
      drawings = source.drawing_start[start : start + count + 1]
      source = source._replace(drawing_start=drawings)
    known = dataset.flags.get("recognized", np.zeros(0, bool))[rows]
    skipped = manifest["skipped_in"].get(name, {})
    yield (
      name,
      _summary(source, dataset.key[rows], recognized=known, skipped=skipped),
    )
    start += count
