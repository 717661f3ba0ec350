"""python -m alcurr.experiments.predict RUN [RUN ...] --data=FILE --out=FILE

Writes a submission to Kaggle's Doodle Recognition challenge: the three most
probable classes of each drawing of test_simplified.csv or test_raw.csv. In a
notebook: `predict_probabilities("runs/kaggle/runs/uniform", inputs)`.

Probabilities are means over runs, and over the trials of a run. A run is loaded
from the files of its experiment: config.json, gallery.json (the classes and the
shape of the images), runs/<sampler>/result.json and the last checkpoint.
"""

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm.auto import tqdm

from alcurr.core import cli
from alcurr.core.errors import UserError
from alcurr.data import channels, image_values, rows
from alcurr.data.host_store import Examples
from alcurr.data.pool import make_gather
from alcurr.data.quickdraw import kaggle, stroke_forms
from alcurr.experiments import finished_runs
from alcurr.experiments.finished_runs import (
  FinishedRun,
  image_options,
)
from alcurr.training import chunks, compilation
from alcurr.types import Array, Images, Pool, PyTree, Rows, Strokes


class Prediction(NamedTuple):
  """The classes, and the probability of each for N inputs."""

  class_names: tuple[str, ...]  # [V]
  probability: np.ndarray  # [N, V] float32


def predict_probabilities(
  run: str | pathlib.Path | Sequence[str | pathlib.Path],
  inputs: Strokes | Sequence[list] | Any,
  trials: Sequence[int] | int | None = None,
  flips: bool = False,
  stroke_form: str = "",
) -> Prediction:
  """Returns the probabilities of the classes by finished runs.

  Args:
    run: a folder `<workdir>/runs/<sampler>`, or several, which are averaged.
    inputs: images of the shape and range that the run was trained on,
      [N, H, W] or [N, H, W, C]; or such rows. For runs on drawings also N
      drawings in Google's form, strokes [[x...], [y...]] of integers from 0 to
      255, or raw with times; or all of points, [(x, y), ...]; or packed
      strokes. They may be lists, tuples or arrays; an image or a drawing by
      itself is one.
    trials: of each run, from 0; None for all that did not diverge.
    flips: average with the mirror images, left for right.
    stroke_form: "rows" or "points", if every stroke has 2 or 3 points.

  Raises:
    UserError: a run or an input cannot be used.
  """
  members = _load_members(run, trials)
  finished_runs.check_kind(members, regression=False)
  source = _as_source(inputs, members[0], stroke_form, flips)
  batches = _outputs(members, source, flips)
  return Prediction(members[0].class_names, np.concatenate(list(batches)))


def predict_targets(
  run: str | pathlib.Path | Sequence[str | pathlib.Path],
  inputs: Any,
  trials: Sequence[int] | int | None = None,
) -> np.ndarray:
  """Returns the numbers that finished runs of a regression predict: [N, V].

  They have the units of the targets that `alcurr.compare` was given.
  The arguments are those of `predict_probabilities`.

  Raises:
    UserError: a run or an input cannot be used.
  """
  members = _load_members(run, trials)
  finished_runs.check_kind(members, regression=True)
  source = _as_source(inputs, members[0], stroke_form="", flips=False)
  return np.concatenate(list(_outputs(members, source, flips=False)))


def _load_members(
  run: str | pathlib.Path | Sequence[str | pathlib.Path],
  trials: Sequence[int] | int | None,
) -> list[FinishedRun]:
  folders = [run] if isinstance(run, str | pathlib.Path) else list(run)
  return finished_runs.load_runs(folders, trials)


def best_classes(probability: np.ndarray, count: int) -> np.ndarray:
  """Returns the most probable of [b, V]: [b, count] int; ties by number."""
  return np.argsort(-probability, axis=1, kind="stable")[:, :count]


def submit(
  runs: Sequence[pathlib.Path],
  data: pathlib.Path,
  out: pathlib.Path,
  trials: Sequence[int] | None = None,
  flips: bool = False,
  stroke_form: str = "",
) -> int:
  """Writes a submission for Kaggle's test file `data` to the new file `out`.

  For the others see `predict_probabilities`. Memory: the packed drawings.

  Returns:
    The number of drawings.

  Raises:
    UserError: a run, the test file or the place cannot be used.
  """
  if out.exists():
    raise UserError("exists", "--out", f"expected a new file, {out} exists")
  if not out.parent.is_dir():
    raise UserError("missing", "--out", f"there is no folder {out.parent}")
  members = finished_runs.load_runs(runs, trials)
  finished_runs.check_kind(members, regression=False)
  words, best = kaggle.words_of(members[0].class_names), []
  drawings, key = kaggle.read_test(data, stroke_form)
  with tqdm(total=len(key), unit=" drawings", disable=None) as bar:
    for probability in _outputs(members, drawings, flips):
      best.append(best_classes(probability, kaggle.MOST_WORDS))
      bar.update(len(probability))
  kaggle.write_submission(out, key, np.concatenate(best), words)
  return len(key)


def _check_rows(inputs: Any, member: FinishedRun, flips: bool) -> PyTree:
  """Returns rows of the arrays that a run was trained on."""
  if flips:
    raise UserError("unsupported", "flips", "expected images, got rows")
  found = rows.check_rows(inputs)
  got, expected = (
    rows.shape_to_json(shape)
    for shape in (rows.input_shape(found), member.input_shape)
  )
  if got != expected:
    text = f"{member.folder} expects {expected}, got {got}"
    raise UserError("mismatch", "inputs", text)
  return found


def _as_source(
  inputs: Any, member: FinishedRun, stroke_form: str, flips: bool
) -> Examples:
  input_shape, options = member.input_shape, image_options(member)
  if not isinstance(input_shape, tuple):
    return Rows(_check_rows(inputs, member, flips))
  if not isinstance(inputs, Strokes):
    if not hasattr(inputs, "dtype"):
      inputs = [*inputs]
      shapes = {getattr(image, "shape", None) for image in inputs}
      if shapes in ({input_shape}, {input_shape[:2]}):
        inputs = np.stack(inputs)
    if hasattr(inputs, "dtype") and inputs.dtype != np.dtype(object):
      alone = inputs.shape in (input_shape, input_shape[:2])
      images = inputs[None] if alone else inputs
      return Images(image_values.check_images(images, **options))
    inputs = stroke_forms.pack_any(inputs, "inputs", stroke_form)
  if len(inputs.drawing_start) < 2:
    raise UserError("data", "inputs", "expected at least one, got none")
  return inputs


def _outputs(
  members: Sequence[FinishedRun], source: Examples, flips: bool
) -> Iterator[np.ndarray]:
  """Yields what is predicted of N inputs in batches, [b, V] float32 each."""
  pools = [_make_pool(member, source) for member in members]
  num_inputs = len(pools[0].label)
  size = min(num_inputs, *(m.config.eval_batch_size for m in members))
  first = np.arange(size, dtype=np.int32)
  programs = [
    compilation.compile_once(
      _make_program(member, flips), member.variables, pool, first
    )
    for member, pool in zip(members, pools, strict=True)
  ]
  for start in range(0, num_inputs, size):
    # The last batch is filled with the last input, and cut.
    index = (start + first).clip(max=num_inputs - 1)
    of_runs = [
      program(member.variables, pool, index)
      for program, member, pool in zip(programs, members, pools, strict=True)
    ]
    yield np.mean(jax.device_get(of_runs), 0)[: num_inputs - start]


def _make_pool(member: FinishedRun, source: Examples) -> Pool:
  """Puts what a run reads of the inputs on the device, without labels."""
  data, shape = member.config.data, member.input_shape
  if isinstance(source, Rows):
    num_inputs = len(jax.tree.leaves(source)[0])
  elif isinstance(source, Images):
    num_inputs = len(source.image)
    if source.image.shape[1:] != shape:
      got = list(source.image.shape[1:])
      text = f"{member.folder} expects images {list(shape)}, got {got}"
      raise UserError("mismatch", "inputs", text)
  else:
    num_inputs = len(source.drawing_start) - 1
    names, side = channels.get_channels(data), data.image_size
    if data.source == "npz" or shape != (side, side, len(names)):
      text = f"it was trained on images {shape}, not on drawings"
      raise UserError("unsupported", str(member.folder), text)
    source = channels.with_channels(source, names)
  label = np.zeros(num_inputs, np.int32)
  return jax.device_put(Pool(source, label, {}, {}))


def _make_program(member: FinishedRun, flips: bool) -> Callable[..., Array]:
  """Returns (variables [S], pool, index [B]) -> mean over trials [B, V]."""
  gather = make_gather(channels.get_render(member.config.data))
  scale = member.target_scale

  def of_trial(variables: tuple[PyTree, PyTree], inputs: PyTree) -> Array:
    # The key is unused in eval mode.
    key = jax.random.key(0)
    logits, _ = member.model.apply(key, *variables, inputs, train=False)
    if scale is not None:
      return logits * scale.deviation + scale.mean
    return jax.nn.softmax(logits)

  of_trials = chunks.over_trials(of_trial, member.config.trials_by)

  def program(
    variables: tuple[PyTree, PyTree], pool: Pool, index: Array
  ) -> Array:
    inputs = gather(pool, index).inputs
    views = [inputs, inputs[:, :, ::-1]] if flips else [inputs]
    means = [of_trials(variables, view).mean(0) for view in views]
    return sum(means) / len(means)

  return program


def _trials(text: str) -> list[int]:
  with contextlib.suppress(ValueError):
    trials = [*map(int, text.split(","))]
    if len({*trials}) == len(trials):
      return trials
  raise argparse.ArgumentTypeError(
    f"expected different trials with commas, such as 0,2, got {text!r}"
  )


def _submit(argv: Sequence[str]) -> None:
  parser = cli.Parser(
    prog="alcurr predict",
    example="alcurr predict runs/kaggle/runs/uniform "
    "--data=test_simplified.csv --out=submission.csv",
    description="Writes a submission to Kaggle's Doodle Recognition challenge.",
  )
  add = parser.add_argument
  file = {"metavar": "FILE", "type": pathlib.Path, "required": True}
  text = "finished runs, WORKDIR/runs/SAMPLER, which are averaged"
  add("runs", metavar="RUN", nargs="+", type=pathlib.Path, help=text)
  add("--data", help="test_simplified.csv or test_raw.csv", **file)
  add("--out", help="a new file", **file)
  text = "the trials of each run to average, from 0; default all"
  add("--trials", metavar="0,1,...", type=_trials, help=text)
  text = "average with the mirror images, left for right"
  add("--flips", action="store_true", help=text)
  text = "[[x, ...], [y, ...]] or [[x, y], ...], if no stroke says which"
  add("--stroke-form", choices=stroke_forms.FORMS, default="", help=text)
  args = parser.parse_args(argv)
  count = submit(**vars(args))
  print(f"{args.out}: {count} drawings")


def main(argv: Sequence[str]) -> int:
  """Returns the exit status: 0, 2 after a user's mistake, 1 after a fault."""
  return cli.status(lambda: _submit(argv))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
