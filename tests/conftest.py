"""Settings and fixtures that all tests share."""

import collections
import gc
import os
import pathlib
import subprocess
import sys

import pytest
from tiers import UNIT_FILES

TESTS = pathlib.Path(__file__).parent

# Compilation takes most of the tests' time, and these flags reduce it by two
# thirds. They keep the HLO passes, and therefore the counted FLOPs, as they
# are. XLA reads them when JAX is first imported.
_FLAGS = (
  "--xla_backend_optimization_level=0",
  "--xla_llvm_disable_expensive_passes=true",
)
_NEWER_FLAGS = (
  "--xla_cpu_use_fusion_emitters=false",
  # Programs this small compile with less overhead in one piece.
  "--xla_cpu_parallel_codegen_split_count=1",
)


def _accepts(flags: str) -> bool:
  """Returns whether this XLA knows the flags; it aborts if it does not."""
  done = subprocess.run(
    [sys.executable, "-c", "import jax; jax.jit(lambda: 0)()"],
    env=os.environ | {"XLA_FLAGS": flags},
    capture_output=True,
    check=False,
  )
  return done.returncode == 0


# Workers of pytest-xdist and subprocesses inherit the environment.
if "XLA_FLAGS" not in os.environ:
  all_flags = " ".join(_FLAGS + _NEWER_FLAGS)
  os.environ["XLA_FLAGS"] = (
    all_flags if _accepts(all_flags) else " ".join(_FLAGS)
  )

# Nobody reads which line of Python an operation came from.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

# Programs are shared by the workers and by later runs. Smaller ones compile
# faster than they are read.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(TESTS.parent / ".pytest_cache/programs")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

QUICKDRAW = TESTS.parents[1] / "shared/data/quickdraw"


@pytest.fixture(scope="session")
def quickdraw_dir() -> pathlib.Path:
  """Returns a folder of real drawings in Google's formats."""
  if not QUICKDRAW.is_dir():
    pytest.skip("there are no real drawings in ../shared/data")
  return QUICKDRAW


# Before -m selects by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
  """Marks the tests of the unit tier."""
  files = {TESTS / name for name in UNIT_FILES}
  for item in items:
    if item.path in files:
      item.add_marker(pytest.mark.unit)


def pytest_collection_finish():
  """Makes Python look for cycles less often: it takes a tenth of the time.

  Modules and tests, which stay, are not looked at.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(50_000, 20, 20)


_num_compiled = collections.Counter()


def _count_compiled(event: str, _: float, **__) -> None:
  _num_compiled[event] += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
  """Fails a unit test that compiles a program."""
  if not item.get_closest_marker("unit"):
    return (yield)
  from jax import monitoring

  if not _num_compiled:
    monitoring.register_event_duration_secs_listener(_count_compiled)
    _num_compiled["registered"] = 1
  event = "/jax/core/compile/backend_compile_duration"
  before = _num_compiled[event]
  result = yield
  if _num_compiled[event] > before:
    pytest.fail("compiles a program: remove its file from tests/tiers.py")
  return result


def pytest_terminal_summary(terminalreporter):
  """Prints a table of the faults of tests/faults and their outcomes."""
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
