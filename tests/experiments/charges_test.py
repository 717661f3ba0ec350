"""Steps that a budget of FLOPs pays for, counted by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import alcurr
from alcurr import models
from alcurr.core.errors import UserError
from alcurr.experiments import charges, setup
from alcurr.experiments.config import build, plain
from alcurr.experiments.pools import host_pools
from alcurr.models import MODELS
from alcurr.training.run import count_flops
from configs import default

STEPS, SCORE_STEPS, BATCH, WIDTH = 60, 10, 8, 600


def _forward(params, image):
  first, second = params
  return jax.nn.relu(image.reshape(len(image), -1) @ first) @ second


def _wide(*, input_shape, num_classes):
  """A network whose products are most of a step's FLOPs."""
  size = int(np.prod(input_shape))

  def init(key):
    first = jax.random.normal(key, (size, WIDTH)) / size**0.5
    return first, jnp.zeros((WIDTH, num_classes))

  return models.from_functions(init, _forward)


def _data(count=300):
  rng = np.random.default_rng(0)
  labels = np.arange(count) % 3
  images = rng.integers(0, 100, (count, 6, 6)).astype(np.uint8)
  images[np.arange(count), labels] += 120
  return images, labels


def _fields(**changes):
  return {
    "batch_size": BATCH,
    "num_evals": 1,
    "tracking": "none",
    "budget_basis": "flops",
    "eval_batch_size": 50,
    "difficulty.budget": f"{SCORE_STEPS} steps",
  } | changes


@pytest.fixture
def context(tmp_path, monkeypatch):
  monkeypatch.setitem(MODELS, "wide", _wide)
  images, labels = _data()
  np.savez(tmp_path / "data.npz", images=images, labels=labels)

  def make(sampler, **changes):
    config = default.get_config()
    config.samplers = plain.to_config({"uniform": {"name": "uniform"}})
    config = plain.merge(
      config,
      _fields(**changes)
      | {
        "model.name": "wide",
        "budget": f"{STEPS} steps",
        "data.source": "npz",
        "data.dir": str(tmp_path / "data.npz"),
        "samplers.x": sampler,
      },
    )
    experiment = build.build_experiment(config)
    return setup.load_context(experiment, tmp_path / "cache")

  return make


def _forward_flops(context, batch_size):
  """Returns the FLOPs of a forward pass with the loss, per example."""

  def losses(params, image, label):
    logits = _forward(params, image.astype(jnp.float32) / 255)
    return jax.nn.logsumexp(logits, 1) - logits[jnp.arange(batch_size), label]

  shape = jax.ShapeDtypeStruct
  compiled = (
    jax.jit(losses)
    .lower(
      (shape((36, WIDTH), jnp.float32), shape((WIDTH, 3), jnp.float32)),
      shape((batch_size, 6, 6, 1), jnp.uint8),
      shape((batch_size,), jnp.int32),
    )
    .compile()
  )
  return compiled.cost_analysis()["flops"] / batch_size


def _make_run(context):
  pools = host_pools(context)
  run = charges.make_run(context, "x", pools)
  base = charges.make_run(context, "uniform", pools)
  assert base.num_steps == STEPS
  return run, count_flops(run, pools), count_flops(base, pools)


CURRICULUM = {"name": "curriculum"}


@pytest.mark.parametrize(
  "shared_by", [pytest.param(1, marks=pytest.mark.slow), 3]
)
def test_a_run_pays_for_the_scores_that_it_reads(context, shared_by):
  run = {"scores_shared_by": shared_by}
  made = context(CURRICULUM | {"run": run})
  run, own, base = _make_run(made)
  size = len(made.parts["train"].label)
  forward = _forward_flops(made, 50)
  (cost,) = charges.count_costs(made).values()
  assert cost.scoring["train"] == pytest.approx(size * forward, rel=0.01)
  assert cost.training == pytest.approx(SCORE_STEPS * base, rel=1e-6)
  paid = (SCORE_STEPS * base + cost.scoring["train"]) / shared_by
  assert run.num_steps == math.floor((STEPS * base - paid) / own)
  assert run.num_steps < STEPS


def test_a_cross_fitted_score_costs_as_much_as_one_model(context):
  whole, crossed = (
    charges.count_costs(context(CURRICULUM, **{"difficulty.train_on": kind}))
    for kind in ("train", "cross")
  )
  whole, crossed = whole["difficulty"], crossed["difficulty"]
  assert crossed.training == pytest.approx(whole.training, rel=1e-3)
  assert crossed.scoring["train"] == pytest.approx(whole.scoring["train"])
  # All models score the other splits.
  assert crossed.scoring["test"] == pytest.approx(2 * whole.scoring["test"])
  seeds = context(CURRICULUM, **{"difficulty.seeds": 4})
  (cost,) = charges.count_costs(seeds).values()
  assert cost.training == pytest.approx(4 * whole.training)
  assert cost.scoring["train"] == pytest.approx(4 * whole.scoring["train"])


def test_candidates_and_their_reference_are_paid_together(context):
  rho = {"name": "rho_loss", "keep": 0.25}
  fields = {"scores.irreducible.budget": f"{SCORE_STEPS} steps"}
  run, own, base = _make_run(context(rho, **fields))
  free, *_ = _make_run(context(rho, budget_basis="step_flops", **fields))
  assert own > base
  assert free.num_steps == math.floor(STEPS * base / own)
  assert run.num_steps < free.num_steps - 0.9 * SCORE_STEPS * base / own


def test_without_scores_nothing_is_paid(context):
  changes = {"name": "fixed_policy", "policy": "uniform", "partition": "label"}
  charged, *_ = _make_run(context(changes))
  free, *_ = _make_run(context(changes, budget_basis="step_flops"))
  assert charged.num_steps == free.num_steps
  examples = context(CURRICULUM, budget_basis="examples")
  run, *_ = _make_run(examples)
  assert run.num_steps == STEPS


def test_a_baseline_pays_for_its_own_scores_beyond_its_steps(context):
  """Whoever reads the same scores takes as many steps."""
  made = context(CURRICULUM, baseline="x", **{"samplers.y": CURRICULUM})
  pools = host_pools(made)
  steps = [charges.make_run(made, n, pools).num_steps for n in ("x", "y")]
  assert steps == [STEPS, STEPS]
  assert charges.make_run(made, "uniform", pools).num_steps > STEPS


def _compare(folder, **changes):
  images, labels = _data()
  return alcurr.compare(
    images,
    labels,
    samplers=["uniform", "curriculum"],
    model=_wide,
    budget=f"{STEPS} steps",
    trials=2,
    config=_fields(**changes),
    workdir=folder / "run",
  )


def test_a_score_dearer_than_the_budget_is_refused(tmp_path):
  """Before anything is trained."""
  with pytest.raises(UserError) as raised:
    _compare(tmp_path, **{"difficulty.budget": f"{STEPS} steps"})
  assert raised.value.code == "conflict"
  assert raised.value.place == "samplers.curriculum"
  assert "difficulty" in raised.value.text
  assert not list(tmp_path.glob("run/*"))
  assert not list(tmp_path.glob("cache/scores-*"))


def test_the_tables_and_the_report_show_what_was_charged(tmp_path):
  result = _compare(tmp_path)
  rows = pd.read_csv(tmp_path / "run/results.csv")
  for table in (result.summary, rows):
    row = table.groupby("sampler").first()
    uniform, other = row.loc["uniform"], row.loc["curriculum"]
    assert uniform.scores_flops == 0 and other.scores_flops > 0
    step = other.flops_per_step
    # To six digits.
    assert other.flops < uniform.flops * (1 + 1e-5)
    assert other.flops > uniform.flops - 1.01 * step
    trained = other.examples_seen / BATCH * step
    assert other.flops == pytest.approx(trained + other.scores_flops, rel=1e-5)
    assert other.examples_scored == 0
  page = (tmp_path / "run/report.html").read_text()
  assert "Charged:" in page and "at equal FLOPs" in page
  costs = pd.read_csv(tmp_path / "run/figures/costs.csv").set_index("sampler")
  assert costs.total_flops_ratio["curriculum"] == pytest.approx(1, abs=0.02)
  assert 0.1 < costs.scores_share["curriculum"] < 0.9
  logs = result.curves.set_index("sampler")
  assert logs.flops["curriculum"] == pytest.approx(other.flops, rel=1e-5)
