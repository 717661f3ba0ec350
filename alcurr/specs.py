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
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from alcurr.errors import UserError


@contextlib.contextmanager
def mistakes_in(field: str) -> Iterator[None]:
  """Turns a factory's ValueError into the user's, said of a field."""
  try:
    yield
  except UserError:
    raise
  except ValueError as error:
    raise UserError(f"{field}: {error}.") from error


def parse(spec: str, field: str) -> tuple[str, dict[str, Any]]:
  """Splits `"name(a=1, b='x')"` into its name and keyword arguments."""
  try:
    node = ast.parse(spec.strip(), mode="eval").body
    if isinstance(node, ast.Name):
      return node.id, {}
    if (
      isinstance(node, ast.Call)
      and isinstance(node.func, ast.Name)
      and not node.args
    ):
      return node.func.id, {
        str(k.arg): ast.literal_eval(k.value) for k in node.keywords
      }
  except (SyntaxError, ValueError):
    pass
  raise UserError(
    f"{field}={spec!r}: write a name, or a name with its arguments such as "
    "rank(window=500)."
  )


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
    registry: the factories by name.
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
      raise UserError(f"{field}: give it a name. {nearest('', registry)}")
    # "sgd(momentum=0.9)" may stand as the name of a dict's spec too.
    name, extra = parse(spec["name"], f"{field}.name")
    arguments |= extra
  if name not in registry:
    raise UserError(f"{field}: no {name!r}. {nearest(name, registry)}")
  factory = registry[name]
  signature = inspect.signature(factory)
  for argument in arguments:
    if argument not in signature.parameters:
      known = [p for p in signature.parameters if p not in context]
      raise UserError(
        f"{field}: {name} takes no {argument!r}. {nearest(argument, known)}"
      )
  arguments = {
    k: v for k, v in context.items() if k in signature.parameters
  } | arguments
  with mistakes_in(f"{field}: {name}"):
    try:
      signature.bind(**arguments)
    except TypeError as error:
      raise UserError(f"{field}: {name}: {error}.") from error
    return factory(**arguments)
