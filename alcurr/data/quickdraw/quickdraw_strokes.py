"""The TensorFlow Datasets builder `quickdraw_strokes`, of a user's own files.

TensorFlow Datasets has Quick, Draw! as bitmaps alone. This builder makes a set
of the drawings themselves, from a folder of files as `quickdraw.find` takes it,
which is its `manual_dir`. `python -m alcurr.data tfds` runs it, for which no
TensorFlow is needed; where there is one, `tfds build` does so too.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from alcurr.core.errors import UserError
from alcurr.data.quickdraw import class_files, reader, records


class QuickdrawStrokes(tfds.core.GeneratorBasedBuilder):
  """Drawings as strokes, with what their file says of them."""

  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Put the files of Quick, Draw! there: <class>.ndjson or .bin of Google's, "
    "or .csv of Kaggle's, one for each class."
  )

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      # x, y, and 1 at the last point of each stroke.
      "strokes": tfds.features.Tensor(shape=(None, 3), dtype=np.uint8),
      "label": tfds.features.ClassLabel(),
      "recognized": np.bool_,
      "countrycode": tfds.features.Text(),  # "" where the file does not say
      "key_id": tfds.features.Text(),  # likewise
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
    files = find(pathlib.Path(dl_manager.manual_dir))
    # The classes are those of the folder, and known only now.
    self.info.features["label"].names = list(files)
    return {"train": self._generate_examples(files)}

  def _generate_examples(
    self, files: dict[str, pathlib.Path]
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, path in files.items():
      drawings = class_files.read_records(path)
      for index, record in enumerate(drawings):
        yield f"{name}/{index}", _example(record, name, index)


def find(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """The files of drawings by class name, sorted.

  Raises:
    UserError: as `quickdraw.find`, or they are bitmaps.
  """
  files = reader.find(folder)
  if any(path.suffix == ".npy" for path in files.values()):
    raise UserError(
      f"{folder} holds bitmaps, which have no strokes; give .ndjson, .csv or "
      ".bin files."
    )
  return dict(sorted(files.items()))


def _example(record: records.Record, name: str, index: int) -> dict[str, Any]:
  points, lengths = record.drawing
  last = np.zeros(len(points), np.uint8)
  last[np.cumsum(lengths) - 1] = 1
  return {
    "strokes": np.column_stack([points[:, :2], last]),
    "label": name,
    "recognized": record.recognized,
    # JSON may escape half a surrogate pair, which UTF-8 has no bytes for.
    "countrycode": record.country.encode(errors="surrogatepass"),
    "key_id": (record.key_id or "").encode(errors="surrogatepass"),
    "index": index,
  }
