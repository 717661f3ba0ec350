"""Tests of packages that are not installed, and of what needs none of them."""

import pathlib
import subprocess
import sys

import pytest

from alcurr.core.errors import UserError
from alcurr.core.extras import import_extra
from alcurr.data import sources
from alcurr.data.quickdraw import simplification
from alcurr.models import weight_files
from configs import default

# Packages of extras, and alcurr's modules that import them at their top.
OPTIONAL = (
  *("array_record", "grain", "h5py", "importlib_resources", "mlflow", "optuna"),
  *(
    "safetensors",
    "shapely",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
    "wandb",
  ),
)
TFDS_MODULES = ("alcurr.data.tfds", "alcurr.data.quickdraw.tfds_builder")


def _without(monkeypatch, package):
  monkeypatch.setitem(sys.modules, package, None)
  for module in TFDS_MODULES:
    monkeypatch.delitem(sys.modules, module, raising=False)


def _simplify():
  return simplification.simplify([[[0, 9], [0, 9], [0, 1]]])


def _read_tfds():
  config = default.get_config()
  config.data.source, config.data.dir = "tfds", "mnist"
  return sources.load(config.data.to_dict(), pathlib.Path("unused"))


def test_an_installed_module_is_returned():
  assert import_extra("json", "x", "y").loads("1") == 1


@pytest.mark.parametrize(
  ("package", "extra", "place", "use"),
  [
    ("h5py", "weights", "weights", lambda: weight_files.read("x.h5")),
    ("safetensors", "weights", "weights", lambda: weight_files.read("x.h5")),
    ("shapely", "drawings", "raw drawings", _simplify),
    ("tensorflow_datasets", "tfds", "data.source", _read_tfds),
  ],
)
def test_a_missing_package_is_named_with_its_extra(
  monkeypatch, package, extra, place, use
):
  _without(monkeypatch, package)
  with pytest.raises(UserError) as e:
    use()
  assert (e.value.code, e.value.place) == ("package", place)
  assert package in e.value.text
  assert f"alcurr[{extra}]" in e.value.text


def test_an_experiment_imports_no_extra():
  program = f"""
import sys
for name in {OPTIONAL}:
  sys.modules[name] = None
from alcurr import data, models, report, testing, training
from alcurr.data import __main__
from alcurr.experiments import comparison, experiment_runner, predict
from alcurr.experiments.loggers import tensorboard
from alcurr.experiments.tune import __main__
"""
  subprocess.run([sys.executable, "-c", program], check=True)
