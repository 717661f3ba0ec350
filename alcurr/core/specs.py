"""Records from the strings and dicts of a config.

A spec is a name (`"rank"`), a call with literal arguments
(`"rank(window=500)"`), or a dict with `name` and the arguments. Where the
registry has a record for it, a number is a spec too (`0.2` or `"0.2"`).

A factory's annotations say what its arguments are. One annotated with the
record of a registry, such as `Gain` or `float | Schedule`, takes a spec.
"""

import ast
import contextlib
import difflib
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from alcurr.core.errors import UserError
from alcurr.core.registry import Registry, registry_of

Parameters = Mapping[str, inspect.Parameter]

# How a message calls the values of a type.
TYPE_NAMES = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "a text",
  tuple: "several numbers such as (1, 2)",
  types.NoneType: "None",
}

_LITERALS = str | bytes | float | complex | tuple | list | set | Mapping
_LITERALS |= int | types.NoneType | types.EllipsisType


@contextlib.contextmanager
def errors_in(place: str) -> Iterator[None]:
  """Turns a factory's ValueError into a UserError about a place."""
  try:
    yield
  except UserError:
    raise
  except ValueError as error:
    raise UserError("argument", place, str(error)) from error


def parse(spec: str, field: str) -> tuple[str, dict[str, Any]]:
  """Splits `"name(a=1, b='x')"` into its name and keyword arguments.

  Raises:
    UserError: the text is neither a name nor a call with literal arguments.
  """
  # Python's own parser may run out of stack on a deeply nested text.
  with contextlib.suppress(
    SyntaxError, ValueError, TypeError, RecursionError, MemoryError
  ):
    match ast.parse(spec.strip(), mode="eval").body:
      case ast.Name(name):
        return name, {}
      case ast.Call(ast.Name(name), [], keywords):
        values = {k.arg: ast.literal_eval(k.value) for k in keywords}
        # Neither `**more` nor a repeated argument.
        if None not in values and len(values) == len(keywords):
          return name, values
  text = "expected a name or a call such as rank(window=500), got "
  raise UserError("syntax", field, text + quoted(spec))


def quoted(text: str) -> str:
  """Returns a text in quotes, cut if it is long."""
  return repr(text if len(text) <= 80 else f"{text[:77]}...")


def nearest(name: str, known: Iterable[str]) -> str:
  """Returns "Known: a, b, c" and, for a likely typo, ". Did you mean b?"."""
  known = sorted(known)
  return f"Known: {', '.join(known) or 'none'}{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
  """Returns ". Did you mean <prefix>b?" for a likely typo, else nothing."""
  close = difflib.get_close_matches(name, known, n=1)
  return f". Did you mean {prefix}{close[0]}?" if close else ""


def check_range(
  field: str, value: float, minimum: float, maximum: float = math.inf
) -> None:
  """Refuses a number below the minimum or above the maximum."""
  if not minimum <= value <= maximum:  # nor is NaN admitted
    upper = "" if maximum == math.inf else f" and at most {maximum}"
    text = f"expected at least {minimum}{upper}, got {value}"
    raise UserError("range", field, text)


def check_choice(field: str, value: str, choices: Iterable[str]) -> None:
  """Refuses a text that is none of the choices."""
  if value not in choices:
    text = f"no {quoted(value)}. {nearest(value, choices)}"
    raise UserError("unknown", field, text)


def make(
  spec: str | float | Mapping[str, Any],
  registry: Mapping[str, Callable[..., Any]],
  field: str,
  **context: Any,
) -> Any:
  """Calls the registry's factory that a spec, see the module, names.

  `context` is what the run knows (`num_steps`, `batch_size`, ...). A factory
  gets those that its signature names; the spec must not set them.

  Raises:
    UserError: about the config's `field`, or an argument in it: an unknown
      name or argument, or a value the factory refuses.
  """
  from_number = getattr(registry, "from_number", None)
  if from_number and (number := _to_number(spec)) is not None:
    with errors_in(field):
      return from_number(number)
  name, arguments = resolve(spec, registry, field, **context)
  try:
    return registry[name](**arguments)
  except UserError:
    raise
  # Other libraries' factories raise the latter two, such as optax for a dtype.
  except (ValueError, TypeError, OverflowError) as error:
    raise UserError("argument", field, f"{name}: {error}") from error


def resolve(
  spec: str | Mapping[str, Any],
  registry: Mapping[str, Callable[..., Any]],
  field: str,
  **context: Any,
) -> tuple[str, dict[str, Any]]:
  """Returns the factory's name and the arguments that `make` calls it with.

  Raises:
    UserError: an unknown name or argument, or a value of another type.
  """
  name, arguments = _split(spec, registry, field)
  parameters = get_parameters(registry, name, field)
  known = [p for p in parameters if p not in context]
  for argument, value in arguments.items():
    if argument not in known:
      text = f"{name} takes no {argument!r}. {nearest(argument, known)}"
      raise UserError("unknown", field, text)
    arguments[argument] = _convert(
      value, parameters[argument], f"{field}.{argument}", context
    )
  arguments = {k: v for k, v in context.items() if k in parameters} | arguments
  for argument, parameter in parameters.items():
    if argument not in arguments and parameter.default is parameter.empty:
      text = f"required by {name}"
      if part := part_registry(parameter):
        text += f"; {_one_of(part)}"
      raise UserError("missing", f"{field}.{argument}", text)
  return name, arguments


def _split(
  spec: Any, registry: Mapping[str, Any], field: str
) -> tuple[str, dict[str, Any]]:
  """Returns the name and the arguments of a spec."""
  if isinstance(spec, str):
    return parse(spec, field)
  if not isinstance(spec, Mapping):
    raise UserError("type", field, f"{_one_of(registry)}, got {spec!r}")
  if not isinstance(spec.get("name"), str):
    raise UserError("missing", f"{field}.name", _one_of(registry))
  # "sgd(momentum=0.9)" may be the name in a dict too.
  name, arguments = parse(spec["name"], f"{field}.name")
  return name, {k: v for k, v in spec.items() if k != "name"} | arguments


def _one_of(registry: Mapping[str, Any]) -> str:
  return f"expected one of {', '.join(sorted(registry))}"


def get_parameters(
  registry: Mapping[str, Callable[..., Any]], name: str, field: str
) -> Parameters:
  """Returns the named parameters of a factory; UserError if there is none."""
  check_choice(field, name, registry)
  factory = registry[name]
  try:
    signature = inspect.signature(factory, eval_str=True)
  except NameError:  # a string annotation of a name imported for type checkers
    signature = inspect.signature(factory)
  variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
  parameters = signature.parameters.items()
  return {name: p for name, p in parameters if p.kind not in variadic}


def part_registry(parameter: inspect.Parameter) -> Registry | None:
  """Returns the registry of specs that a parameter takes; None: of none."""
  registries = map(registry_of, _members(parameter.annotation))
  return next((r for r in registries if r is not None), None)


def _convert(
  value: Any,
  parameter: inspect.Parameter,
  place: str,
  context: Mapping[str, Any],
) -> Any:
  """Makes the record of a nested spec, and checks the type of a literal."""
  registry = part_registry(parameter)
  kinds = _literal_types(parameter.annotation)
  # A NamedTuple is a record, not several numbers.
  literal = isinstance(value, _LITERALS) and not hasattr(value, "_fields")
  if not literal or any(has_type(value, kind) for kind in kinds):
    return value
  if registry is not None:
    number = _to_number(value) if float in kinds else None
    if number is None:
      return make(value, registry, place, **context)
    return number
  if not kinds:
    return value
  # Where any number is admitted, whole ones need no mention.
  implied = (bool, int) if float in kinds else ()
  names = [TYPE_NAMES[k] for k in kinds if k in TYPE_NAMES and k not in implied]
  text = f"expected {' or '.join(names)}, got {value!r}"
  raise UserError("type", place, text)


def _members(annotation: Any) -> tuple[Any, ...]:
  union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
  return typing.get_args(annotation) if union else (annotation,)


def _literal_types(annotation: Any) -> list[Any]:
  """Returns the types of an annotation; none if it admits any literal."""
  kinds = [typing.get_origin(m) or m for m in _members(annotation)]
  if not set(kinds) & TYPE_NAMES.keys() or Any in kinds:
    return []
  return kinds


def has_type(value: Any, kind: type) -> bool:
  """Returns whether a value is of a type; a bool is no number."""
  if kind in (int, float):
    number = numbers.Integral if kind is int else numbers.Real
    return isinstance(value, number) and not isinstance(value, bool)
  if kind is tuple:
    return isinstance(value, tuple | list) and all(
      has_type(item, float) for item in value
    )
  return isinstance(kind, type) and isinstance(value, kind)


def _to_number(value: Any) -> float | None:
  """Returns a number, or a text of a number, as a float; None: neither."""
  if not isinstance(value, str) and not has_type(value, float):
    return None
  try:
    return float(value)
  except (ValueError, OverflowError):
    return None
