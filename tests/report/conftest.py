"""A small pool, and the folder of an experiment, written by hand."""

import pathlib
import shutil
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
import toy_report
from PIL import Image

from alcurr.data.partitions import difficulty_in_class
from alcurr.data.pool import make_gather
from alcurr.report import gallery, style
from alcurr.types import Images, Pool

NUM_TRAIN = 80


@pytest.fixture(scope="session")
def pool() -> Pool:
  """80 images of 4 classes; the pixels and the difficulty of image i are i."""
  number = np.arange(NUM_TRAIN)
  image = np.broadcast_to(number[:, None, None, None], (NUM_TRAIN, 6, 6, 1))
  label = (number % 4).astype(np.int32)
  difficulty = number.astype(np.float32)
  arms = {"difficulty": difficulty_in_class(label, difficulty, 4)}
  source = Images(jnp.asarray(image, jnp.uint8))
  return Pool(
    source, jnp.asarray(label), {"difficulty": jnp.asarray(difficulty)}, arms
  )


@pytest.fixture(scope="session")
def experiment(
  tmp_path_factory: pytest.TempPathFactory, pool: Pool
) -> pathlib.Path:
  """A finished experiment; tests do not write to it."""
  workdir = tmp_path_factory.mktemp("experiment")
  toy_report.write_run(workdir, "uniform", 0, rise=0.01)
  toy_report.write_run(workdir, toy_report.BANDIT, 4, rise=0.02)
  toy_report.write_config(workdir)
  gallery.write_gallery(workdir, pool, make_gather(), toy_report.EVIL)
  return workdir


@pytest.fixture
def make_experiment(
  tmp_path: pathlib.Path, experiment: pathlib.Path
) -> Callable[..., pathlib.Path]:
  """Makes a copy of the experiment under a name."""

  def make(name: str = "it") -> pathlib.Path:
    return pathlib.Path(shutil.copytree(experiment, tmp_path / name))

  return make


@pytest.fixture
def one_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
  """Saves figures as one pixel: rendering takes most of the time of a page."""
  pixel = Image.new("L", (1, 1))
  monkeypatch.setattr(
    style, "save", lambda figure, file: pixel.save(file, "PNG")
  )
