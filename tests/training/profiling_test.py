"""Profiles: the cost table by hand, and a tiny run traced."""

import contextlib
import functools
import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr.data.pool import make_gather
from alcurr.training import loop, profiling
from alcurr.training.run import RunSpec, compile_run
from alcurr.training.scoring import make_score
from alcurr.types import Images, Model

BATCH_SIZE, INPUTS, OUTPUTS = 32, 28 * 28, 30


@pytest.fixture(scope="module")
def compiled():
  """Softmax regression of 784 pixels on 30 classes, and its programs."""

  def init(key):
    return {"weight": jnp.zeros((INPUTS, OUTPUTS))}, {}

  def apply(key, params, model_state, image, *, train):
    return image.reshape(len(image), -1) @ params["weight"], model_state

  model, gather = Model(init, apply), make_gather()
  run = RunSpec(
    sampler=toy.make_sampler(
      {
        "name": "active_bandit",
        "bandit": "softmax",
        "gain": "prediction_gain",
        "reward": "rank",
        "interval": 2,
        "warmup": 2,
      },
      "x",
      batch_size=BATCH_SIZE,
      num_steps=12,
    ),
    model=model,
    tx=optax.sgd(0.1),
    gather=gather,
    num_steps=12,
    batch_size=BATCH_SIZE,
    seeds=(0, 1),
    trials_by="map",
    num_evals=1,
    chunk_steps=4,
    score=make_score(model, gather, 64, "map"),
  )
  rng = np.random.default_rng(0)
  pools = {}
  for name, size in {"train": 640, "probe": 64, "valid": 64}.items():
    image = rng.integers(0, 256, (size, 28, 28, 1)).astype(np.uint8)
    pools[name] = toy.make_pool(size)._replace(source=Images(image))
  return run, compile_run(run, pools), pools


def _train(compiled, watch=None):
  """Returns the run's result, and its rows without their times."""
  rows = []
  result = loop.train(*compiled, rows.append, lambda *a: None, watch)
  return result, [row | {"train_seconds": 0} for row in rows]


def test_a_product_counts_two_flops_a_term(compiled):
  """Products are of B x 784 by 784 x 30, and all else is negligible.

  A plain step has two, forward and for the gradient of the weights; a measured
  one has three. None is for the gradient of the images.
  """
  cost = profiling.cost_table(*compiled).set_index("program")
  assert cost.index.tolist() == ["prepare", "measured", "plain", "chunk"]
  product = 2 * BATCH_SIZE * INPUTS * OUTPUTS
  assert cost.flops["plain"] == pytest.approx(2 * product, rel=0.1)
  assert cost.flops["measured"] == pytest.approx(3 * product, rel=0.1)
  assert cost.times_per_step.tolist()[:3] == [0.5, 0.5, 0.5]
  np.testing.assert_allclose(
    cost.flops_per_byte, cost.flops / cost.bytes_accessed
  )
  # A step reads the images, and all else that is its own.
  images = compiled[2]["train"].source.image.nbytes
  assert (cost.argument_bytes[1:] > images).all()


def test_one_chunk_is_watched_alone(compiled):
  watched, rows = [], []

  @contextlib.contextmanager
  def watch(steps):
    before = len(rows)
    yield
    # What came before is all written down, and what is watched is not yet.
    watched.append((steps, before, len(rows)))

  loop.train(*compiled, rows.append, lambda *a: None, watch)
  trials = len(compiled[0].seeds)
  assert watched == [(4, trials, trials)]
  assert [row["step"] for row in rows[::trials]] == [4, 8, 12]


@pytest.fixture(scope="module")
def profiled(compiled, tmp_path_factory):
  """A profile's folder, and the profiled run's result."""
  folder = tmp_path_factory.mktemp("run") / "profile"
  watch = functools.partial(profiling.profile, folder, *compiled)
  return folder, _train(compiled, watch)


def test_a_profile_is_of_one_chunk(profiled, compiled):
  folder, _ = profiled
  assert {path.name for path in folder.iterdir()} == {
    "summary.json",
    "cost.csv",
    "plugins",
  }
  summary = json.loads((folder / "summary.json").read_text())
  assert (summary["steps"], summary["trials"]) == (4, 2)
  assert summary["ms_per_step"] == pytest.approx(summary["seconds"] * 1e3 / 8)
  flops = compiled[1].flops_per_step
  assert summary["gflops_per_second"] == pytest.approx(
    flops / summary["ms_per_step"] / 1e6
  )
  assert summary["min_ms_per_step"] == pytest.approx(
    flops / summary["peak_gflops_per_second"] / 1e6
  )
  (trace,) = folder.glob("plugins/profile/*/perfetto_trace.json.gz")
  with gzip.open(trace) as file:
    assert json.load(file)["traceEvents"]


def test_a_profile_changes_no_result(compiled, profiled):
  _, (result, rows) = profiled
  plain, plain_rows = _train(compiled)
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get((result.state.params, rows)),
    jax.device_get((plain.state.params, plain_rows)),
  )
