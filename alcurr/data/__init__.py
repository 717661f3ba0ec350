"""Data: from arrays, files or generated drawings to a pool on the device.

`from_arrays` or a loader gives a `Dataset` on the host, `split` divides it,
`make_pool` puts a part on the device, and `make_gather` draws batches from it.
Partitions of a pool into arms are in `PARTITIONS`, augmentations in `AUGMENTS`.
"""

from alcurr.data.array_files import load_npz
from alcurr.data.arrays import from_arrays
from alcurr.data.augment import AUGMENTS, affine
from alcurr.data.host_store import make_fetch, make_lookup
from alcurr.data.partitions import (
  PARTITIONS,
  by_group,
  by_label,
  by_label_and_difficulty,
  difficulty_in_class,
  difficulty_in_pool,
  make_partition,
  shuffled,
)
from alcurr.data.planted import add_label_noise
from alcurr.data.pool import (
  Dataset,
  concatenate,
  host_pool,
  make_gather,
  make_pool,
  on_device,
  take,
)
from alcurr.data.quickdraw.synthetic import make_synthetic
from alcurr.data.render import make_render, render_all
from alcurr.data.sources import SOURCES
from alcurr.data.splitting import split

__all__ = [
  "AUGMENTS",
  "PARTITIONS",
  "SOURCES",
  "Dataset",
  "add_label_noise",
  "affine",
  "by_group",
  "by_label",
  "by_label_and_difficulty",
  "concatenate",
  "difficulty_in_class",
  "difficulty_in_pool",
  "from_arrays",
  "host_pool",
  "load_npz",
  "make_fetch",
  "make_gather",
  "make_lookup",
  "make_partition",
  "make_pool",
  "make_render",
  "make_synthetic",
  "on_device",
  "render_all",
  "shuffled",
  "split",
  "take",
]
