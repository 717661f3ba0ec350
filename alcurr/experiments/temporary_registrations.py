"""Names for samplers, models and their arguments that are Python objects.

A config holds texts and numbers. A factory or a record from a notebook gets a
name in its registry while the experiment runs, and the config holds the name.
"""

import contextlib
import hashlib
import inspect
import uuid
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.registry import Registry
from alcurr.models import MODELS
from alcurr.samplers import SAMPLERS


class TemporaryRegistrations(contextlib.ExitStack):
  """Registers objects within its `with` block."""

  def sampler(self, spec: Any, name: str) -> dict[str, Any]:
    """Returns the config of a sampler.

    Args:
      spec: a name, a call, a config dict, a factory or a `Sampler`. In a dict
        the name, and arguments that are records, may be objects too.
      name: of the sampler in the experiment.
    """
    place = f"samplers.{name}"
    config = self._config(spec, SAMPLERS, place)
    factory, _ = specs.parse(config["name"], place)
    parameters = specs.get_parameters(SAMPLERS, factory, place)
    for argument in parameters.keys() & config.keys():
      value = config[argument]
      registry = specs.part_registry(parameters[argument])
      if registry and _is_object(value):
        config[argument] = self._register(value, registry)
    return config

  def model(self, spec: Any) -> dict[str, Any]:
    """Returns the config of a model: a name, call, dict, factory or record."""
    return self._config(spec, MODELS, "model")

  def _config(
    self, spec: Any, registry: Registry, place: str
  ) -> dict[str, Any]:
    if isinstance(spec, ConfigDict):
      spec = spec.to_dict()
    config = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = config.get("name")
    if name is None:
      raise UserError("missing", f"{place}.name", f"{spec!r} has no name")
    if _is_object(name):
      config["name"] = self._register(name, registry)
    elif not isinstance(name, str):
      text = f"expected a name, dict, factory or record, got {name!r}"
      raise UserError("type", place, text)
    return config

  def _register(self, value: Any, registry: Registry) -> str:
    """Returns the name in the registry of a factory or a record."""
    name = f"{name_of(value)}_{_token(value)}"
    if name not in registry:
      is_record = registry.is_record(value)
      registry[name] = (lambda: value) if is_record else value
      self.callback(registry.pop, name)
    return name


def name_of(spec: Any) -> str:
  """Returns the name of a sampler that the user has not named."""
  if isinstance(spec, Mapping | ConfigDict):
    return name_of(spec.get("name", ""))
  if isinstance(spec, str):
    return specs.parse(spec, "samplers")[0]
  name = getattr(spec, "__name__", type(spec).__name__)
  return name if name.isidentifier() else "unnamed"


def _is_object(value: Any) -> bool:
  """Returns whether a value is a factory or a record."""
  return callable(value) or hasattr(value, "_fields")  # of a NamedTuple


def _token(value: Any) -> str:
  """Returns a hash of the code of a function without closure; else a new id.

  An experiment thus resumes with the same function, and with no other.
  """
  if inspect.isfunction(value) and value.__closure__ is None:
    with contextlib.suppress(OSError):  # its source is not saved anywhere
      code = inspect.getsource(value).encode()
      return hashlib.blake2b(code, digest_size=4).hexdigest()
  return uuid.uuid4().hex[:8]
