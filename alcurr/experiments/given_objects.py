"""Objects in the place of names: factories and records that a call is given."""

import contextlib
import hashlib
import inspect
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.registry import Registry


def name_of(spec: Any) -> str:
  """Returns the name of a sampler that the user has not named."""
  if isinstance(spec, Mapping | ConfigDict):
    return name_of(spec.get("name", ""))
  if isinstance(spec, str):
    return specs.parse(spec, "samplers")[0]
  name = getattr(spec, "__name__", type(spec).__name__)
  return name if name.isidentifier() else "unnamed"


def is_object(value: Any) -> bool:
  """Returns whether a value is a factory or a record."""
  return callable(value) or hasattr(value, "_fields")  # of a NamedTuple


def token(value: Any) -> str:
  """Returns a hash of the code of a function without closure; else a new id.

  An experiment thus resumes with the same function, and with no other.
  """
  if inspect.isfunction(value) and value.__closure__ is None:
    with contextlib.suppress(OSError):  # its source is not saved anywhere
      code = inspect.getsource(value).encode()
      return hashlib.blake2b(code, digest_size=4).hexdigest()
  return uuid.uuid4().hex[:8]


def named(samplers: Any) -> dict[str, Any]:
  """Returns the samplers by the user's names, or by names made for them."""
  if isinstance(samplers, ConfigDict):
    samplers = samplers.to_dict()
  if isinstance(samplers, Mapping):
    found = {str(name): spec for name, spec in samplers.items()}
  else:
    if isinstance(samplers, str) or is_object(samplers):
      samplers = [samplers]
    if not isinstance(samplers, Iterable):
      text = f"expected names, or a dict of samplers, got {samplers!r}"
      raise UserError("type", "samplers", text)
    found = {}
    for spec in samplers:
      name, number = name_of(spec), 1
      while (unique := name if number == 1 else f"{name}_{number}") in found:
        number += 1
      found[unique] = spec
  if not found:
    raise UserError("missing", "samplers", "expected at least one sampler")
  return found


def check_model(model: Any) -> None:
  """Refuses a module of a network library, which is callable like a factory.

  Raises:
    UserError: it is one, of Flax or PyTorch.
  """
  kinds = type(model).__mro__
  if not any(kind.__name__ == "Module" for kind in kinds):
    return
  package = kinds[0].__module__.partition(".")[0]
  text = f"expected a name, a factory or a Model, got a module of {package}; "
  text += "models.from_linen and models.from_nnx make a Model of Flax's, and "
  text += "PyTorch's train in a loop of your own, see docs/loops.md"
  raise UserError("type", "model", text)


def register(
  stack: contextlib.ExitStack, spec: Any, registry: Registry, place: str
) -> dict[str, Any]:
  """Returns the config of a name, call, dict, factory or record.

  A config holds texts and numbers. A name or an argument that is an object gets
  a name in its registry, until the stack is closed.
  """

  def name_for(value: Any, registry: Registry) -> str:
    name = f"{name_of(value)}_{token(value)}"
    if name not in registry:
      is_record = registry.is_record(value)
      registry[name] = (lambda: value) if is_record else value
      stack.callback(registry.pop, name)
    return name

  if isinstance(spec, ConfigDict):
    spec = spec.to_dict()
  config = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
  name = config.get("name")
  if name is None:
    raise UserError("missing", f"{place}.name", f"{spec!r} has no name")
  if is_object(name):
    config["name"] = name_for(name, registry)
  elif not isinstance(name, str):
    text = f"expected a name, dict, factory or record, got {name!r}"
    raise UserError("type", place, text)
  factory, _ = specs.parse(config["name"], place)
  parameters = specs.get_parameters(registry, factory, place)
  for argument in parameters.keys() & config.keys():
    part_registry = specs.part_registry(parameters[argument])
    if part_registry and is_object(config[argument]):
      config[argument] = name_for(config[argument], part_registry)
  return config
