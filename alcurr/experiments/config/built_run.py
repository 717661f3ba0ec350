"""A run as a config describes it, before its data is known."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import optax
from ml_collections import ConfigDict

from alcurr.experiments.config import budgets
from alcurr.training.optimizers import get_optimizer
from alcurr.types import Sampler, SamplerSpec


class BuiltRun(NamedTuple):
  """A run before its data is known."""

  name: str
  config: ConfigDict  # the experiment's, with the fields of `run` replaced
  seeds: tuple[int, ...]  # one for each trial
  # (N of the training pool) -> T, the steps of the budget
  num_steps: Callable[[int], int]
  # (T) -> sampler, built once for each T
  make_sampler: Callable[[int], Sampler]
  spec: SamplerSpec
  # (T) -> optimizer
  make_optimizer: Callable[[int], optax.GradientTransformation]


def make_run(
  name: str,
  merged: ConfigDict,
  seeds: tuple[int, ...],
  budget_field: str,
  make_sampler: Callable[[int], Sampler],
) -> BuiltRun:
  """Builds a run and checks what can be checked without the data."""

  def count_steps(num_examples: int) -> int:
    num_steps = budgets.num_steps(
      merged.budget, merged.batch_size, num_examples, budget_field
    )
    budgets.check_chunks(
      num_steps, merged.num_evals, merged.chunk_steps, budget_field
    )
    return num_steps

  if budgets.parse(merged.budget, budget_field)[1] != "epoch":
    count_steps(1)  # only an epoch depends on the number of examples
  get_optimizer(merged.optimizer, num_steps=1)
  return BuiltRun(
    name=name,
    config=merged,
    seeds=seeds,
    num_steps=count_steps,
    make_sampler=make_sampler,
    spec=make_sampler(budgets.MAX_STEPS).spec,
    make_optimizer=functools.partial(get_optimizer, merged.optimizer),
  )
