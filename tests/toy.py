"""Runs of the testing package's toys, which several test files share."""

import contextlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

import optax
import pytest

from alcurr.core import specs
from alcurr.data.pool import make_gather
from alcurr.samplers import SAMPLERS
from alcurr.testing import (
  NUM_ARMS,
  NUM_CLASSES,
  arrays,
  make_linear,
  make_pool,
)
from alcurr.training.run import RunSpec
from alcurr.training.scoring import make_score
from alcurr.types import Sampler

__all__ = [
  "NUM_ARMS",
  "NUM_CLASSES",
  "arrays",
  "make_linear",
  "make_pool",
  "make_run",
  "make_sampler",
  "without_page",
]


def make_sampler(
  spec: str | Mapping[str, Any], field: str, *, batch_size: int, num_steps: int
) -> Sampler:
  """Returns the sampler of a spec, as a config's field has it."""
  return specs.make(
    spec, SAMPLERS, field, batch_size=batch_size, num_steps=num_steps
  )


def make_run(
  spec: Mapping[str, Any] = types.MappingProxyType({"name": "uniform"}),
  batch_size: int = 8,
  num_steps: int = 20,
  trials_by: str = "map",
  **changes,
) -> RunSpec:
  """Two trials of a sampler, in chunks of five steps, evaluated twice."""
  model, gather = make_linear(), make_gather()
  return RunSpec(
    sampler=make_sampler(spec, "x", batch_size=batch_size, num_steps=num_steps),
    model=model,
    tx=optax.adam(0.1),
    gather=gather,
    num_steps=num_steps,
    batch_size=batch_size,
    seeds=(0, 1),
    trials_by=trials_by,
    num_evals=2,
    chunk_steps=5,
    score=make_score(model, gather, 50, trials_by),
  )._replace(**changes)


@contextlib.contextmanager
def without_page() -> Iterator[None]:
  """Omits report.html, which takes longer to draw than a small experiment."""
  from alcurr.experiments import experiment_runner

  with pytest.MonkeyPatch.context() as patch:
    nothing = lambda *args: None  # noqa: E731
    patch.setattr(experiment_runner.page, "write_report", nothing)
    yield
