"""Fixtures that several test files share."""

import pathlib

import pytest

QUICKDRAW = pathlib.Path(__file__).parents[2] / "shared/data/quickdraw"


@pytest.fixture(scope="session")
def quickdraw_dir() -> pathlib.Path:
  """Real drawings in Google's own formats, beside the checkout."""
  if not QUICKDRAW.is_dir():
    pytest.skip("real drawings are not beside the checkout (shared/data)")
  return QUICKDRAW
