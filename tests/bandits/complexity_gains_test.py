"""The variational gains and the signs against NumPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from gaussian_oracle import kl_of

from alcurr.bandits._feedback import per_time
from alcurr.bandits.gains import GAINS
from alcurr.core.errors import UserError
from alcurr.data.pool import make_gather
from alcurr.experiments import setup
from alcurr.experiments.config import build, defaults
from alcurr.experiments.pools import host_pools
from alcurr.models import mean_field
from alcurr.samplers import active_bandit
from alcurr.training import step
from alcurr.types import Feedback, Signal

POOL = toy.make_pool()
BATCH_SIZE = 16


def _measure(gain, model, tx, seen=lambda info: (), **arguments):
  """Returns a step's feedback, the states around it, and what is `seen`."""
  sampler = active_bandit(
    batch_size=BATCH_SIZE, gain=gain, num_steps=8, warmup=0, **arguments
  )
  measure = sampler.signal.measure
  spy = sampler._replace(
    signal=Signal(lambda key, info: (measure(key, info), seen(info))),
    update=lambda state, draw, feedback: (draw, feedback),
  )
  steps = step.make_steps(model, tx, spy, make_gather())
  state = step.make_init(model, tx, spy)(jax.random.key(0), POOL)
  new, _ = jax.jit(steps.measured)(state, POOL, POOL, ())
  draw, (feedback, extra) = new.sampler_state
  return feedback, state, new, draw, extra


def test_the_variational_gain_is_the_growth_of_the_kl():
  model = mean_field(toy.make_linear(), prior_std=0.3)
  feedback, state, new, draw, _ = _measure(
    GAINS["variational_gain"](), model, optax.sgd(0.5)
  )
  growth = kl_of(new.params) - kl_of(state.params)
  assert abs(growth) > 1e-2
  np.testing.assert_allclose(feedback.gain, growth, rtol=1e-2)
  np.testing.assert_array_equal(feedback.arm, draw.arm)


def test_the_gradient_variational_gain_is_the_growth_along_the_descent():
  """By central differences of NumPy's KL, along minus the loss's gradient."""
  model = mean_field(toy.make_linear(), prior_std=0.3)
  feedback, state, _, _, grads = _measure(
    GAINS["gradient_variational_gain"](),
    model,
    optax.sgd(0.5),
    seen=lambda info: info.grads,
  )
  params, grads = (jax.tree.map(np.float64, x) for x in (state.params, grads))
  h = 1e-4
  moved = [
    kl_of(jax.tree.map(lambda x, g, s=s: x - s * g, params, grads))
    for s in (h, -h)
  ]
  slope = (moved[0] - moved[1]) / (2 * h)
  np.testing.assert_allclose(feedback.gain, slope, rtol=1e-3)
  # The prior has no gradient in the loss itself.
  assert float(grads["prior"].mean) == float(grads["prior"].log_std) == 0


@pytest.mark.parametrize(
  ("name", "model"),
  [
    ("gradient_l2_gain", toy.make_linear()),
    pytest.param(
      "gradient_variational_gain",
      mean_field(toy.make_linear()),
      marks=pytest.mark.slow,
    ),
  ],
)
def test_the_printed_sign_is_the_other(name, model):
  descent, printed = (
    _measure(GAINS[name](sign=sign), model, optax.sgd(0.5))[0].gain
    for sign in ("descent", "printed")
  )
  np.testing.assert_array_equal(descent, -printed)
  assert (descent != 0).all()
  with pytest.raises(ValueError, match="sign"):
    GAINS[name](sign="up")


@pytest.mark.parametrize(
  "name", ["variational_gain", "gradient_variational_gain"]
)
def test_a_model_without_variational_weights_is_refused(name):
  with pytest.raises(ValueError, match="variational"):
    _measure(GAINS[name](), toy.make_linear(), optax.sgd(0.5))


def test_an_experiment_refuses_it_before_anything_is_trained(tmp_path):
  config = defaults.get_config()
  config.data.source = "synthetic"
  config.data.num_examples = 1000
  config.data.classes = "3"
  config.samplers.bandit.gain = "variational_gain"
  for name, refused in (("cnn", True), ("bayesian_cnn", False)):
    config.model.name = name
    experiment = build.build_experiment(config)
    context = setup.load_context(experiment, tmp_path)
    pools = host_pools(context)
    if not refused:
      setup.check_fit(context, pools)
      continue
    with pytest.raises(UserError) as raised:
      setup.check_fit(context, pools)
    assert raised.value.place == "samplers.bandit"
    assert raised.value.code == "conflict"


def test_gains_are_divided_by_the_time_of_their_arm():
  length = np.random.default_rng(0).integers(1, 9, 640).astype(np.float32)
  length[np.asarray(POOL.partitions["difficulty"].arm) == 2] = 0
  pool = POOL._replace(scores=POOL.scores | {"length": jnp.asarray(length)})
  index = np.array([3, 9, 9, 40, 77, 200, 500, 321], np.int32)
  arm = np.asarray(pool.partitions["difficulty"].arm)[index]
  draw = toy.make_sampler("uniform", "x", batch_size=8, num_steps=8).sample(
    jax.random.key(0),
    toy.make_sampler("uniform", "x", batch_size=8, num_steps=8).init(
      jax.random.key(0), pool
    ),
    pool,
  )
  draw = draw._replace(index=jnp.asarray(index), arm=jnp.asarray(arm))
  credited = np.tile(arm, 2)
  gain = np.linspace(-1, 1, 16).astype(np.float32)

  class Info:
    pass

  info = Info()
  info.pool, info.draw = pool, draw
  with jax.debug_nans(True):
    found = per_time(Feedback(gain, jnp.asarray(credited)), info, "length", 5)
  expected = [
    g / tau if (tau := length[index[arm == a]].mean()) > 0 else np.inf
    for g, a in zip(gain, credited, strict=True)
  ]
  np.testing.assert_allclose(found.gain, expected, rtol=1e-6)
  np.testing.assert_array_equal(found.arm, credited)


def test_a_bandit_is_paid_per_time():
  """The gains of a step are those without, over the times."""
  gain = GAINS["prediction_gain"]()
  plain, *_ = _measure(gain, toy.make_linear(), optax.sgd(0.5))
  length = jnp.asarray(np.abs(POOL.scores["difficulty"]) + 1)
  timed = POOL._replace(scores={"length": length})
  sampler = active_bandit(batch_size=16, gain=gain, num_steps=8, time="length")
  assert sampler.spec.scores == ("length",)
  with pytest.raises(ValueError, match="length"):
    sampler.init(jax.random.key(0), POOL)
  measure = sampler.signal.measure
  spy = sampler._replace(
    signal=Signal(measure),
    update=lambda state, draw, feedback: (draw, feedback),
  )
  tx = optax.sgd(0.5)
  steps = step.make_steps(toy.make_linear(), tx, spy, make_gather())
  state = step.make_init(toy.make_linear(), tx, spy)(jax.random.key(0), timed)
  new, _ = jax.jit(steps.measured)(state, timed, timed, ())
  draw, feedback = new.sampler_state
  drawn, arm = np.asarray(length)[draw.index], np.asarray(draw.arm)
  tau = np.array([drawn[arm == a].mean() for a in arm])
  np.testing.assert_allclose(feedback.gain, plain.gain / tau, rtol=1e-4)
