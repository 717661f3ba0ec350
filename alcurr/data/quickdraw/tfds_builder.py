"""The TensorFlow Datasets builder `quickdraw_strokes`, for a user's own files.

TensorFlow Datasets has Quick, Draw! as bitmaps only. This builder makes a set
of the drawings in a folder of files, its `manual_dir`. It is run by
`python -m alcurr.data tfds` without TensorFlow, or by `tfds build` with it.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from alcurr.core import paths
from alcurr.core.errors import UserError
from alcurr.data.quickdraw import items, reader, records


class QuickdrawStrokes(tfds.core.GeneratorBasedBuilder):
  """Drawings as strokes, with the other fields of their files."""

  VERSION = tfds.core.Version("1.0.0")
  options = records.Options()  # how the files are read
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Put a file of Quick, Draw! there for each class: Google's <class>.ndjson "
    "or .bin, or Kaggle's .csv."
  )

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      # x, y, and 1 at the last point of each stroke.
      "strokes": tfds.features.Tensor(shape=(None, 3), dtype=np.uint8),
      "label": tfds.features.ClassLabel(),
      "recognized": np.bool_,
      "countrycode": tfds.features.Text(),  # "" where the file does not say
      "key_id": tfds.features.Text(),  # "" likewise
      "index": np.int64,  # place in its class's file, from 0
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
    files = _find(pathlib.Path(dl_manager.manual_dir))
    # The folder has the names of the classes.
    self.info.features["label"].names = list(files)
    return {"train": self._generate_examples(files)}

  def _generate_examples(
    self, files: dict[str, pathlib.Path]
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, path in files.items():
      for index, record in enumerate(records.read_file(path, self.options)):
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
  folder = pathlib.Path(builder.data_dir)
  if folder.exists():
    raise UserError("exists", "OUT", f"{folder} exists already")
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(
      manual_dir=args.source, try_download_gcs=False
    )
  )
  print(
    f"{builder.info.splits['train'].num_examples} drawings. Read them with "
    f"--config.data.source=tfds --config.data.dir={folder}"
  )
