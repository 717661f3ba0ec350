"""Everything before training: the data and the runs."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import partitions, rows, sources
from alcurr.data.host_store import Lookup
from alcurr.data.pool import Dataset, host_pool, num_outputs
from alcurr.data.targets import TargetScale
from alcurr.experiments import preemption
from alcurr.experiments.config import build
from alcurr.experiments.config.build import BuiltExperiment, BuiltRun
from alcurr.experiments.config.schema import flatten, is_free
from alcurr.experiments.config.scores import DIFFICULTY, names_read
from alcurr.experiments.fits import make_fits
from alcurr.training import compilation, meshes, processes
from alcurr.training.losses import metric
from alcurr.training.run import RunSpec
from alcurr.training.scoring import Score, make_score
from alcurr.types import (
  Array,
  Batch,
  Model,
  Pool,
)


class ExperimentContext(NamedTuple):
  """Everything that the runs of an experiment share."""

  experiment: BuiltExperiment
  cache_dir: pathlib.Path  # what the next experiment can reuse
  parts: dict[str, Dataset]  # "train", "probe", "valid", "test"
  gather: Callable[[Pool, Array], Batch]
  networks: dict[str, tuple[Model, Score]]  # by `build.network_key`
  lookup: Lookup | None  # of pools in CPU memory
  signals: preemption.Signals  # stop a run with a checkpoint
  content: str  # a hash of the data that was read
  target_scale: TargetScale | None  # of regression
  mesh: Mesh | None = None  # the devices of the samplers' runs; None for one


def make_mesh(experiment: BuiltExperiment) -> Mesh | None:
  """Returns the mesh of the samplers' runs; None for one device.

  Raises:
    UserError: the mesh does not fit the machine, the trials or the batches.
  """
  config = experiment.config
  sizes = [run.config.batch_size for run in experiment.runs.values()]
  devices = compilation.find_devices()
  return meshes.make_mesh(config.mesh, config.trials, sizes, devices)


def load_context(
  experiment: BuiltExperiment,
  cache_dir: pathlib.Path,
  signals: preemption.Signals | None = None,
  mesh: Mesh | None = None,
) -> ExperimentContext:
  """Loads the data, and builds the networks for it.

  Runs share the devices of the mesh, see `make_mesh`; None: one device.
  """
  config = experiment.config
  own = {s.file_field: s.config.file for s in experiment.file_scores}
  data = sources.load(config.data, cache_dir, own)
  parts, gather, lookup, content, target_scale = data
  batch = jax.eval_shape(
    gather, host_pool(parts["valid"]), jax.ShapeDtypeStruct((1,), np.int32)
  )
  shape = rows.input_shape(batch.inputs)
  if experiment.augment and not isinstance(shape, tuple):
    text = "expected none, since the inputs are no images"
    raise UserError("conflict", "augment", text)
  num_classes, networks = num_outputs(parts["train"]), {}
  trained = [score.run for score in experiment.trained_scores]
  for run in (*trained, *experiment.runs.values()):
    key = build.network_key(run.config)
    if key not in networks:
      model = build.make_model(run.config, shape, num_classes)
      score = make_score(
        model, gather, config.eval_batch_size, config.trials_by, metric
      )
      networks[key] = model, score
  given = partitions.given_arms(parts["train"])
  if "clusters" in experiment.partitions:
    reference = build.network_key(experiment.scores[DIFFICULTY].run.config)
    given["clusters"] = networks[reference][0].features
  for name, run in experiment.runs.items():
    for kind in run.spec.partitions:
      partitions.require_given(kind, given, f"samplers.{name}")
    if run.config.train_on != "train":
      _check_joint(experiment, run, parts)
  plural = "s" if num_classes > 1 else ""
  kind = f"number{plural} to predict" if config.data.regression else "classes"
  logging.info(
    "%s of %d %s; device: %s, %s; trials by %s.",
    ", ".join(f"{len(part.label)} {name}" for name, part in parts.items()),
    num_classes,
    kind,
    jax.devices()[0].device_kind,
    meshes.describe(mesh),
    config.trials_by,
  )
  fixed = {k: v for k, v in flatten(config.to_dict()).items() if not is_free(k)}
  processes.check_same(
    {"config": repr(fixed), "mesh": meshes.describe(mesh), "data": content}
  )
  signals = signals or preemption.Signals()
  return ExperimentContext(
    experiment,
    cache_dir,
    parts,
    gather,
    networks,
    lookup,
    signals,
    content,
    target_scale,
    mesh,
  )


def _check_joint(
  experiment: BuiltExperiment, run: BuiltRun, parts: Mapping[str, Dataset]
) -> None:
  """Refuses to train on a probe split that lacks what the sampler reads."""
  lacking = []
  if parts["train"].scores and parts["probe"].scores is None:
    from_files = {score.name for score in experiment.file_scores}
    lacking = sorted(from_files & {*names_read(run.spec)})
  if lacking:
    text = f"the examples of data.probe_dir have no {', '.join(lacking)}"
    raise UserError("conflict", f"samplers.{run.name}.run.train_on", text)


def check_fit(context: ExperimentContext, pools: Mapping[str, Pool]) -> None:
  """Refuses numbers that do not fit the data, before anything is trained.

  Only shapes matter, so the pools may be on the host and not scored.

  Raises:
    UserError: at the field.
  """
  experiment = context.experiment
  size = len(context.parts["train"].label)
  for score in experiment.trained_scores:
    make_fits(score, context.parts)
  for name, run in experiment.runs.items():
    sampler = run.make_sampler(run.num_steps(size))
    model, _ = context.networks[build.network_key(run.config)]
    if sampler.spec.reads_penalty and model.penalty is None:
      text = "the gain needs a model with variational weights, as bayesian_cnn"
      raise UserError("conflict", f"samplers.{name}", text)
    pool = pools[run.config.train_on]
    init = functools.partial(sampler.init, pool=pool)
    with specs.errors_in(f"samplers.{name}"):
      # Only shapes: a state may hold an entry for every step.
      state = jax.eval_shape(init, jax.random.key(0))
      key = jax.eval_shape(jax.random.key, 0)
      draw = jax.eval_shape(sampler.sample, key, state, pool)
    # A sampler's record, unlike a spec, has a batch size of its own.
    expected = sampler.spec.num_candidates or run.config.batch_size
    if draw.index.shape != (expected,):
      text = f"expected {expected} drawn examples, got {list(draw.index.shape)}"
      raise UserError("conflict", f"samplers.{name}", text)


def make_run_spec(
  context: ExperimentContext, built: BuiltRun, num_steps: int
) -> RunSpec:
  """Makes a run of a number of steps."""
  experiment, config = context.experiment, built.config
  model, score = context.networks[build.network_key(config)]
  return RunSpec(
    sampler=built.make_sampler(num_steps),
    model=model,
    tx=built.make_optimizer(num_steps),
    gather=context.gather,
    num_steps=num_steps,
    batch_size=config.batch_size,
    seeds=built.seeds,
    trials_by=config.trials_by,
    num_evals=config.num_evals,
    chunk_steps=config.chunk_steps,
    score=score,
    on_nonfinite=config.on_nonfinite,
    augment=experiment.augment,
    loss=build.make_loss(config, num_outputs(context.parts["train"])),
    name=built.name,
    lookup=context.lookup,
    mesh=meshes.fit_mesh(context.mesh, len(built.seeds), [config.batch_size]),
  )
