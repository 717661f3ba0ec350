"""Scores of examples before training, as a config describes them.

`difficulty` and the entries of `scores` have the same fields. A score comes
from the user's file, or from models that are trained for it.
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data.given_splits import has_probe
from alcurr.data.partitions import reads_difficulty
from alcurr.experiments.config import plain, schema
from alcurr.experiments.config.built_run import BuiltRun, make_run
from alcurr.samplers import RUNNING_SCORES, scored_passes, uniform
from alcurr.samplers.scores import SCORERS
from alcurr.types import Loss, SamplerSpec

DIFFICULTY = "difficulty"  # the score of the partitions' quantiles
# Whose examples the models of a score are trained on: those of the training
# split, which they score too; those of the probe split; or folds of the
# training split, each of which is scored by the model that never saw it.
TRAIN_ON = ("train", "probe", "cross")
# Reference models are trained uniformly: they have no candidates to score.
_NO_SCORER = {"name": "", "shared": False}


class BuiltScore(NamedTuple):
  """A score of every example, before the data is known."""

  name: str
  place: str  # of its fields in the config
  config: ConfigDict  # its own fields
  run: BuiltRun | None  # of each model that is trained for it; None: a file's
  # Of logits and labels; None: a file's, or the run's sampler collects it
  score: Loss | None

  @property
  def file_field(self) -> str:
    """The config field with the file of the user's scores."""
    return f"{self.place}.file"

  @property
  def split(self) -> str:
    """The split that its models are trained on."""
    return "probe" if self.config.train_on == "probe" else "train"


def names_read(spec: SamplerSpec) -> tuple[str, ...]:
  """Returns the scores that a sampler or its partitions read, sorted."""
  difficulty = [DIFFICULTY] * reads_difficulty(spec)
  return tuple(sorted({*spec.scores, *difficulty}))


def build_scores(
  config: ConfigDict, loss: Loss, check_model: Callable[[ConfigDict], None]
) -> dict[str, BuiltScore]:
  """Builds every score of a config, by name, and checks its fields.

  Raises:
    UserError: at the field.
  """
  places = {DIFFICULTY: DIFFICULTY}
  places |= {name: f"scores.{name}" for name in config.scores}
  fields = {**config.scores.to_dict(), DIFFICULTY: config.difficulty.to_dict()}
  return {
    name: _build_score(config, name, place, fields[name], loss, check_model)
    for name, place in places.items()
  }


def _build_score(
  config: ConfigDict,
  name: str,
  place: str,
  fields: Mapping[str, Any],
  loss: Loss,
  check_model: Callable[[ConfigDict], None],
) -> BuiltScore:
  own = ConfigDict({**schema.SCORE_DEFAULTS, **fields})
  if own.file:
    return BuiltScore(name, place, own, None, None)
  _check_values(config, own, place)
  changes = {
    "budget": own.budget,
    "budget_basis": "examples",
    "train_on": "train",
    "scoring_model": _NO_SCORER,
  }
  merged = plain.merge(config, changes)
  if own.model:
    with merged.unlocked():
      merged.model = plain.to_config({"name": own.model, "weights": ""})
    try:
      check_model(merged)
    except UserError as error:
      raise UserError(error.code, f"{place}.model", error.text) from error
  batch_size, collects = config.batch_size, own.scorer in RUNNING_SCORES
  if collects:
    sampler = scored_passes(batch_size=batch_size, scores=own.scorer)
  else:
    sampler = uniform(batch_size=batch_size)
  run = make_run(
    name,
    merged,
    tuple(range(own.seed, own.seed + own.seeds)),
    f"{place}.budget",
    lambda num_steps: sampler,
  )
  score = None
  if not collects:
    known = collections.ChainMap(SCORERS, RUNNING_SCORES)
    score = specs.make(own.scorer, known, f"{place}.scorer", loss=loss)
  return BuiltScore(name, place, own, run, score)


def check_clusters(difficulty: BuiltScore) -> None:
  """Refuses a difficulty without a model whose features make clusters."""
  config = difficulty.config
  if config.file or config.train_on != "train":
    text = "the partition 'clusters' needs a model of all training examples"
    place = "file" if config.file else "train_on"
    raise UserError("conflict", f"{difficulty.place}.{place}", text)


def _check_values(config: ConfigDict, own: ConfigDict, place: str) -> None:
  """Checks the numbers and choices that no factory checks."""
  specs.check_range(f"{place}.seeds", own.seeds, 1)
  specs.check_range(f"{place}.folds", own.folds, 2)
  most = schema.MAX_SEED - own.seeds + 1
  specs.check_range(f"{place}.seed", own.seed, 0, most)
  # A model that starts as a trial does would know more of it than others.
  if own.seed < config.seed + config.trials and config.seed < (
    own.seed + own.seeds
  ):
    text = f"{max(own.seed, config.seed)} is the seed of a trial too"
    raise UserError("conflict", f"{place}.seed", text)
  specs.check_choice(f"{place}.train_on", own.train_on, TRAIN_ON)
  if own.scorer in RUNNING_SCORES and own.train_on != "train":
    text = f"{own.scorer!r} is of the examples trained on; expected 'train'"
    raise UserError("conflict", f"{place}.train_on", text)
  if own.train_on == "probe" and not has_probe(config.data):
    text = "'probe' needs a probe split, "
    text += "data.probe_fraction above 0 or data.probe_dir"
    raise UserError("conflict", f"{place}.train_on", text)
