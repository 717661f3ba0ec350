"""Finished runs as one classifier: the mean of their probabilities.

A run's probabilities are the mean over its trials. It is loaded from the files
of its experiment: config.json, gallery.json (the classes and the shape of the
images), runs/<sampler>/result.json and the checkpoint of the last step.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import files, specs
from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.data.pool import make_gather
from alcurr.experiments.config import build, schema
from alcurr.training import checkpoint, chunks, compilation
from alcurr.types import Array, Batch, Images, Model, Pool, PyTree, Strokes


class Member(NamedTuple):
  """A finished run."""

  folder: pathlib.Path
  class_names: tuple[str, ...]  # [V]
  image_shape: tuple[int, ...]  # (H, W, C)
  channels: tuple[str, ...] | None  # of rendered drawings; None: images only
  image_options: dict[str, Any]  # of check_images, for the data's images
  model: Model
  variables: tuple[PyTree, PyTree]  # params and model_state, [S]
  gather: Callable[[Pool, Array], Batch]
  trials_by: str
  batch_size: int


def load(
  folders: Sequence[str | pathlib.Path], trials: Sequence[int] | None = None
) -> list[Member]:
  """Loads runs, as they were after their last step.

  Args:
    folders: `<workdir>/runs/<sampler>` of finished runs, at least one.
    trials: of each run, from 0; None for all that did not diverge.

  Raises:
    UserError: a run is unfinished, damaged, lacks a trial, or has other classes
      than the first.
  """
  members = [_load_run(pathlib.Path(folder), trials) for folder in folders]
  for member in members:
    if member.class_names != members[0].class_names:
      text = f"its classes differ from those of {members[0].folder}"
      raise UserError("mismatch", str(member.folder), text)
    if member.image_options != members[0].image_options:
      text = f"its images are read unlike those of {members[0].folder}"
      raise UserError("mismatch", str(member.folder), text)
  return members


def probabilities(
  members: Sequence[Member], source: Strokes | Images, flips: bool = False
) -> Iterator[np.ndarray]:
  """Yields the probabilities of N inputs in batches, [b, V] float32 each.

  Args:
    members: the runs.
    source: drawings, or images of the shape that the runs were trained on.
    flips: average with the mirror images, left for right.

  Raises:
    UserError: a run cannot read these inputs.
  """
  pools = [_make_pool(member, source) for member in members]
  num_inputs = len(pools[0].label)
  size = min(num_inputs, *(member.batch_size for member in members))
  first = jnp.arange(size)
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


def _make_pool(member: Member, source: Strokes | Images) -> Pool:
  """Puts what a run reads of the inputs on the device, without labels."""
  if isinstance(source, Images):
    num_inputs, *shape = source.image.shape
    if tuple(shape) != member.image_shape:
      expected = list(member.image_shape)
      text = f"{member.folder} expects images {expected}, got {shape}"
      raise UserError("mismatch", "inputs", text)
  else:
    if member.channels is None:
      raise UserError(
        "unsupported",
        str(member.folder),
        f"it was trained on images {member.image_shape}, not on drawings",
      )
    num_inputs = len(source.drawing_start) - 1
    source = sources.with_channels(source, member.channels)
  label = np.zeros(num_inputs, np.int32)
  return jax.tree.map(jnp.asarray, Pool(source, label, {}, {}))


def _make_program(member: Member, flips: bool) -> Callable[..., Array]:
  """Returns (variables [S], pool, index [B]) -> mean over trials [B, V]."""

  def of_trial(variables: tuple[PyTree, PyTree], image: Array) -> Array:
    # The key is unused in eval mode.
    logits, _ = member.model.apply(
      jax.random.key(0), *variables, image, train=False
    )
    return jax.nn.softmax(logits)

  of_trials = chunks.over_trials(of_trial, member.trials_by)

  def program(
    variables: tuple[PyTree, PyTree], pool: Pool, index: Array
  ) -> Array:
    image = member.gather(pool, index).image
    mean = of_trials(variables, image).mean(0)
    if flips:
      mirrored = of_trials(variables, image[:, :, ::-1]).mean(0)
      mean = (mean + mirrored) / 2
    return mean

  return program


def _load_run(folder: pathlib.Path, trials: Sequence[int] | None) -> Member:
  place = folder.absolute()
  workdir, name = place.parents[1], place.name
  result = _read(folder / "result.json", "steps", "trials")
  config = ConfigDict(_read(workdir / "config.json", "samplers"))
  schema.check(config, finished=True)
  specs.check_choice(str(workdir / "config.json"), name, config.samplers)
  gallery = _read(workdir / "gallery.json", "class_names", "image_shape")
  class_names = tuple(gallery["class_names"])
  shape = tuple(gallery["image_shape"])
  model = build.make_model(
    build.run_config(config, name), shape, len(class_names)
  )
  keys = jax.random.split(jax.random.key(0), len(result["trials"]))
  variables = checkpoint.read_variables(
    folder / "checkpoints",
    result["steps"],
    jax.eval_shape(jax.vmap(model.init), keys),
  )
  chosen = np.array(_choose_trials(folder, result["trials"], trials))
  channels = sources.get_channels(config.data)
  side = config.data.image_size
  options = ("value_range", "channels_first")
  drawn = config.data.source != "npz" and shape == (side, side, len(channels))
  return Member(
    folder=folder,
    class_names=class_names,
    image_shape=shape,
    channels=channels if drawn else None,
    image_options={name: config.data[name] for name in options},
    model=model,
    variables=jax.tree.map(lambda leaf: leaf[chosen], variables),
    gather=make_gather(sources.get_render(config.data)),
    trials_by=config.trials_by,
    batch_size=config.eval_batch_size,
  )


def _read(path: pathlib.Path, *fields: str) -> dict[str, Any]:
  """Reads a record of an experiment that has some fields."""
  try:
    record = files.read_record(path)
  except OSError as error:
    text = f"{error.strerror}; expected a finished WORKDIR/runs/SAMPLER"
    raise UserError("missing", str(path), text) from error
  if record is None:
    raise UserError("damaged", str(path), "not a JSON object")
  for field in fields:
    if field not in record:
      raise UserError("mismatch", str(path), f"has no field {field}")
  return record


def _choose_trials(
  folder: pathlib.Path,
  results: Sequence[dict[str, Any]],
  trials: Sequence[int] | None,
) -> list[int]:
  """Returns the trials to average, none of which diverged."""
  good = [i for i, r in enumerate(results) if not r.get("diverged_step")]
  if trials is None and good:
    if len(good) < len(results):
      logging.warning(
        "%s: only the trials %s are used; the others diverged.", folder, good
      )
    return good
  for trial in trials or [0]:
    if trial not in good:
      reason = "diverged" if 0 <= trial < len(results) else "does not exist"
      text = f"trial {trial} {reason}; known: {good}"
      raise UserError("unknown", str(folder), text)
  return list(trials)
