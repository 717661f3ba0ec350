"""Settings that save memory, and what each may come to at best.

A saving is one kind of change to a config, as the options there are for it,
the slightest first. What it hopes for is never more than what a compiled
program will say: it decides what is worth compiling, and nothing else.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.experiments.config import build
from alcurr.models import MODELS
from alcurr.training import memory
from alcurr.training.memory import Need


class Case(NamedTuple):
  """A run that needs more than there is."""

  config: ConfigDict
  names: tuple[str, ...]  # of all runs that do; this one is the greediest
  need: Need
  free: int  # bytes that the device has
  num_train: int  # examples to train on
  train_bytes: float  # of the pools, by each of them


class Option(NamedTuple):
  build: dict[str, Any]  # by their dotted names in the config
  hope: Need  # the run's, at best


def _scaled(
  need: Need,
  training: float = 1.0,
  evaluation: float = 1.0,
  ahead: float = 1.0,
) -> Need:
  return need._replace(
    ahead=math.ceil(need.ahead * ahead),
    training=math.ceil((need.training or 0) * training),
    evaluation=math.ceil((need.evaluation or 0) * evaluation),
  )


def _of_run(case: Case, name: str) -> ConfigDict:
  # The reference model is none of the samplers, and has the config's own.
  own = name in case.config.samplers
  return build.run_config(case.config, name) if own else case.config


def _place(case: Case, name: str, field: str) -> str:
  """Where a run's field stands: in its own `run`, or in the config."""
  value: Any = case.config.samplers.get(name, {}).get("run", {})
  for key in field.split("."):
    if key not in value:
      return field
    value = value[key]
  return f"samplers.{name}.run.{field}"


def _halves(size: int) -> Iterator[tuple[int, float]]:
  """How often a size may be halved, down to 1, and the share that is left."""
  for n in range(1, size.bit_length()):
    yield n, (size >> n) / size


def map_trials(case: Case) -> Iterator[Option]:
  """One trial after the other."""
  trials = case.need.trials
  if trials > 1 and case.config.trials_by == "vmap":
    share = 1 / trials
    yield Option({"trials_by": "map"}, _scaled(case.need, share, share))


def shorter_chunks(case: Case) -> Iterator[Option]:
  """Less fetched ahead at a time."""
  if case.need.ahead:
    steps = case.config.chunk_steps
    for n, share in _halves(steps):
      yield Option({"chunk_steps": steps >> n}, _scaled(case.need, ahead=share))


def smaller_evaluations(case: Case) -> Iterator[Option]:
  """Fewer examples at a time where they are only looked at."""
  size = case.config.eval_batch_size
  for n, share in _halves(size):
    hope = _scaled(case.need, evaluation=share)
    yield Option({"eval_batch_size": size >> n}, hope)


def _with_argument(case: Case, argument: str, value: Any) -> dict[str, str]:
  """The runs' models with another argument; {} where one does not take it."""
  values = {}
  for name in case.names:
    spec = _of_run(case, name).model
    model, arguments = specs.parse(spec.name, "model.name")
    if argument not in inspect.signature(MODELS[model]).parameters:
      return {}
    if {**spec, **arguments}.get(argument) != value:
      arguments[argument] = value
      text = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
      values[_place(case, name, "model.name")] = f"{model}({text})"
  return values


def second_forward_pass(case: Case) -> Iterator[Option]:
  """The activations within blocks computed again, in place of kept."""
  values = _with_argument(case, "remat", True)
  # On the CPU the compiler sees two equal passes and makes one of them.
  if values and jax.default_backend() != "cpu":
    yield Option(values, _scaled(case.need, training=0.1))


def strokes_on_device(case: Case) -> Iterator[Option]:
  """Strokes in place of the images made from them."""
  if case.config.data.render == "precompute":
    yield Option({"data.render": "in_step"}, case.need._replace(pool=0))


def examples_on_host(case: Case) -> Iterator[Option]:
  """The examples on the host, and of the pool the rest on the device."""
  # The memory of a CPU is the host's.
  if case.config.data.pool == "device" and jax.default_backend() != "cpu":
    yield Option({"data.pool": "host"}, case.need._replace(pool=0))


def smaller_batches(case: Case) -> Iterator[Option]:
  """Smaller batches; of evaluations too, where they are too much as well."""
  values, need = {}, case.need
  if not memory.fits(need._replace(training=0), case.free):
    for option in smaller_evaluations(case):
      values, need = option
      if memory.fits(need._replace(training=0), case.free):
        break
  sizes = {
    _place(case, name, "batch_size"): _of_run(case, name).batch_size
    for name in case.names
  }
  for n, share in _halves(min(sizes.values())):
    smaller = {place: size >> n for place, size in sizes.items()}
    hope = _scaled(need, training=share, ahead=share)
    yield Option(smaller | values, hope)


def fewer_trials(case: Case) -> Iterator[Option]:
  by_map = case.config.trials_by == "map"
  for trials in range(case.need.trials - 1, 0, -1):
    share = 1.0 if by_map else trials / case.need.trials
    ahead = trials / case.need.trials
    hope = _scaled(case.need, share, share, ahead)._replace(trials=trials)
    yield Option({"trials": trials}, hope)


def half_precision(case: Case) -> Iterator[Option]:
  """Activations of half the size."""
  values = _with_argument(case, "dtype", "bfloat16")
  # The CPU has no arithmetic for them, and keeps both kinds.
  if values and jax.default_backend() != "cpu":
    yield Option(values, _scaled(case.need, 0.5, 0.5))


def fewer_examples(case: Case) -> Iterator[Option]:
  """Fewer examples to train on, where it is the pool that is too much."""
  need = case.need
  if 2 * need.pool < need.total:
    return
  excess = need.total - (1 - memory.MARGIN) * case.free
  most = case.num_train - math.ceil(excess / case.train_bytes)
  for count in (most, most * 9 // 10):
    if count > 0:
      step = 10 ** max(len(str(count)) - 2, 0)  # two digits are said
      saved = (case.num_train - count) * case.train_bytes
      yield Option(
        {"data.train_examples": count // step * step},
        need._replace(pool=need.pool - math.ceil(saved)),
      )


# First those that leave the results as they are.
SAVINGS: tuple[Callable[[Case], Iterator[Option]], ...] = (
  map_trials,
  shorter_chunks,
  smaller_evaluations,
  second_forward_pass,
  strokes_on_device,
  examples_on_host,
  smaller_batches,
  fewer_trials,
  half_precision,
  fewer_examples,
)
