"""python -m alcurr.data tfds: a folder of files as a TensorFlow Dataset.

The set `quickdraw_strokes`, which TensorFlow Datasets, and data.source=tfds,
read: at random places, without TensorFlow.
"""

import argparse
import pathlib
import sys

from alcurr.core import paths
from alcurr.core.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "source",
    metavar="SOURCE",
    type=pathlib.Path,
    help="a folder of <class>.ndjson, .bin or .csv files",
  )
  parser.add_argument(
    "out",
    metavar="OUT",
    type=pathlib.Path,
    help="a folder of sets of TensorFlow Datasets, such as "
    "~/tensorflow_datasets",
  )


def run(args: argparse.Namespace) -> None:
  folder, count = publish(args.source, args.out)
  print(
    f"{count} drawings. Read them with --config.data.source=tfds "
    f"--config.data.dir={folder}"
  )


def publish(
  source: pathlib.Path, out: pathlib.Path
) -> tuple[pathlib.Path, int]:
  """Makes the set; one that was cut off is begun again.

  Memory: of some thousand drawings. Disk: the set twice until it is whole.

  Args:
    source: a directory of drawings as `quickdraw.load` reads it.
    out: where sets lie.

  Returns:
    The set's folder, and the number of drawings.

  Raises:
    UserError: nothing to read, a bad drawing or file, or a set that is there.
    OSError: the disk is full or broken.
  """
  # A second to import, which the other commands do not wait for.
  import tensorflow_datasets as tfds

  from alcurr.data.quickdraw import quickdraw_strokes

  quickdraw_strokes.find(source)
  paths.check_can_make(out, "OUT")
  builder = quickdraw_strokes.QuickdrawStrokes(
    data_dir=out, file_format="array_record"
  )
  folder = pathlib.Path(builder.data_dir)
  if folder.exists():
    raise UserError(f"{folder} is there; delete it, or choose another OUT.")
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(
      manual_dir=source.absolute(), try_download_gcs=False
    )
  )
  return folder, builder.info.splits["train"].num_examples
