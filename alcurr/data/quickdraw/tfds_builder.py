"""The TensorFlow Datasets builder `quickdraw_strokes`, for a user's own files.

TensorFlow Datasets has Quick, Draw! as bitmaps only. This builder makes a set
of the drawings in a folder of files, or in one file, its `manual_dir`. It is
run by `python -m alcurr.data tfds` without TensorFlow, or by `tfds build` with
it.
"""

import argparse
import collections
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from alcurr.core import paths
from alcurr.core.errors import UserError
from alcurr.data.quickdraw import by_class, items, reader, records


class QuickdrawStrokes(tfds.core.GeneratorBasedBuilder):
  """Drawings as strokes, with the other fields of their files."""

  VERSION = tfds.core.Version("1.0.0")
  options = records.Options()  # how the files are read
  source: pathlib.Path | None = None  # a file or folder; None: the manual_dir
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Put a file of Quick, Draw! there for each class: Google's <class>.ndjson "
    "or .bin, or Kaggle's .csv; or one file of drawings with their words."
  )

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      # x, y, and 1 at the last point of each stroke.
      "strokes": tfds.features.Tensor(shape=(None, 3), dtype=np.uint8),
      "label": tfds.features.ClassLabel(),
      "recognized": np.bool_,
      "countrycode": tfds.features.Text(),  # "" where the file does not say
      "key_id": tfds.features.Text(),  # "" likewise
      "index": np.int64,  # place in its file, from 0
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(features),
      supervised_keys=("strokes", "label"),
      homepage="https://github.com/googlecreativelab/quickdraw-dataset",
      license="CC BY 4.0",
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator]:
    files = _find(self.source or pathlib.Path(dl_manager.manual_dir))
    names, path = {}, next(iter(files.values()))
    if len(files) == 1 and items.ending(path) != ".bin":
      found = records.read_file(path, self.options, one_word=False)
      count = collections.Counter(record.word.strip() for record in found)
      names = by_class.name_words(path, count)
    # The files have the names of the classes.
    self.info.features["label"].names = sorted({*names.values()} or files)
    return {"train": self._generate_examples(files, names)}

  def _generate_examples(
    self, files: dict[str, pathlib.Path], names: dict[str, str]
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    for file, path in files.items():
      found = records.read_file(path, self.options, one_word=not names)
      for index, record in enumerate(found):
        name = names.get(record.word.strip(), file)
        points, lengths = record.drawing
        last = np.zeros(len(points), np.uint8)
        last[np.cumsum(lengths) - 1] = 1
        example = {
          "strokes": np.column_stack([points[:, :2], last]),
          "label": name,
          "recognized": record.recognized,
          # JSON may escape half a surrogate pair, which UTF-8 cannot encode.
          "countrycode": record.country.encode(errors="surrogatepass"),
          "key_id": (record.key_id or "").encode(errors="surrogatepass"),
          "index": index,
        }
        yield f"{name}/{index}", example


def _find(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  files = reader.find(folder)
  if any(items.ending(path) == ".npy" for path in files.values()):
    text = "expected .ndjson, .csv or .bin files, got bitmaps"
    raise UserError("unsupported", folder, text)
  return files


def run(args: argparse.Namespace) -> None:
  """Runs the command; a killed run starts over.

  Memory: some thousand drawings. Disk: the set twice until it is complete.

  Raises:
    UserError: nothing to read, a bad drawing or file, or an existing set.
    OSError: the disk is full or broken.
  """
  _find(args.source)
  paths.check_can_make(args.out, "OUT")
  builder = QuickdrawStrokes(data_dir=args.out, file_format="array_record")
  builder.options = records.Options("raise", args.stroke_form, args.max_bytes)
  builder.source = args.source
  folder = pathlib.Path(builder.data_dir)
  if folder.exists():
    raise UserError("exists", "OUT", f"{folder} exists already")
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  manual = args.source if args.source.is_dir() else args.source.parent
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(
      manual_dir=manual, try_download_gcs=False
    )
  )
  print(
    f"{builder.info.splits['train'].num_examples} drawings. Read them with "
    f"--config.data.source=tfds --config.data.dir={folder}"
  )
