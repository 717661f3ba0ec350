"""The mesh of devices that share the work of a run, from `config.mesh`."""

import math
import re
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from absl import logging
from jax.sharding import AxisType, Mesh

from alcurr.core import specs
from alcurr.core.errors import UserError

TRIAL, DATA = "trial", "data"
# Devices that neither divides: they do the work of others once more.
COPY = "copy"
PLACE = "config.mesh"


def parse(text: str) -> dict[str, int]:
  """Returns the size of each axis of a text such as "trial=3,data=2".

  Raises:
    UserError: another syntax, an unknown axis, or one that is given twice.
  """
  sizes: dict[str, int] = {}
  for item in filter(None, text.replace(" ", "").split(",")):
    name, _, size = item.partition("=")
    specs.check_choice(PLACE, name, (DATA, TRIAL))
    if name in sizes or not re.fullmatch(r"[1-9]\d{0,5}", size):
      text = f"expected axes once each, such as trial=3,data=2, got {text!r}"
      raise UserError("syntax", PLACE, text)
    sizes[name] = int(size)
  return sizes


def make_mesh(
  text: str,
  num_trials: int,
  batch_sizes: Iterable[int],
  devices: Sequence[jax.Device],
) -> Mesh | None:
  """Returns the mesh of an experiment; None for one device.

  Args:
    text: see `parse`. An axis that is not named has the size 1. "": trials over
      devices as far as they divide, then batches over the others.
    num_trials: S.
    batch_sizes: of all batches. Other draws are split if they divide.
    devices: of all processes.

  Raises:
    UserError: there are too few devices, an axis divides no batch or trials, or
      a process would have no part.
  """
  sizes, available = parse(text), len(devices)
  if sizes:
    trial, data = sizes.get(TRIAL, 1), sizes.get(DATA, 1)
    if trial * data > available:
      text = f"{text!r} needs {trial * data} devices, there are {available}"
      raise UserError("range", PLACE, text)
    if num_trials % trial:
      text = f"expected a divisor of the {num_trials} trials, got trial={trial}"
      raise UserError("conflict", PLACE, text)
    for size in batch_sizes:
      if size % data:
        text = f"expected a divisor of each batch ({size}), got data={data}"
        raise UserError("conflict", PLACE, text)
  else:
    trial, data = _divide(num_trials, batch_sizes, available)
  used = trial * data
  if used < available and jax.process_count() > 1:
    text = f"trial={trial},data={data} leaves {available - used} of {available}"
    text += " devices idle; with several processes, all must be used"
    raise UserError("conflict", PLACE, text)
  if used < available:
    idle = "%d of %d devices are used: trials and batches divide no further."
    logging.info(idle, used, available)
  if used == 1 and jax.process_count() == 1:
    return None
  return _arrange(devices[:used], trial, data)


def fit_mesh(
  mesh: Mesh | None, num_trials: int, batch_sizes: Iterable[int]
) -> Mesh | None:
  """Returns a mesh of the same devices for a run of other trials or batches."""
  if mesh is None:
    return None
  sizes = [*batch_sizes]
  fits = not num_trials % mesh.shape[TRIAL]
  if fits and not any(size % mesh.shape[DATA] for size in sizes):
    return mesh
  devices = mesh.devices.ravel()
  return _arrange(devices, *_divide(num_trials, sizes, len(devices)))


def _divide(
  num_trials: int, batch_sizes: Iterable[int], available: int
) -> tuple[int, int]:
  """Returns the sizes of `trial` and `data`, the former as large as it can."""
  trial = math.gcd(num_trials, available)
  return trial, math.gcd(available // trial, *batch_sizes)


def _arrange(devices: Sequence[jax.Device], trial: int, data: int) -> Mesh:
  shape = (trial, data, len(devices) // (trial * data))
  # JAX propagates the shardings, rather than the program's types.
  kinds = (AxisType.Auto,) * len(shape)
  devices = np.asarray(devices).reshape(shape)
  return Mesh(devices, (TRIAL, DATA, COPY), axis_types=kinds)


def describe(mesh: Mesh | None) -> str:
  """Returns the mesh as `config.mesh` has it, or "one device"."""
  if mesh is None:
    return "one device"
  return ",".join(f"{name}={mesh.shape[name]}" for name in (TRIAL, DATA))
