"""Fixtures that several test files share."""

import collections
import os
import pathlib
import subprocess
import sys

import pytest

# Before jax is imported: most of the tests' time is compilation, and these
# take two thirds of it away. They leave the HLO passes, and so the counted
# FLOPs, as they are.
_FLAGS = (
  "--xla_backend_optimization_level=0",
  "--xla_llvm_disable_expensive_passes=true",
)
_NEWER_FLAGS = ("--xla_cpu_use_fusion_emitters=false",)


def _knows(flags: str) -> bool:
  """Whether this XLA, which ends the process at a flag it lacks, has them."""
  done = subprocess.run(
    [sys.executable, "-c", "import jax; jax.jit(lambda: 0)()"],
    env=os.environ | {"XLA_FLAGS": flags},
    capture_output=True,
    check=False,
  )
  return done.returncode == 0


# Once for all workers of pytest-xdist, which have the environment from here.
if "XLA_FLAGS" not in os.environ:
  with_newer = " ".join(_FLAGS + _NEWER_FLAGS)
  os.environ["XLA_FLAGS"] = (
    with_newer if _knows(with_newer) else " ".join(_FLAGS)
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
