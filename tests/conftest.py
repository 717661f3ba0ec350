"""Fixtures that several test files share."""

import os
import pathlib

import pytest

# Before jax is imported: most of the tests' time is compilation, and these
# halve it. They leave the HLO passes, and so the counted FLOPs, as they are.
os.environ.setdefault(
  "XLA_FLAGS",
  "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

QUICKDRAW = pathlib.Path(__file__).parents[2] / "shared/data/quickdraw"


@pytest.fixture(scope="session")
def quickdraw_dir() -> pathlib.Path:
  """Real drawings in Google's own formats, beside the checkout."""
  if not QUICKDRAW.is_dir():
    pytest.skip("real drawings are not beside the checkout (shared/data)")
  return QUICKDRAW
