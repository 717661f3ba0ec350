"""Every notebook runs from top to bottom, at a tiny size.

IPython runs the cells in this process. The values of the cell tagged
"parameters" are replaced.
"""

import json
import pathlib
import warnings

import matplotlib
import pytest
from IPython.core.interactiveshell import InteractiveShell

COLABS = pathlib.Path(__file__).parents[1] / "colabs"
# Few and short steps of a small network; drawings are rendered once.
SMALL = {
  "model.name": "cnn(width=0.1)",
  "num_evals": 1,
  "data.classes": "4",
  "data.render": "precompute",
  "difficulty.budget": "5 steps",
  "tracking": "none",
}
BANDIT = SMALL | {"samplers.active_bandit.warmup": 2, "budget": "20 steps"}
TINY = {
  "quickstart": {"EXAMPLES": 800, "TRIALS": 1, "SETTINGS": BANDIT},
  "paper": {
    "SCALE": 0.004,
    "PART": "table2",
    "SETTINGS": {
      **{k: v for k, v in SMALL.items() if k != "data.classes"},
      "trials": 1,
      "budget": "20 steps",
    },
  },
  "write_a_sampler": {
    "EXAMPLES": 800,
    "TRIALS": 1,
    "SETTINGS": SMALL | {"budget": "20 steps"},
  },
  "your_data": {
    "BUDGET": "25 steps",
    "SAMPLERS": ["uniform", "uniform(replacement=True)"],
    "TRIALS": 1,
    "SETTINGS": {
      "num_evals": 1,
      "difficulty.budget": "5 steps",
      "tracking": "none",
    },
  },
  "wrong_labels": {
    "BUDGET": "3 epochs",
    "TRIALS": 1,
    "SETTINGS": {"num_evals": 1, "tracking": "none"},
  },
  "several_sources": {
    "BUDGET": "24 steps",
    "TRIALS": 1,
    "SETTINGS": {"num_evals": 2, "tracking": "none"},
  },
  "your_loop": {"STEPS": 20, "SEEDS": 2},
  "explore_difficulty": {"EXAMPLES": 800, "TRIALS": 2, "SETTINGS": BANDIT},
}


def _cells(path):
  return json.loads(path.read_text(encoding="utf-8"))["cells"]


def test_every_notebook_is_run():
  assert {path.stem for path in COLABS.glob("*.ipynb")} == set(TINY)


@pytest.mark.parametrize("name", TINY)
def test_notebooks_are_committed_without_outputs(name):
  cells = _cells(COLABS / f"{name}.ipynb")
  link = f"/colabs/{name}.ipynb"
  assert link in "".join(cells[0]["source"])
  assert "pip install" in "".join(cells[1]["source"])
  for cell in cells:
    if cell["cell_type"] == "code":
      assert cell["outputs"] == [] and cell["execution_count"] is None


class Shell(InteractiveShell):
  def enable_gui(self, gui=None):
    """Opens no window for figures."""


@pytest.fixture
def shell(monkeypatch, tmp_path):
  # Notebooks write to temporary folders.
  monkeypatch.setenv("TMPDIR", str(tmp_path))
  monkeypatch.setattr("tempfile.tempdir", None)
  backend = matplotlib.get_backend()
  yield Shell()
  matplotlib.use(backend)
  Shell.clear_instance()


# Other tests cover most of these.
SLOW = {*TINY} - {"quickstart"}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in TINY
  ],
)
def test_notebooks_run(name, shell, monkeypatch):
  monkeypatch.chdir(COLABS)
  parameters = 0
  for cell in _cells(COLABS / f"{name}.ipynb"):
    if cell["cell_type"] != "code":
      continue
    source = "".join(cell["source"])
    if "parameters" in cell["metadata"].get("tags", ()):
      parameters += 1
      source += "".join(f"\n{k} = {v!r}" for k, v in TINY[name].items())
    with warnings.catch_warnings():
      shell.run_cell(source).raise_error()
  assert parameters == 1
