"""Makes five sources under one set of class names, and a target to be good at.

  python -m benchmarks.five_sources --target numpy_bitmap \
    --foreign fashion_mnist/train.npz --out five_sources
  python -m alcurr.main \
    --config=configs/evidence.py:regime=sources,probe=128,dir=five_sources

A folder of .npz files. The sources, for `data.sources`, have the same number of
images of each class:

  real        images of the target's own kind
  mislabelled the same kind, every label exchanged for that of another class
  foreign     images of another dataset, under the target's class names
  distorted   the target's kind, turned, scaled, shifted and covered with noise
  synthetic   generated doodles, under the target's class names

`valid.npz` and `test.npz` have images of the target to validate and test on,
and `probe<n>.npz` n trusted ones, the smaller probes part of the larger. No
other image is in two of the files.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from alcurr.data import array_files, augment
from alcurr.data.pool import Dataset
from alcurr.data.quickdraw import reader, synthetic
from alcurr.data.render import make_render, render_all
from alcurr.types import Strokes
from benchmarks import arguments

SOURCES = ("real", "mislabelled", "foreign", "distorted", "synthetic")


class Labelled(NamedTuple):
  """Images [N, H, W] uint8 with labels [N], indices into the class names."""

  image: np.ndarray
  label: np.ndarray


def read(path: pathlib.Path, classes: str = "all") -> Dataset:
  """Reads a .npz of images, or a folder of Quick, Draw! files."""
  if path.suffix == ".npz":
    return array_files.load_npz(path)
  return reader.load(path, classes=classes)[0]


def images_of(dataset: Dataset) -> np.ndarray:
  """Returns images [N, H, W] uint8; drawings are rendered."""
  source = dataset.source
  if isinstance(source, Strokes):
    return render_all(source, make_render())[..., 0]
  return np.asarray(source.image)[..., 0]


def deal(
  label: np.ndarray, sizes: Sequence[int], rng: np.random.Generator
) -> list[np.ndarray]:
  """Deals examples out: an index for each size, with even shares of classes.

  The first classes have one example more where the size is no multiple.

  Raises:
    ValueError: a class has too few examples.
  """
  num_classes = int(label.max()) + 1
  rows = [
    rng.permutation(np.flatnonzero(label == c)) for c in range(num_classes)
  ]
  parts: list[list[np.ndarray]] = [[] for _ in sizes]
  for c, row in enumerate(rows):
    counts = [n // num_classes + (c < n % num_classes) for n in sizes]
    if sum(counts) > len(row):
      text = f"class {c} has {len(row)} examples, fewer than {sum(counts)}"
      raise ValueError(text)
    for part, chosen in zip(
      parts, np.split(row[: sum(counts)], np.cumsum(counts)[:-1]), strict=True
    ):
      part.append(chosen)
  return [rng.permutation(np.concatenate(part)) for part in parts]


def derangement(count: int, rng: np.random.Generator) -> np.ndarray:
  """Returns a permutation [count] that leaves nothing in its place."""
  order = rng.permutation(count)  # of a single cycle
  other = np.empty(count, int)
  other[order] = np.roll(order, 1)
  return other


def distort(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Turns, scales and shifts images, and replaces a tenth of the pixels."""
  change = augment.affine(rotate=45.0, scale=0.3, shift=0.15)
  key = jax.random.key(int(rng.integers(2**31)))
  moved = change(key, (image / np.float32(255))[..., None])
  moved = np.rint(np.asarray(moved)[..., 0] * 255).astype(np.uint8)
  noise = rng.integers(0, 256, image.shape, np.uint8)
  return np.where(rng.random(image.shape) < 0.1, noise, moved)


def make(
  target: Dataset,
  foreign: Dataset,
  *,
  size: int,
  valid_size: int,
  test_size: int,
  probes: Sequence[int],
  seed: int,
) -> dict[str, Labelled]:
  """Returns the five sources, the target and the probes by name.

  Args:
    target: images of the classes to be good at.
    foreign: images of other classes, of the same shape; the label of its i-th
      class becomes the i-th of the target, from the first again after the last.
    size: images of each source.
    valid_size: images of the target to validate on.
    test_size: images of the target to test on.
    probes: sizes of the probes.
    seed: of everything random.

  Raises:
    ValueError: a class has too few examples.
  """
  rng = np.random.default_rng(seed)
  num_classes = len(target.class_names)
  image, label = images_of(target), target.label
  sizes = [size, size, size, valid_size, test_size, max(probes)]
  real, mislabelled, distorted, valid, test, probe = (
    Labelled(image[index], label[index]) for index in deal(label, sizes, rng)
  )
  # Where the foreign classes are fewer, several names share their images.
  other = foreign.label % num_classes
  known = int(other.max()) + 1
  num_names = -(-(num_classes - other) // known)  # of the class of each image
  other = other + known * (np.arange(len(other)) // known % num_names)
  (chosen,) = deal(other, [size], rng)
  doodles = synthetic.make_synthetic(size, seed=seed, num_classes=num_classes)
  parts = {
    "real": real,
    "mislabelled": mislabelled._replace(
      label=derangement(num_classes, rng)[mislabelled.label]
    ),
    "foreign": Labelled(images_of(foreign)[chosen], other[chosen]),
    "distorted": distorted._replace(image=distort(distorted.image, rng)),
    "synthetic": Labelled(images_of(doodles), doodles.label),
    "valid": valid,
    "test": test,
  }
  # In turn by class, so that every part of the probe has even shares.
  turn = np.zeros(len(probe.label), int)
  for c in range(num_classes):
    row = np.flatnonzero(probe.label == c)
    turn[row] = np.arange(len(row))
  order = np.argsort(turn, kind="stable")
  for count in probes:
    part = order[:count]
    parts[f"probe{count}"] = Labelled(probe.image[part], probe.label[part])
  return parts


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.five_sources",
    description=__doc__.split("\n\n")[0],
    formatter_class=argparse.ArgumentDefaultsHelpFormatter,
  )
  text = "a .npz file of images, or a folder of Quick, Draw! files"
  parser.add_argument("--target", type=pathlib.Path, required=True, help=text)
  parser.add_argument("--foreign", type=pathlib.Path, required=True, help=text)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument(
    "--classes",
    default="all",
    help="of a folder that is the target: names with commas, or a number",
  )
  parser.add_argument("--size", type=arguments.number, default=1200)
  parser.add_argument("--valid_size", type=arguments.number, default=1200)
  parser.add_argument("--test_size", type=arguments.number, default=4800)
  parser.add_argument(
    "--probes", type=arguments.numbers, default=[32, 128, 512]
  )
  parser.add_argument("--seed", type=arguments.number, default=1)
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  target = read(args.target, args.classes)
  parts = make(
    target,
    read(args.foreign),
    size=args.size,
    valid_size=args.valid_size,
    test_size=args.test_size,
    probes=args.probes,
    seed=args.seed,
  )
  args.out.mkdir(parents=True, exist_ok=True)
  for name, part in parts.items():
    names = np.array(target.class_names)[part.label]
    np.savez(args.out / f"{name}.npz", images=part.image, labels=names)
    print(f"{name}.npz: {len(part.label)} images")


if __name__ == "__main__":
  main(sys.argv[1:])
