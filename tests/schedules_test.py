"""Schedules by closed form, and the optimisers that follow them."""

import jax.numpy as jnp
import numpy as np
import pytest

from alcurr import optimizers, schedules
from alcurr.errors import UserError


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
  schedule = schedules.get_schedule(spec, "x", num_steps=40)
  for step in (0, 10, 37, 40):
    assert float(schedule(step)) == pytest.approx(form(step / 40), abs=1e-6)


@pytest.mark.parametrize("spec", [0.2, "0.2", " 2e-1"])
def test_numbers_stay_numbers(spec):
  assert schedules.get_schedule(spec, "x", num_steps=5) == 0.2


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("linear(value=-1)", "value must be finite and not negative, got -1"),
    ("linear", "missing a required argument: 'value'"),
    ("exponential(value=1, end=0)", "never reaches zero"),
    ("stepwise(value=1)", "Known: constant, cosine, exponential, linear"),
  ],
)
def test_bad_schedules(spec, message):
  with pytest.raises(UserError, match=message):
    schedules.get_schedule(spec, "x", num_steps=5)


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
