"""Samplers, models and their parts that are objects of the calling program.

A config holds texts and numbers. What a notebook hands over instead, a factory
or a record, gets a name of its own in the registry for as long as an
experiment runs, and the config that name.
"""

import hashlib
import inspect
import uuid
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.registry import Registry
from alcurr.experiments.config import defaults
from alcurr.models import MODELS
from alcurr.samplers import PARTS, SAMPLERS


class TemporaryRegistrations:
  """Gives objects names, within its `with` block."""

  def __init__(self):
    self._entered: list[tuple[Registry, str]] = []

  def __enter__(self) -> "TemporaryRegistrations":
    return self

  def __exit__(self, *error: object) -> None:
    for registry, name in self._entered:
      del registry[name]
    self._entered.clear()

  def sampler(self, spec: Any) -> dict[str, Any]:
    """The config of a sampler; that of `active_bandit` is the paper's.

    Args:
      spec: a name, a call, a config dict, a factory or a `Sampler`; in a dict
        the name, and the parts in `samplers.PARTS`, may be objects too.
    """
    config = self._config(spec, SAMPLERS)
    for part in PARTS.keys() & config.keys():
      config[part] = self._named(config[part], PARTS[part])
    if specs.parse(config["name"], "samplers")[0] == "active_bandit":
      config = defaults.bandit().to_dict() | config
    return config

  def model(self, spec: Any) -> dict[str, Any]:
    """The config of a model: a name, a call, a dict, a factory or a `Model`."""
    return self._config(spec, MODELS)

  def _config(self, spec: Any, registry: Registry) -> dict[str, Any]:
    if isinstance(spec, ConfigDict):
      spec = spec.to_dict()
    config = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    if "name" not in config:
      raise UserError(f"{spec!r} has no name; give it one.")
    config["name"] = self._named(config["name"], registry)
    return config

  def _named(self, value: Any, registry: Registry) -> Any:
    """The name of a factory or a record; what a config can hold as it is."""
    if isinstance(value, ConfigDict):
      return value.to_dict()
    if isinstance(value, str | Mapping):
      return value
    record = _is_record(value)
    if not record and not callable(value):
      raise UserError(
        f"{value!r} is no name, config, factory or record; give one of them."
      )
    name = f"{name_of(value)}_{_token(value)}"
    if name not in registry:
      registry[name] = (lambda: value) if record else value
      self._entered.append((registry, name))
    return name


def name_of(spec: Any) -> str:
  """What a sampler is called where the user does not say."""
  if isinstance(spec, ConfigDict):
    spec = spec.to_dict()
  if isinstance(spec, Mapping):
    if "name" not in spec:
      raise UserError(f"{spec!r} has no name; give it one.")
    return name_of(spec["name"])
  if isinstance(spec, str):
    return specs.parse(spec, "samplers")[0]
  name = getattr(spec, "__name__", type(spec).__name__)
  return name if name.isidentifier() else "unnamed"


def _is_record(value: Any) -> bool:
  return isinstance(value, tuple) and hasattr(value, "_fields")


def _token(value: Any) -> str:
  """Of the code of a function that is nothing but its code; else unique.

  So an experiment goes on in its folder with the function that it began with,
  and with no other.
  """
  if inspect.isfunction(value) and value.__closure__ is None:
    try:
      code = inspect.getsource(value)
    except OSError:  # typed in where nothing keeps it
      code = None
    if code is not None:
      return hashlib.blake2b(code.encode(), digest_size=4).hexdigest()
  return uuid.uuid4().hex[:8]
