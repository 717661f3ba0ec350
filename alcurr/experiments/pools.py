"""The pools of an experiment: its splits with their scores and partitions."""

from collections.abc import Mapping

import numpy as np
from absl import logging

from alcurr.core import specs
from alcurr.data import partitions
from alcurr.data.pool import Dataset, concatenate, host_pool
from alcurr.experiments import pool_scores, setup
from alcurr.experiments.config.scores import DIFFICULTY
from alcurr.types import ArmNames, Pool


def _kinds(context: setup.ExperimentContext, part: Dataset) -> list[str]:
  """Returns the partitions of a split; the user's own lack some.

  Such a split has no groups, and no difficulty from a file.
  """
  experiment, lacking = context.experiment, set()
  if part.groups is None:
    lacking |= {"groups"}
  from_file = [score.name for score in experiment.file_scores]
  if DIFFICULTY in from_file and part.scores is None:
    lacking |= partitions.PARTITIONS.keys() - partitions.UNSCORED
  return sorted(experiment.partitions - lacking)


def _with_planted(part: Dataset) -> Dataset:
  """Flags the labels of a split that nobody made wrong as right."""
  right = {"planted": np.zeros(len(part.label), bool)}
  return part._replace(flags=right | part.flags)


def _with_probe(train: Dataset, probe: Dataset) -> Dataset:
  """Joins two splits; a probe without groups becomes a group of its own."""
  # Joined splits have the flags that both have.
  train, probe = _with_planted(train), _with_planted(probe)
  if train.groups is not None and probe.groups is None:
    names = train.group_names
    name = "probe" if "probe" not in names else f"probe {len(names)}"
    train = train._replace(group_names=(*names, name))
    probe = probe._replace(
      groups=np.full(len(probe.label), len(names), np.int32)
    )
  return concatenate(train, probe)


def host_pools(
  context: setup.ExperimentContext,
  made: Mapping[str, Mapping[str, np.ndarray]] | None = None,
  clusters: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Pool]:
  """Returns the pools by name, of NumPy arrays.

  Without a probe split, the valid pool is the probe pool too. `made` has the
  scores by models, by name and split, [N]; None: not yet known. `clusters` has
  those of each split; before they are known, examples have them in turn.

  Raises:
    UserError: more arms than the training examples can fill.
  """
  experiment = context.experiment
  train, num_arms = context.parts["train"], {}
  asked = experiment.config.difficulty.num_arms
  for kind in sorted(experiment.partitions):
    with specs.errors_in("difficulty.num_arms"):
      num_arms[kind] = partitions.fit_num_arms(
        kind, train.label, asked, train.class_names
      )
    if num_arms[kind] < asked and made is None:
      text = "The partition %s has %d arms, not %d: most classes are rare."
      logging.warning(text, kind, num_arms[kind], asked)
  parts, clusters = dict(context.parts), dict(clusters or {})
  scores = pool_scores.by_split(experiment, parts, made or {})
  joint = "train_and_probe"
  if any(run.config.train_on == joint for run in experiment.runs.values()):
    parts[joint] = _with_probe(train, parts["probe"])
    scores[joint] = {
      name: np.concatenate([score, scores["probe"][name]])
      for name, score in scores["train"].items()
    }
    if clusters:
      both = [clusters["train"], clusters["probe"]]
      clusters[joint] = np.concatenate(both)
  pools = {}
  for name, part in parts.items():
    score = scores[name][DIFFICULTY]
    given = partitions.given_arms(part)
    if "clusters" in experiment.partitions:
      turn = np.arange(len(part.label)) % num_arms["clusters"]
      given["clusters"] = clusters.get(name, turn)
    by_name = {
      kind: partitions.PARTITIONS[kind](
        given.get(kind, part.label), score, num_arms[kind]
      )
      for kind in _kinds(context, part)
    }
    pool = host_pool(part, score, by_name)
    pools[name] = pool._replace(scores=scores[name])
  groups = parts.get(joint, train).group_names
  names = {"label": train.class_names, "groups": groups}
  names["planted"] = ("right", "wrong")
  for kind in experiment.partitions:
    # A split may lack a rare class. The others have no arm for the group that
    # the probe is.
    having = {n: pool for n, pool in pools.items() if kind in pool.partitions}
    size = {n: len(p.partitions[kind].size) for n, p in having.items()}
    most = max(n for name, n in size.items() if name != joint)
    for name, pool in having.items():
      num = max(most, size[name])
      arms = partitions.pad_arms(pool.partitions[kind], num)
      arms = arms._replace(names=ArmNames(names.get(kind, ())[:num]))
      pool.partitions[kind] = arms
  return {"probe": pools["valid"]} | pools
