"""python -m alcurr.experiments.predict RUN [RUN ...] --data=FILE --out=FILE

Kaggle's Doodle Recognition challenge: the three likeliest classes of each
drawing of test_simplified.csv (or test_raw.csv), as a file to submit. In a
notebook: `predict("runs/kaggle/runs/uniform", drawings)`.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from alcurr.core import cli
from alcurr.core.errors import UserError
from alcurr.data.quickdraw import kaggle, strokes, submission
from alcurr.experiments import ensemble
from alcurr.types import Strokes


class Prediction(NamedTuple):
  class_names: tuple[str, ...]  # [V]
  probability: np.ndarray  # [N, V] float32


def predict_probabilities(
  run: str | pathlib.Path | Sequence[str | pathlib.Path],
  drawings: Strokes | Sequence[list],
  trials: Sequence[int] | None = None,
  flips: bool = False,
) -> Prediction:
  """What finished runs say of drawings.

  Args:
    run: a folder `<workdir>/runs/<sampler>`, or several that are averaged.
    drawings: N, each in Google's simplified form, a list of strokes
      [[x...], [y...]] of whole numbers from 0 to 255; or packed strokes.
    trials: which of each run, from 0; None for all.
    flips: average with the mirror images, left for right.

  Raises:
    UserError: a run or a drawing that cannot be used.
  """
  folders = [run] if isinstance(run, str | pathlib.Path) else list(run)
  if not isinstance(drawings, Strokes):
    drawings = _pack(drawings)
  if len(drawings.drawing_start) < 2:
    raise UserError("there is no drawing to look at; give one at least.")
  runs = ensemble.load(folders, trials)
  batches = list(ensemble.probabilities(runs, drawings, flips))
  return Prediction(runs.class_names, np.concatenate(batches))


def _pack(drawings: Sequence[list]) -> Strokes:
  packed = []
  for number, drawing in enumerate(drawings):
    try:
      packed.append(strokes.parse_simplified(drawing))
    except strokes.BadDrawingError as error:
      raise UserError(f"drawing {number}: {error}; mend it.") from error
  return strokes.pack(packed)


def best_classes(probability: np.ndarray, count: int) -> np.ndarray:
  """The likeliest of [b, V]: [b, count] int, of equal ones the lower first."""
  return np.argsort(-probability, axis=1, kind="stable")[:, :count]


def submit(
  runs: Sequence[pathlib.Path],
  data: pathlib.Path,
  out: pathlib.Path,
  trials: Sequence[int] | None = None,
  flips: bool = False,
) -> None:
  """Writes a submission for a test file; see `predict`.

  Memory: the drawings packed, and what one batch of the runs' experiments
  takes.

  Raises:
    UserError: a run, a test file or a place that cannot be used.
  """
  if out.exists():
    raise UserError(f"--out {out} is there already; name a new file.")
  if not out.parent.is_dir():
    raise UserError(f"--out {out}: there is no folder {out.parent}; make it.")
  loaded = ensemble.load(runs, trials)
  words = submission.words_of(loaded.class_names)
  drawings, key = kaggle.read_test(data)
  submission.check_keys(key, data)
  best = []
  with tqdm(
    total=len(key), unit=" drawings", disable=not sys.stderr.isatty()
  ) as bar:
    for probability in ensemble.probabilities(loaded, drawings, flips):
      best.append(best_classes(probability, submission.MOST_WORDS))
      bar.update(len(probability))
  submission.write(out, key, np.concatenate(best), words)


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = cli.Parser(
    prog="python -m alcurr.experiments.predict",
    description="Writes the file that Kaggle's Doodle Recognition challenge "
    "takes: the three likeliest classes of each drawing of its test file.",
  )
  parser.add_argument(
    "runs",
    metavar="RUN",
    nargs="+",
    type=pathlib.Path,
    help="a finished run, WORKDIR/runs/SAMPLER; of several, which know the "
    "same classes, the mean of their probabilities",
  )
  parser.add_argument(
    "--data",
    metavar="FILE",
    type=pathlib.Path,
    required=True,
    help="test_simplified.csv or test_raw.csv",
  )
  parser.add_argument(
    "--out",
    metavar="FILE",
    type=pathlib.Path,
    required=True,
    help="the submission, a new file",
  )
  parser.add_argument(
    "--trials",
    metavar="0,1,...",
    type=_numbers,
    help="the trials of each run whose probabilities are averaged, from 0; "
    "default all",
  )
  parser.add_argument(
    "--flips",
    action="store_true",
    help="average with the mirror images, left for right",
  )
  return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
  try:
    numbers = [int(word) for word in text.split(",")]
  except ValueError:
    numbers = []
  if not numbers or len(set(numbers)) < len(numbers):
    raise argparse.ArgumentTypeError(
      f"write trials with commas, each once, such as 0,2; got {text!r}"
    )
  return numbers


def _submit(argv: Sequence[str]) -> None:
  args = parse(argv)
  submit(args.runs, args.data, args.out, args.trials, args.flips)
  print(args.out)


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _submit(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
