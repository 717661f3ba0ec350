"""From the strings and dicts of a config to the records they name.

A spec is a name (`"rank"`), a call of literals (`"rank(window=500)"`), a
number where a schedule is wanted (`"0.2"`), or a dict with a `name` and the
call's arguments. Names are looked up in an explicit dict; every mistake is
one sentence that begins with the field it stands in.
"""

import ast
import contextlib
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from alcurr.core.errors import UserError
from alcurr.core.registry import known as known_names

# What a function takes any number of, none too.
_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@contextlib.contextmanager
def errors_in(field: str) -> Iterator[None]:
  """Turns a factory's ValueError into the user's, said of a field."""
  try:
    yield
  except UserError:
    raise
  except ValueError as error:
    raise UserError(f"{field}: {error}.") from error


def parse(spec: str, field: str) -> tuple[str, dict[str, Any]]:
  """Splits `"name(a=1, b='x')"` into its name and keyword arguments."""
  found = None
  # Of a deep nesting, Python's own parser has too little stack or memory.
  with contextlib.suppress(
    SyntaxError, ValueError, TypeError, RecursionError, MemoryError
  ):
    found = _parse_call(spec.strip())
  if found is None:
    raise UserError(
      f"{field}={quoted(spec)}: write a name, or a name with its arguments such "
      "as rank(window=500)."
    )
  return found


def _parse_call(text: str) -> tuple[str, dict[str, Any]] | None:
  node = ast.parse(text, mode="eval").body
  if isinstance(node, ast.Name):
    return node.id, {}
  if (
    not isinstance(node, ast.Call)
    or not isinstance(node.func, ast.Name)
    or node.args
  ):
    return None
  values = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
  # Neither `**more` nor an argument given twice.
  if None in values or len(values) < len(node.keywords):
    return None
  return node.func.id, values


def quoted(text: str) -> str:
  """A text in quotes, cut if it is long."""
  return repr(text if len(text) <= 80 else f"{text[:77]}...")


def nearest(name: str, known: Any) -> str:
  """`Known: a, b, c. Did you mean b?` for an unknown name."""
  known = sorted(known)
  close = difflib.get_close_matches(name, known, n=1)
  hint = f" Did you mean {close[0]}?" if close else ""
  return f"Known: {', '.join(known)}.{hint}"


def make(
  spec: str | Mapping[str, Any],
  registry: Mapping[str, Callable[..., Any]],
  field: str,
  **context: Any,
) -> Any:
  """Calls the registry's factory that a spec names.

  Args:
    spec: a name, a call, or a dict with `name` and arguments.
    registry: the factories by name; a `plugins.Registry` has those of other
      packages too.
    field: where the spec stands in the config, for the messages.
    **context: what the run knows (`num_steps`, `batch_size`, ...); a factory
      gets those that its signature names and the spec leaves out.

  Returns:
    What the factory returns.

  Raises:
    UserError: an unknown name or argument, or a value the factory refuses.
  """
  if isinstance(spec, str):
    name, arguments = parse(spec, field)
  else:
    arguments = {k: v for k, v in spec.items() if k != "name"}
    if not isinstance(spec.get("name"), str):
      known = known_names(registry)
      raise UserError(f"{field}: give it a name. {nearest('', known)}")
    # "sgd(momentum=0.9)" may stand as the name of a dict's spec too.
    name, extra = parse(spec["name"], f"{field}.name")
    arguments |= extra
  try:
    factory = registry[name]
  except KeyError:
    known = known_names(registry)
    raise UserError(f"{field}: no {name!r}. {nearest(name, known)}") from None
  signature = inspect.signature(factory)
  # What the run knows is not the user's to say.
  known = [p for p in signature.parameters if p not in context]
  for argument, value in arguments.items():
    if argument not in known:
      raise UserError(
        f"{field}: {name} takes no {argument!r}. "
        f"{nearest(argument, known) if known else 'It takes nothing.'}"
      )
    check_type(value, signature.parameters[argument], f"{field}: {name}")
  arguments = {
    k: v for k, v in context.items() if k in signature.parameters
  } | arguments
  for argument, parameter in signature.parameters.items():
    needed = parameter.default is inspect.Parameter.empty
    if needed and argument not in arguments and parameter.kind not in _ANY:
      raise UserError(
        f"{field}: {name}: missing a required argument: {argument!r}."
      )
  with errors_in(f"{field}: {name}"):
    try:
      return factory(**arguments)
    # A value that others than we look at, such as a dtype for optax.
    except (TypeError, OverflowError) as error:
      raise UserError(f"{field}: {name}: {error}.") from error


def check_type(value: Any, parameter: inspect.Parameter, place: str) -> None:
  """Refuses a literal that is not of a parameter's annotated type.

  An annotation that says nothing of literals admits every value.

  Args:
    value: number, text, None, list or tuple; or a record, which passes.
    parameter: of a factory.
    place: what the message begins with.
  """
  kinds = _kinds(parameter.annotation)
  literal = value is None or isinstance(value, str | float | int | tuple | list)
  if not literal or not kinds or any(_is_of(value, kind) for kind in kinds):
    return
  # A number need not be told of as a whole one too.
  said = [
    k
    for k in kinds
    if k in _WORDS and not (float in kinds and k in (bool, int))
  ]
  words = " or ".join(_WORDS[kind] for kind in said)
  raise UserError(f"{place}: {parameter.name} must be {words}, got {value!r}.")


_WORDS = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "a text",
  tuple: "several numbers such as (1, 2)",
  types.NoneType: "None",
}


def _kinds(annotation: Any) -> list[type]:
  """The types that an annotation's union is of; none if it admits any."""
  union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
  parts = typing.get_args(annotation) if union else (annotation,)
  known = [typing.get_origin(part) or part for part in parts]
  if not set(known) & _WORDS.keys() or Any in known:
    return []
  return known


def _is_of(value: Any, kind: type) -> bool:
  if kind in (int, float):
    kinds = (int,) if kind is int else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool)
  if kind is tuple:
    return isinstance(value, tuple | list) and all(
      isinstance(x, int | float) and not isinstance(x, bool) for x in value
    )
  return isinstance(kind, type) and isinstance(value, kind)
