"""Fixtures that several test files share."""

import collections
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


def pytest_terminal_summary(terminalreporter):
  """What every fault of tests/faults led to."""
  counts = collections.defaultdict(collections.Counter)
  for reports in terminalreporter.stats.values():
    for report in reports:
      if getattr(report, "when", "") == "call":
        for name, value in report.user_properties:
          if name == "fault":
            counts[value[0]][value[1]] += 1
  if counts:
    terminalreporter.section("faults")
    row = "{:<56} {:>5} {:>7} {:>7}".format
    terminalreporter.line(row("fault", "tries", "resumed", "clear"))
    terminalreporter.line(row("", "", "equal", "refusal"))
    for fault, count in sorted(counts.items()):
      columns = (count[what] for what in ("tried", "equal", "refused"))
      terminalreporter.line(row(fault, *columns))
