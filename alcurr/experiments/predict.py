"""python -m alcurr.experiments.predict RUN [RUN ...] --data=FILE --out=FILE

Writes a submission to Kaggle's Doodle Recognition challenge: the three most
probable classes of each drawing of test_simplified.csv or test_raw.csv. In a
notebook: `predict_probabilities("runs/kaggle/runs/uniform", inputs)`.
"""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from alcurr.core import cli
from alcurr.core.errors import UserError
from alcurr.data import image_values, strokes
from alcurr.data.quickdraw import kaggle, submission
from alcurr.experiments import ensemble
from alcurr.types import Images, Strokes


class Prediction(NamedTuple):
  """The classes, and the probability of each for N inputs."""

  class_names: tuple[str, ...]  # [V]
  probability: np.ndarray  # [N, V] float32


def predict_probabilities(
  run: str | pathlib.Path | Sequence[str | pathlib.Path],
  inputs: Strokes | Sequence[list] | Any,
  trials: Sequence[int] | None = None,
  flips: bool = False,
) -> Prediction:
  """Returns the probabilities of the classes by finished runs.

  Args:
    run: a folder `<workdir>/runs/<sampler>`, or several, which are averaged.
    inputs: an array of images of the shape and range that the run was trained
      on. For runs on drawings also a list of N drawings in Google's
      simplified form, lists of strokes [[x...], [y...]] of integers from 0 to
      255; or packed strokes.
    trials: of each run, from 0; None for all that did not diverge.
    flips: average with the mirror images, left for right.

  Raises:
    UserError: a run or an input cannot be used.
  """
  folders = [run] if isinstance(run, str | pathlib.Path) else list(run)
  members = ensemble.load(folders, trials)
  source = _as_source(inputs, members[0].image_options)
  batches = ensemble.probabilities(members, source, flips)
  return Prediction(members[0].class_names, np.concatenate(list(batches)))


def _as_source(
  inputs: Any, image_options: Mapping[str, Any]
) -> Strokes | Images:
  if hasattr(inputs, "ndim"):
    return Images(image_values.check_images(inputs, **image_options))
  if not isinstance(inputs, Strokes):
    drawings = []
    for number, drawing in enumerate(inputs):
      try:
        drawings.append(strokes.parse_simplified(drawing))
      except strokes.BadDrawingError as error:
        raise UserError("data", f"inputs[{number}]", str(error)) from error
    inputs = strokes.pack(drawings)
  if len(inputs.drawing_start) < 2:
    raise UserError("data", "inputs", "expected at least one, got none")
  return inputs


def best_classes(probability: np.ndarray, count: int) -> np.ndarray:
  """Returns the most probable of [b, V]: [b, count] int; ties by number."""
  return np.argsort(-probability, axis=1, kind="stable")[:, :count]


def submit(
  runs: Sequence[pathlib.Path],
  data: pathlib.Path,
  out: pathlib.Path,
  trials: Sequence[int] | None = None,
  flips: bool = False,
) -> None:
  """Writes a submission for Kaggle's test file `data` to the new file `out`.

  For the other arguments see `predict_probabilities`. Memory: the packed
  drawings, and a batch of each run's experiment.

  Raises:
    UserError: a run, the test file or the place cannot be used.
  """
  if out.exists():
    raise UserError("exists", "--out", f"expected a new file, {out} exists")
  if not out.parent.is_dir():
    raise UserError("missing", "--out", f"there is no folder {out.parent}")
  members = ensemble.load(runs, trials)
  words = submission.words_of(members[0].class_names)
  drawings, key = kaggle.read_test(data)
  submission.check_keys(key, data)
  best = []
  with tqdm(
    total=len(key), unit=" drawings", disable=not sys.stderr.isatty()
  ) as bar:
    for probability in ensemble.probabilities(members, drawings, flips):
      best.append(best_classes(probability, submission.MOST_WORDS))
      bar.update(len(probability))
  submission.write(out, key, np.concatenate(best), words)


def _trials(text: str) -> list[int]:
  with contextlib.suppress(ValueError):
    trials = [int(word) for word in text.split(",")]
    if len(set(trials)) == len(trials):
      return trials
  raise argparse.ArgumentTypeError(
    f"expected different trials with commas, such as 0,2, got {text!r}"
  )


def _submit(argv: Sequence[str]) -> None:
  parser = cli.Parser(
    prog="python -m alcurr.experiments.predict",
    description="Writes a submission to Kaggle's Doodle Recognition challenge: "
    "the three most probable classes of each drawing of its test file.",
  )
  parser.add_argument(
    "runs",
    metavar="RUN",
    nargs="+",
    type=pathlib.Path,
    help="a finished run, WORKDIR/runs/SAMPLER; several runs of the same "
    "classes are averaged",
  )
  file = {"metavar": "FILE", "type": pathlib.Path, "required": True}
  parser.add_argument(
    "--data", help="test_simplified.csv or test_raw.csv", **file
  )
  parser.add_argument("--out", help="a new file", **file)
  parser.add_argument(
    "--trials",
    metavar="0,1,...",
    type=_trials,
    help="the trials of each run to average, from 0; default all",
  )
  parser.add_argument(
    "--flips",
    action="store_true",
    help="average with the mirror images, left for right",
  )
  args = parser.parse_args(argv)
  submit(args.runs, args.data, args.out, args.trials, args.flips)
  print(args.out)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _submit(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
