"""Finished runs, loaded from the files of their experiments."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import paths, specs
from alcurr.core.errors import UserError
from alcurr.data import rows
from alcurr.data.targets import TargetScale
from alcurr.experiments import added_trials
from alcurr.experiments.config import build, schema
from alcurr.experiments.config.plain import to_config
from alcurr.experiments.workdir import read_record
from alcurr.types import Model, PyTree


class FinishedRun(NamedTuple):
  """A finished run."""

  folder: pathlib.Path
  config: ConfigDict  # of its experiment
  class_names: tuple[str, ...]  # [V]
  input_shape: PyTree  # (H, W, C) of images; see `rows.input_shape`
  model: Model
  variables: tuple[PyTree, PyTree]  # params and model_state, [S]
  target_scale: TargetScale | None  # of regression


def load_runs(
  folders: Sequence[str | pathlib.Path], trials: Sequence[int] | int | None
) -> list[FinishedRun]:
  """Loads runs of the same classes, as they were after their last step."""
  if not folders:
    raise UserError("missing", "run", "expected at least one, got none")
  places = [paths.absolute(folder, "run") for folder in folders]
  members = [_load_run(folder, trials) for folder in places]
  for member in members:
    if member.class_names != members[0].class_names:
      text = f"its classes differ from those of {members[0].folder}"
      raise UserError("mismatch", member.folder, text)
    if image_options(member) != image_options(members[0]):
      text = f"its images are read unlike those of {members[0].folder}"
      raise UserError("mismatch", str(member.folder), text)
  return members


def _load_run(
  folder: pathlib.Path, trials: Sequence[int] | None
) -> FinishedRun:
  workdir, name = folder.parents[1], folder.name
  runs = sorted(str(path.parent) for path in folder.glob("runs/*/result.json"))
  if runs and not (folder / "result.json").exists():
    text = f"expected a run, such as {', '.join(runs)}"
    raise UserError("missing", str(folder / "result.json"), text)
  record = read_record(folder / "result.json", "steps", "trials")
  steps, results = record["steps"], record["trials"]
  config = to_config(read_record(workdir / "config.json", "samplers"))
  schema.check_finished(config, workdir / "config.json")
  specs.check_choice(str(workdir / "config.json"), name, config.samplers)
  path = workdir / "gallery.json"
  gallery = read_record(path, "class_names", "input_shape")
  class_names = tuple(gallery["class_names"])
  shape = rows.shape_from_json(gallery["input_shape"])
  merged = build.run_config(config, name)
  num_outputs, scale = len(class_names), None
  if config.data.regression:
    fields = [f"target_{field}" for field in TargetScale._fields]
    gallery = read_record(path, *fields)
    scale = TargetScale(*(np.array(gallery[field]) for field in fields))
    num_outputs = len(scale.mean)
  model = build.make_model(merged, shape, num_outputs)
  variables = added_trials.read_variables(folder, len(results), steps, model)
  good = [i for i, r in enumerate(results) if not r.get("diverged_step")]
  chosen = good if trials is None else np.atleast_1d(trials).tolist()
  if not chosen or not set(chosen) <= set(good):
    got = ", ".join(f"trial {trial}" for trial in chosen) or "none"
    text = f"expected some of {good}, which did not diverge, got {got}"
    raise UserError("unknown", folder, text)
  if trials is None and len(good) < len(results):
    logging.warning("%s: only the trials %s did not diverge.", folder, good)
  variables = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], variables)
  return FinishedRun(
    folder, config, class_names, shape, model, variables, scale
  )


def image_options(member: FinishedRun) -> dict[str, Any]:
  """Returns the arguments of `check_images` for the images of a run."""
  data = member.config.data
  return {name: data[name] for name in ("value_range", "channels_first")}


def check_kind(members: Sequence[FinishedRun], regression: bool) -> None:
  """Refuses runs that predict classes, or numbers, where others are meant.

  Raises:
    UserError: at the run.
  """
  for member in members:
    if member.config.data.regression != regression:
      other = "predict_probabilities" if regression else "predict_targets"
      text = f"it predicts other things; see {other}"
      raise UserError("unsupported", str(member.folder), text)
