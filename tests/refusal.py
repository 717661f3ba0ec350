"""Checks that an error carries a code and a place."""

import contextlib

import pytest

from alcurr.core.errors import UserError


@contextlib.contextmanager
def refused(code, place, kind=UserError):
  """Asserts that the block raises an error of this code and place."""
  with pytest.raises(kind) as raised:
    yield raised
  error = raised.value
  assert (error.code, str(error.place)) == (code, str(place)), str(error)
  assert error.text and not error.text.endswith(".")
