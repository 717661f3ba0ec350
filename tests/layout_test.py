"""Tests of the layout of the package and of the form of its docstrings."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest
from tiers import UNIT_FILES

import alcurr

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "alcurr"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = ("alcurr", "benchmarks", "configs", "tests")
SOURCES = sorted(x for name in FOLDERS for x in (ROOT / name).rglob("*.py"))

# main.py holds main(), as absl's applications do.
EXEMPT = {"main"}
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _name(path):
  return str(path.relative_to(ROOT))


@functools.cache
def _tree(path):
  return ast.parse(path.read_text(encoding="utf-8"))


def test_files_of_the_unit_tier_exist():
  missing = [x for x in UNIT_FILES if not (ROOT / "tests" / x).is_file()]
  assert not missing


def test_entries_of_the_package():
  # Files whose names and places Python's tools prescribe.
  prescribed = {"__main__.py", "__pycache__", "py.typed"}
  entries = {x.name for x in PACKAGE.iterdir()} - prescribed
  assert len(entries) <= 13, sorted(entries)


def test_no_module_has_the_name_of_what_it_holds():
  clashes = []
  for path in MODULES:
    definitions = {
      node.name for node in _tree(path).body if isinstance(node, DEFINITIONS)
    }
    if path.stem not in EXEMPT and path.stem in definitions:
      clashes.append(_name(path))
  assert not clashes


def test_every_package_declares_its_public_names():
  missing = []
  for path in PACKAGE.rglob("__init__.py"):
    assigned = {
      ast.unparse(target)
      for node in _tree(path).body
      if isinstance(node, ast.Assign | ast.AnnAssign)
      for target in getattr(node, "targets", None) or [node.target]
    }
    if "__all__" not in assigned:
      missing.append(_name(path))
  assert not missing


# Importing a library of the experiments would slow down and burden users of
# the samplers alone.
HEAVY = (
  "flax",
  "grain",
  "h5py",
  "matplotlib",
  "ml_collections",
  "orbax",
  "pandas",
  "plotly",
  "safetensors",
  "tensorflow",
  "tensorflow_datasets",
  "torch",
  "wandb",
)


def _imported(statement):
  """Returns the heavy libraries that a fresh interpreter imports."""
  program = f"import sys\n{statement}\nprint(*sys.modules)"
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return {name.split(".")[0] for name in done.stdout.split()} & set(HEAVY)


@pytest.mark.parametrize(
  ("statement", "allowed"),
  [
    ("import alcurr.types\nfrom alcurr import bandits, samplers", set()),
    ("import alcurr.models", {"flax", "orbax"}),  # Flax imports Orbax
  ],
)
def test_the_library_imports_nothing_heavy(statement, allowed):
  assert _imported(statement) <= allowed


def test_the_package_shows_public_names_alone():
  assert dir(alcurr) == sorted(alcurr.__all__)
  for name in alcurr.__all__:
    assert getattr(alcurr, name) is not None


# Words that lead to a docstring that is not a sentence with a verb.
FOREIGN_START = re.compile(r"(Of|What|Those|So)\b")


def _docstrings(path):
  """Yields (place, docstring) of a file; None where a module has none."""
  tree = _tree(path)
  yield f"{_name(path)}:1", ast.get_docstring(tree)
  for node in ast.walk(tree):
    if isinstance(node, DEFINITIONS) and (text := ast.get_docstring(node)):
      yield f"{_name(path)}:{node.lineno} {node.name}", text


def test_modules_have_docstrings():
  missing = [
    place
    for path in SOURCES
    for place, text in _docstrings(path)
    if text is None
  ]
  assert not missing


def test_docstrings_begin_with_a_verb_or_a_noun():
  foreign = [
    f"{place}: {text.splitlines()[0]}"
    for path in SOURCES
    for place, text in _docstrings(path)
    if text and FOREIGN_START.match(text)
  ]
  assert not foreign, "\n".join(foreign)
