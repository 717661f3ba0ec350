"""Schedules against closed forms, and the optimizers that follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.schedules import SCHEDULES
from alcurr.models import MODELS
from alcurr.training import optimizers


@pytest.mark.parametrize(
  ("spec", "form"),
  [
    ("constant(value=0.3)", lambda t: 0.3),
    ("linear(value=1.0, end=0.2)", lambda t: 1 - 0.8 * t),
    ("cosine(value=2.0)", lambda t: 1 + np.cos(np.pi * t)),
    ("exponential(value=1.0, end=0.01)", lambda t: 0.01**t),
  ],
)
def test_schedules_span_the_run(spec, form):
  schedule = specs.make(spec, SCHEDULES, "x", num_steps=40)
  for step in (0, 10, 37, 40):
    assert float(schedule(step)) == pytest.approx(form(step / 40), abs=1e-6)


@pytest.mark.parametrize("spec", [0.2, "0.2", " 2e-1"])
def test_a_number_is_a_constant_schedule(spec):
  schedule = specs.make(spec, SCHEDULES, "x", num_steps=5)
  assert float(schedule(3)) == pytest.approx(0.2)


@pytest.mark.parametrize(
  ("spec", "code", "place"),
  [
    ("linear(value=-1)", "argument", "x"),
    ("-1", "argument", "x"),
    ("linear", "missing", "x.value"),
    ("exponential(value=1, end=0)", "argument", "x"),
    ("stepwise(value=1)", "unknown", "x"),
  ],
)
def test_bad_schedules(spec, code, place):
  with pytest.raises(UserError) as raised:
    specs.make(spec, SCHEDULES, "x", num_steps=5)
  assert (raised.value.code, raised.value.place) == (code, place)


def test_momentum_on_a_linear_schedule_by_hand():
  """Velocity 1, 1.9, 2.71 of a gradient of 1; rates 0.4, 0.3, 0.2."""
  config = {
    "name": "sgd(momentum=0.9)",
    "learning_rate": 0.4,
    "schedule": "linear",
  }
  tx = optimizers.get_optimizer(config, num_steps=4)
  state = tx.init(jnp.float32(0))
  steps = []
  for _ in range(3):
    update, state = tx.update(jnp.float32(1), state)
    steps.append(float(update))
  np.testing.assert_allclose(steps, [-0.4, -0.57, -0.542], rtol=1e-5)


PARAMS = {
  "conv": {"kernel": jnp.ones((2, 3)), "norm": {"scale": jnp.ones(3)}},
  "logits": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)},
}


def momentum(**options):
  config = {"name": "sgd(momentum=0.9)", "learning_rate": 0.4}
  return optimizers.get_optimizer(
    {**config, "schedule": "linear", **options}, num_steps=4
  )


@pytest.mark.parametrize("multiplier", [0.0, 0.25, 3])
def test_a_slower_backbone_by_hand(multiplier):
  """The head takes the steps of the test above, the rest a multiple."""
  tx = momentum(backbone_lr_multiplier=multiplier)
  state = tx.init(PARAMS)
  for step in (-0.4, -0.57, -0.542):
    updates, state = tx.update(PARAMS, state, PARAMS)  # gradients of 1
    head, rest = updates["logits"], updates["conv"]
    for x in jax.tree.leaves(head):
      np.testing.assert_allclose(x, np.full(x.shape, step), rtol=1e-5)
    for x in jax.tree.leaves(rest):
      expected = np.full(x.shape, multiplier * step)
      np.testing.assert_allclose(x, expected, rtol=1e-5, atol=0)


def test_a_multiplier_of_1_adds_no_state():
  alone = optax.sgd(lambda step: 0.4 * (1 - step / 4), momentum=0.9)
  expected = jax.tree.structure(alone.init(PARAMS))
  for options in ({}, {"backbone_lr_multiplier": 1}):
    assert jax.tree.structure(momentum(**options).init(PARAMS)) == expected


@pytest.mark.parametrize("multiplier", [-0.1, float("inf"), float("nan")])
def test_a_bad_multiplier(multiplier):
  with pytest.raises(UserError) as raised:
    momentum(backbone_lr_multiplier=multiplier)
  place = "optimizer.backbone_lr_multiplier"
  assert (raised.value.code, raised.value.place) == ("range", place)


def test_a_frozen_network_learns_its_classifier():
  model = MODELS["cnn"](input_shape=(4, 4, 1), num_classes=3, width=0.1)
  params, _ = model.init(jax.random.key(0))
  tx = momentum(backbone_lr_multiplier=0.0)
  updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params))
  moved = {
    name
    for name, layer in updates.items()
    if any(x.any() for x in jax.tree.leaves(layer))
  }
  assert moved == {"logits"}
