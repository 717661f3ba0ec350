"""Errors: their text, and their way between processes."""

import pickle

import pytest

from alcurr.core.errors import (
  ERROR_CODES,
  FaultError,
  MachineError,
  UserError,
)


@pytest.mark.parametrize("kind", [UserError, FaultError, MachineError])
def test_an_error_names_its_place_and_survives_pickling(kind):
  error = kind("range", "data.image_size", "expected at least 4, got 2")
  assert str(error) == "data.image_size: expected at least 4, got 2"
  copy = pickle.loads(pickle.dumps(error))
  assert type(copy) is kind
  assert (copy.code, copy.place, copy.text) == (
    "range",
    "data.image_size",
    "expected at least 4, got 2",
  )


def test_every_code_has_a_meaning():
  assert all(meaning.endswith(".") for meaning in ERROR_CODES.values())
