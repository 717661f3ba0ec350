"""python -m alcurr.data inspect: counts and draws the drawings of a folder.

Prints a row for each class: the drawings, the share that was recognized, and
quantiles of their strokes and points.
"""

import argparse
import functools
import itertools
import pathlib
import sys
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.data import cache, parallel, strokes
from alcurr.data.pool import take, take_source
from alcurr.data.quickdraw import by_class, items, packed, reader, records
from alcurr.data.render import make_render, render_all
from alcurr.types import Images, Strokes

_QUANTILES = (0.05, 0.5, 0.95)
_FEW = 8  # drawings of a class that are shown
_CLASSES = 40  # in a column of the picture
_NAME, _CELL = 150, 30  # pixels of a name, and of a drawing with its margin


class Summary(NamedTuple):
  """A class of n drawings."""

  drawings: pd.DataFrame  # [n]: key; strokes, points, recognized of drawings
  few: Strokes | Images  # the drawings of the smallest keys, which are hashes
  skipped: dict[str, int]  # by reason


def run(args: argparse.Namespace) -> None:
  """Runs the command."""
  if args.out and (args.out.suffix != ".png" or not args.out.parent.is_dir()):
    text = f"expected a .png in an existing folder, got {args.out}"
    raise UserError("argument", "--out", text)
  summaries = summarize_folder(args.folder, args.stroke_form, args.max_bytes)
  parts = summaries.values()
  keys = np.concatenate([part.drawings["key"] for part in parts])
  print(f"{args.folder}: {len(keys)} drawings of {len(parts)} classes")
  if repeated := by_class.count_repeated(keys):
    print(f"repeated keys: {repeated} drawings")
  skipped = by_class.add_counts(part.skipped for part in parts)
  for reason, count in skipped.items():
    print(f"skipped: {count} {reason}")
  print(make_table(summaries).to_string())
  if args.out:
    write_picture(args.out, summaries)
    print(args.out, file=sys.stderr)


def summarize_folder(
  folder: pathlib.Path, stroke_form: str = "", max_bytes: int = items.MAX_BYTES
) -> dict[str, Summary]:
  """Returns the classes of a folder of files or of a prepared store, by name.

  For the options see `reader.load`; bad drawings are skipped and counted.

  Memory: 25 bytes a drawing, and that of `reader.read_class`.

  Raises:
    UserError: nothing to read, or a file without a good drawing.
  """
  if (folder / cache.MANIFEST).is_file():
    dataset, manifest = packed.open_store(folder)
    summaries, start = {}, 0
    for name, count in manifest["classes"].items():
      part = take(dataset, np.arange(start, start + count))
      skipped = manifest["skipped_in"].get(name, {})
      file = by_class.ClassFile(part.source, part.key, part.flags, skipped, {})
      summaries[name] = _summarize(file)
      start += count
    return summaries
  files = reader.find(folder)
  options = records.Options("skip", stroke_form, max_bytes)._asdict()
  if len(files) == 1:  # of several classes
    parts = reader.read_files(files, **options)
    return {name: _summarize(part) for name, part in parts.items()}
  summarize = functools.partial(_summarize_file, **options)
  parts = parallel.each_file(summarize, list(files.values()), "reading")
  return dict(zip(files, parts, strict=True))


def make_table(summaries: dict[str, Summary]) -> pd.DataFrame:
  """Returns a row for each class, and one for all."""
  tables = {name: summary.drawings for name, summary in summaries.items()}
  tables["all"] = pd.concat(tables.values())
  rows = {name: _row(table) for name, table in tables.items()}
  return pd.DataFrame.from_dict(rows, orient="index")


def _row(drawings: pd.DataFrame) -> dict[str, object]:
  row: dict[str, object] = {"drawings": len(drawings)}
  if "recognized" in drawings:
    row["recognized"] = f"{drawings['recognized'].mean():.1%}"
    for column, q in itertools.product(("strokes", "points"), _QUANTILES):
      row[f"{column} {q:.0%}"] = round(drawings[column].quantile(q))
  return row


def _summarize(part: by_class.ClassFile) -> Summary:
  source, columns = part.source, {"key": part.key, **part.flags}
  if isinstance(source, Strokes):
    points_start = source.stroke_start[source.drawing_start]
    columns["strokes"] = strokes.lengths(source.drawing_start)
    columns["points"] = strokes.lengths(points_start)
  few = take_source(source, np.argsort(part.key)[:_FEW])
  return Summary(pd.DataFrame(columns), few, part.skipped)


def _summarize_file(path: pathlib.Path, **options: Any) -> Summary:
  return _summarize(reader.read_class(path, **options))


def write_picture(path: pathlib.Path, summaries: dict[str, Summary]) -> None:
  """Writes a .png with a row of drawings for each class, next to its name."""
  parts = [summary.few for summary in summaries.values()]
  if isinstance(parts[0], Images):
    images = [part.image for part in parts]
  else:
    image = render_all(strokes.concatenate(parts), make_render(size=28))
    count = [len(part.drawing_start) - 1 for part in parts]
    images = np.split(image, np.cumsum(count)[:-1])
  rows = min(len(parts), _CLASSES)
  width = _NAME + max(map(len, images)) * _CELL
  canvas = Image.new("L", (-(-len(parts) // rows) * width, rows * _CELL), 255)
  pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
  for i, (name, image) in enumerate(zip(summaries, images, strict=True)):
    column, row = divmod(i, rows)
    left, top = column * width + _NAME, row * _CELL
    pen.text((left - 4, top + _CELL / 2), name, 0, font, "rm")
    cells = np.pad(image[..., 0], ((0, 0), (1, 1), (1, 1)))
    canvas.paste(Image.fromarray(255 - np.hstack(cells)), (left, top))
  files.write_file(path, lambda file: canvas.save(file, "png"))
