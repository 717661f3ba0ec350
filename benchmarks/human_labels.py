"""python -m benchmarks.human_labels --data CIFAR10N --out DIR [--labels ...]

Writes CIFAR-10 with the labels that people gave to its training images:
DIR/train.npz, and DIR/test.npz with the published labels, for
configs/evidence.py:regime=human. `--data` has train.npz and test.npz, with
`images`, `labels` and, of the first, CIFAR-10N's other labels (Wei et al. 2022,
"Learning with Noisy Labels Revisited").
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from alcurr.core import specs


def write(data: pathlib.Path, labels: str, out: pathlib.Path) -> float:
  """Writes both files, and returns the share of labels that differ."""
  out.mkdir(parents=True, exist_ok=True)
  with np.load(data / "train.npz") as file:
    specs.check_choice("--labels", labels, file.files)
    given, published = file[labels], file["labels"]
    np.savez(out / "train.npz", images=file["images"], labels=given)
  with np.load(data / "test.npz") as file:
    arrays = {name: file[name] for name in ("images", "labels")}
  np.savez(out / "test.npz", **arrays)
  return float((given != published).mean())


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.human_labels",
    description="CIFAR-10 with the labels that people gave.",
  )
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument("--labels", default="worse_label")
  parser.add_argument("--out", type=pathlib.Path, required=True)
  args = parser.parse_args(argv)
  share = write(args.data, args.labels, args.out)
  print(f"{args.out}: {share:.1%} of the training labels differ")


if __name__ == "__main__":
  main(sys.argv[1:])
