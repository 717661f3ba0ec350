"""The job of every contestant of `benchmarks.peers`, and its data.

A small network learns to classify doodles with Adam at a constant rate, in
TRIALS trials. The pool has uint8 images and labels. For the bandits it has
arms: tenths of each class by difficulty under a reference network. All
contestants get the same arrays.
"""

import pathlib
from typing import NamedTuple

import numpy as np
import optax

from alcurr import samplers
from alcurr.data import partitions
from alcurr.data.pool import Dataset, make_gather, make_pool
from alcurr.data.quickdraw import reader, synthetic
from alcurr.data.render import make_render, render_all
from alcurr.data.splitting import split
from alcurr.experiments import reference_model
from alcurr.models import MODELS
from alcurr.training import loop
from alcurr.training.run import RunSpec, compile_run
from alcurr.training.scoring import make_score
from alcurr.types import Images, Strokes
from configs import default

NETWORKS = ("cnn", "mobilenet")
LEARNING_RATE = 1e-3
TRIALS = 3
# The bandit of "Data Sampling Algorithms for Active Learning".
NUM_ARMS = 10
EPSILON = 0.2
WARMUP = 100
POLICY_LEARNING_RATE = 0.2
EVAL_BATCH_SIZE = 512
HELD_OUT = 0.1
NUM_GENERATED = 30  # classes


class Data(NamedTuple):
  """N examples to train on, and M held-out examples."""

  image: np.ndarray  # [N, H, W, C] uint8
  label: np.ndarray  # [N] int32
  arm: np.ndarray  # [N] int32, of NUM_ARMS
  held_out_image: np.ndarray  # [M, H, W, C] uint8
  held_out_label: np.ndarray  # [M] int32

  @property
  def num_classes(self) -> int:
    return int(self.label.max()) + 1


def save(data: Data, path: pathlib.Path) -> None:
  np.savez(path, **data._asdict())


def load(path: str) -> Data:
  with np.load(path) as file:
    return Data(**file)


def make_data(directory: pathlib.Path | None, per_class: int) -> Data:
  """Returns the data of the job.

  Args:
    directory: a folder of Quick, Draw! files, see
      `alcurr.data.quickdraw.reader`; None for generated doodles of 30 classes.
    per_class: examples of each class, held-out ones included.
  """
  if directory is None:
    dataset = synthetic.make_synthetic(
      per_class * NUM_GENERATED, num_classes=NUM_GENERATED
    )
  else:
    dataset, _ = reader.load(directory, max_per_class=per_class)
  parts = split(dataset, HELD_OUT / 2, HELD_OUT)
  train, held_out = (_rendered(parts[name]) for name in ("train", "test"))
  difficulty = _difficulty(train, _rendered(parts["valid"]))
  partition = partitions.difficulty_in_class(train.label, difficulty, NUM_ARMS)
  return Data(
    train.source.image,
    train.label,
    partition.arm,
    held_out.source.image,
    held_out.label,
  )


def _rendered(part: Dataset) -> Dataset:
  if isinstance(part.source, Strokes):
    return part._replace(source=Images(render_all(part.source, make_render())))
  return part


def _difficulty(train: Dataset, valid: Dataset) -> np.ndarray:
  """Returns the loss under a small CNN trained for one epoch: [N]."""
  gather, batch_size = make_gather(), 32
  model = MODELS["cnn"](
    input_shape=train.source.image.shape[1:],
    num_classes=len(train.class_names),
  )
  trials_by = default.get_config().trials_by
  run = RunSpec(
    sampler=samplers.uniform(batch_size=batch_size),
    model=model,
    tx=optax.adam(LEARNING_RATE),
    gather=gather,
    num_steps=max(1, len(train.label) // batch_size),
    batch_size=batch_size,
    seeds=(1000,),  # not the seed of a trial
    trials_by=trials_by,
    num_evals=1,
    chunk_steps=1000,
    score=make_score(model, gather, EVAL_BATCH_SIZE, trials_by),
  )
  pools = {"train": make_pool(train), "valid": make_pool(valid)}
  pools["probe"] = pools["valid"]
  compiled = compile_run(run, pools)
  result = loop.train(run, compiled, pools, lambda _: None, lambda *_: None)
  return reference_model.score_pools(run, run.score, result, pools)[0]["train"]
