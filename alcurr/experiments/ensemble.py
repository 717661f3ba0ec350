"""Finished runs as one classifier of drawings: their probabilities, averaged.

A run's are the mean over its trials; several runs' the mean over the runs.
All is made again from what an experiment leaves: config.json, gallery.json
(the classes, and the images' shape), runs/<sampler>/result.json and the
checkpoint of the last step.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.experiments.config import build, schema
from alcurr.training import checkpoint, chunks, compilation
from alcurr.types import Array, Model, PyTree, Strokes


class Member(NamedTuple):
  """A finished run."""

  class_names: tuple[str, ...]  # [V]
  model: Model
  variables: tuple[PyTree, PyTree]  # params and model_state, [S]
  render: Callable[[Strokes, Array], Array]  # (strokes, index [B]) -> images
  channels: tuple[str, ...]  # of those images
  trials_by: str
  batch_size: int  # that its experiment evaluated by


class Ensemble(NamedTuple):
  """Runs that tell the same classes apart."""

  class_names: tuple[str, ...]  # [V]
  members: tuple[Member, ...]


def load(
  folders: Sequence[str | pathlib.Path],
  trials: Sequence[int] | None = None,
) -> Ensemble:
  """The runs of some folders, with what they had learned at their last step.

  Args:
    folders: `<workdir>/runs/<sampler>` of finished runs, one at least.
    trials: which of each run, from 0; None for all that did not go wrong.

  Raises:
    UserError: a run that is not finished, was damaged, never saw drawings or
      lacks a trial, or runs of other classes.
  """
  members = [_load_run(pathlib.Path(folder), trials) for folder in folders]
  for folder, member in zip(folders, members, strict=True):
    if member.class_names != members[0].class_names:
      raise UserError(
        f"{folder} tells other classes apart than {folders[0]}; only runs of "
        "the same classes can be averaged."
      )
  return Ensemble(members[0].class_names, tuple(members))


def probabilities(
  ensemble: Ensemble, strokes: Strokes, flips: bool = False
) -> Iterator[np.ndarray]:
  """The probabilities of N drawings, batch by batch: [b, V] float32 each.

  Args:
    ensemble: of runs.
    strokes: the drawings.
    flips: average those of each image and of its mirror image, left for right.

  Raises:
    UserError: drawings without times, and a run that looks at the pen's speed.
  """
  num_drawings = len(strokes.drawing_start) - 1
  size = min(num_drawings, *(m.batch_size for m in ensemble.members))
  seen = [
    jax.tree.map(jnp.asarray, sources.with_channels(strokes, member.channels))
    for member in ensemble.members
  ]
  first = jnp.arange(size)
  compiled = [
    compilation.compile_once(
      _make_probabilities(member, flips), member.variables, mine, first
    )
    for member, mine in zip(ensemble.members, seen, strict=True)
  ]
  for start in range(0, num_drawings, size):
    # The last batch is filled up with the last drawing, which is cut again.
    index = (start + first).clip(max=num_drawings - 1)
    every = [
      program(member.variables, mine, index)
      for program, member, mine in zip(
        compiled, ensemble.members, seen, strict=True
      )
    ]
    yield np.mean(jax.device_get(every), 0)[: num_drawings - start]


def _make_probabilities(member: Member, flips: bool) -> Callable[..., Array]:
  """(variables [S], strokes, index [B]) -> the mean over trials [B, V]."""

  def of_trial(variables: tuple[PyTree, PyTree], image: Array) -> Array:
    # Nothing is random in eval mode; the key is a formality.
    logits, _ = member.model.apply(
      jax.random.key(0), *variables, image, train=False
    )
    return jax.nn.softmax(logits)

  of_trials = chunks.over_trials(of_trial, member.trials_by)

  def run(
    variables: tuple[PyTree, PyTree], strokes: Strokes, index: Array
  ) -> Array:
    image = member.render(strokes, index)
    mean = of_trials(variables, image).mean(0)
    if flips:
      mirrored = of_trials(variables, image[:, :, ::-1]).mean(0)
      mean = (mean + mirrored) / 2
    return mean

  return run


def _load_run(folder: pathlib.Path, trials: Sequence[int] | None) -> Member:
  result = _read_result(folder)
  workdir = folder.absolute().parents[1]
  config = _read_config(workdir, folder.absolute().name)
  class_names, shape = _read_gallery(workdir, config)
  mine = build.run_config(config, folder.absolute().name)
  model = build.make_model(mine, shape, len(class_names))
  keys = jax.random.split(jax.random.key(0), len(result["trials"]))
  every = checkpoint.read_variables(
    folder / "checkpoints",
    result["steps"],
    jax.eval_shape(jax.vmap(model.init), keys),
  )
  chosen = np.array(_chosen(folder, result, trials))
  return Member(
    class_names=class_names,
    model=model,
    variables=jax.tree.map(lambda leaf: leaf[chosen], every),
    render=sources.get_render(config.data),
    channels=sources.get_channels(config.data),
    trials_by=config.trials_by,
    batch_size=config.eval_batch_size,
  )


def _read(path: pathlib.Path, wanted: Sequence[str]) -> dict[str, Any]:
  """A record of an experiment, with what is wanted of it."""
  try:
    record = files.read_record(path)
  except OSError as error:
    raise UserError(
      f"{path} cannot be read ({error.strerror}); name the folder of a "
      "finished run in its experiment, WORKDIR/runs/SAMPLER."
    ) from error
  if record is None:
    raise UserError(f"{path} is damaged; put it back, or name another run.")
  for field in wanted:
    if field not in record:
      raise UserError(
        f"{path} does not tell the {field} of the experiment; run it again "
        "with this version, in a new --workdir."
      )
  return record


def _read_result(folder: pathlib.Path) -> dict[str, Any]:
  if (
    not (folder / "result.json").exists() and (folder / "checkpoints").exists()
  ):
    raise UserError(
      f"{folder} is not finished; run its experiment's command again to go on."
    )
  return _read(folder / "result.json", ("steps", "trials"))


def _read_config(workdir: pathlib.Path, name: str) -> ConfigDict:
  config = ConfigDict(_read(workdir / "config.json", ()))
  schema.check(config, finished=True)
  if name not in config.samplers:
    raise UserError(
      f"{workdir / 'config.json'} knows no sampler {name!r}; name a run that "
      "lies in its own experiment."
    )
  return config


def _read_gallery(
  workdir: pathlib.Path, config: ConfigDict
) -> tuple[tuple[str, ...], tuple[int, ...]]:
  """The names of the classes, and the shape of the images."""
  path = workdir / "gallery.json"
  gallery = _read(path, ("class_names", "image_shape"))
  side = config.data.image_size
  channels = len(sources.get_channels(config.data))
  shape = tuple(gallery["image_shape"])
  if config.data.source == "npz" or shape != (side, side, channels):
    raise UserError(
      f"{workdir} was trained on images of its own, {list(shape)}; name a run "
      "that was trained on drawings."
    )
  return tuple(gallery["class_names"]), shape


def _chosen(
  folder: pathlib.Path, result: dict[str, Any], trials: Sequence[int] | None
) -> list[int]:
  """The trials to average, none of which went wrong."""
  every = range(len(result["trials"]))
  wrong = {i for i in every if result["trials"][i].get("diverged_step")}
  if trials is None:
    for trial in sorted(wrong):
      logging.warning("%s: trial %d went wrong; it is left out.", folder, trial)
    chosen = [trial for trial in every if trial not in wrong]
    if not chosen:
      raise UserError(f"{folder}: every trial went wrong; name another run.")
    return chosen
  for trial in trials:
    if trial not in every or trial in wrong:
      good = ", ".join(str(t) for t in every if t not in wrong) or "none"
      what = "went wrong" if trial in wrong else "is not there"
      raise UserError(
        f"{folder}: trial {trial} {what}; of these choose: {good}."
      )
  return list(trials)
