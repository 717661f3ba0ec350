"""Specs: what a config may say, and what it is told when it errs."""

import pytest

from alcurr.core import specs
from alcurr.core.errors import UserError


def _pair(*, first: int, second: int = 2, num_steps: int | None = None):
  if first < 0:
    raise ValueError(f"first must not be negative, got {first}")
  return first, second, num_steps


REGISTRY = {"pair": _pair, "nothing": lambda: ()}


@pytest.mark.parametrize(
  ("spec", "expected"),
  [
    ("pair(first=1)", (1, 2, 7)),
    (" pair(first=1, second=-3) ", (1, -3, 7)),
    ({"name": "pair", "first": 4}, (4, 2, 7)),
    ({"name": "pair(second=5)", "first": 4}, (4, 5, 7)),
    ("nothing", ()),
    ("nothing()", ()),
  ],
)
def test_specs_name_factories(spec, expected):
  assert specs.make(spec, REGISTRY, "x", num_steps=7) == expected


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("pear(first=1)", "x: no 'pear'. Known: nothing, pair. Did you mean pair?"),
    ("pair(frist=1)", "x: pair takes no 'frist'. .*Did you mean first?"),
    ("pair(first=-1)", "x: pair: first must not be negative, got -1."),
    ("pair", "x: pair: missing a required argument: 'first'."),
    ("pair(1)", "write a name, or a name with its arguments"),
    ("pair(first=open('/etc/passwd'))", "write a name"),
    ("__import__('os')", "write a name"),
    ("pair(", "write a name"),
    ("", "write a name"),
    ({"first": 1}, "x: give it a name. Known: nothing, pair."),
  ],
)
def test_mistakes_are_one_sentence_that_names_the_field(spec, message):
  with pytest.raises(UserError, match=message.replace("?", r"\?")) as raised:
    specs.make(spec, REGISTRY, "x", num_steps=7)
  assert "\n" not in str(raised.value)
