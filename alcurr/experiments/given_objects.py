"""Objects in the place of names: factories and records that a call is given."""

import contextlib
import hashlib
import inspect
import uuid
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import specs


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
