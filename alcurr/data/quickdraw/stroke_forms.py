"""The two forms of decoded strokes, one for all drawings of a file or a call.

"rows": [[x, ...], [y, ...]], as Google has them; with times [[x, ...], [y,
...], [t, ...]]. "points": [[x, y], ...] or [[x, y, t], ...]. A stroke of two or
three points may be either, so that the others decide.
"""

import collections
import itertools
from collections.abc import Iterable
from typing import Any

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import strokes
from alcurr.data.quickdraw import simplification
from alcurr.types import Strokes

FORMS = ("rows", "points")
_ENOUGH = 1000  # drawings that are looked at before the first that decides


def check(form: str, place: str = "stroke_form") -> None:
  """Raises UserError unless the form is of FORMS, or "" to be decided."""
  if form:
    specs.check_choice(place, form, FORMS)


def decide(drawings: Iterable[Any], place: object) -> str:
  """Returns the form that most of the drawings can only have.

  Reads the first thousand, and further ones until a drawing decides.

  Raises:
    UserError: at `place`; no drawing decides.
  """
  votes: collections.Counter[tuple[str, ...]] = collections.Counter()
  for number, drawing in enumerate(drawings, start=1):
    votes[_possible(drawing)] += 1
    rows, points = (votes[form,] for form in FORMS)
    if number >= _ENOUGH and rows != points:
      break
  rows, points = (votes[form,] for form in FORMS)
  if rows == points and (rows or votes[FORMS]):
    text = "all its strokes may be rows, [[x, ...], [y, ...]], or points, [[x, "
    text += "y], ...]; say which by stroke_form=rows or stroke_form=points"
    raise UserError("data", place, text)
  return "points" if points > rows else "rows"


def _possible(drawing: Any) -> tuple[str, ...]:
  """Returns the forms that the strokes of a drawing may all have."""
  if not isinstance(drawing, list) or not drawing:
    return ()
  if not all(isinstance(stroke, list) and stroke for stroke in drawing):
    return ()
  items = [*itertools.chain(*drawing)]
  if not all(isinstance(item, list) for item in items):
    return ()
  outer, inner = ({len(x) for x in lists} for lists in (drawing, items))
  equal = all(len({*map(len, stroke)}) == 1 for stroke in drawing)
  rows = equal and outer in ({2}, {3}) and 0 not in inner
  return ("rows",) * rows + ("points",) * (inner in ({2}, {3}))


def parse(drawing: Any, form: str) -> strokes.Drawing:
  """Parses a decoded drawing: a simplified one, or a raw one with times.

  Raises:
    BadDrawingError: it is not of the form, or cannot be used.
  """
  if form == "points":
    drawing = _to_rows(drawing)
  first = drawing[0] if isinstance(drawing, list) and drawing else None
  if isinstance(first, list) and len(first) == 3:
    return simplification.simplify(drawing)
  return strokes.parse_simplified(drawing)


def _to_rows(drawing: Any) -> Any:
  if not isinstance(drawing, list):
    return drawing
  rows = []
  for stroke in drawing:
    if stroke == []:
      raise strokes.BadDrawingError("a stroke without points")
    ok = isinstance(stroke, list) and all(isinstance(p, list) for p in stroke)
    if not ok or {*map(len, stroke)} not in ({2}, {3}):
      raise strokes.BadDrawingError("a stroke is not points [x, y]")
    rows.append([*map(list, zip(*stroke, strict=True))])
  return rows


def pack_any(drawings: Iterable[Any], place: str, form: str = "") -> Strokes:
  """Packs drawings of lists, tuples or arrays; one by itself is a list of one.

  Raises:
    UserError: at `place` about their form, at `place[n]` about the n-th.
  """
  check(form)
  nested = _to_lists([*drawings])
  if texts := [n for n, drawing in enumerate(nested) if type(drawing) is str]:
    text = "expected strokes, lists of numbers, got a text; json.loads decodes"
    raise UserError("type", f"{place}[{texts[0]}]", f"{text} a drawing of JSON")
  depth, first = 0, nested
  while isinstance(first, list):
    depth, first = depth + 1, next(iter(first), None)
  if depth == 3:
    nested = [nested]
  form = form or decide(nested, place)
  parsed = []
  for number, drawing in enumerate(nested):
    try:
      parsed.append(parse(drawing, form))
    except strokes.BadDrawingError as error:
      raise UserError("data", f"{place}[{number}]", str(error)) from error
  return strokes.pack(parsed)


def _to_lists(value: Any) -> Any:
  """Returns sequences as lists, and numbers of arrays as Python's."""
  value = value.tolist() if hasattr(value, "tolist") else value
  return [*map(_to_lists, value)] if isinstance(value, list | tuple) else value
