"""Every invariant is seen to be violated, by a sampler that violates it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr import models
from alcurr.data.pool import make_gather
from alcurr.training import compilation, invariants, step
from alcurr.training.invariants import Violation
from alcurr.types import Fetched, Images

POOL = toy.make_pool()
VALID = toy.make_pool(100, seed=1)
GATHER = make_gather()
# At least 0.2 / 5 for each arm, and an arm drawn for each example.
SAMPLER = toy.make_sampler(
  {
    "name": "active_bandit",
    "bandit": "softmax",
    "gain": "prediction_gain",
    "reward": "rank(window=50)",
    "epsilon": "0.2",
    "arms_per_batch": 16,
    "warmup": 2,
  },
  "x",
  batch_size=16,
  num_steps=8,
)


def _wrong(sampler=SAMPLER, model=None, tx=None) -> Violation:
  """Returns the violations of a run's first step."""
  model, tx = model or toy.make_linear(), tx or optax.sgd(0.1)
  steps = step.make_steps(model, tx, sampler, make_gather())
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  _, metrics = jax.jit(steps.measured)(state, POOL, VALID, ())
  return Violation(int(metrics.violation))


def _wrong_draw(sampler=SAMPLER, gather=GATHER, fetch=None) -> Violation:
  """Returns the violations of a sampler's first draw.

  Args:
    sampler: draws from POOL.
    gather: makes the batch.
    fetch: (index) -> the pool to gather from; None for POOL.
  """
  state = sampler.init(jax.random.key(0), POOL)
  draw = sampler.sample(jax.random.key(1), state, POOL)
  pool = fetch(draw.index) if fetch else POOL
  batch = gather(pool, draw.index)
  return Violation(
    int(invariants.check_draw(sampler, state, pool, draw, batch))
  )


def _with_draw(**changes):
  """The sampler with fields of its draws changed, by functions of them."""

  def sample(key, state, pool):
    draw = SAMPLER.sample(key, state, pool)
    changed = {name: change(draw) for name, change in changes.items()}
    return draw._replace(**changed)

  return SAMPLER._replace(sample=sample)


def test_nothing_is_wrong_with_a_sampler_that_obeys():
  assert _wrong() == _wrong_draw() == 0


def _one(values, value):
  return values.at[3].set(value)


@pytest.mark.parametrize(
  ("changes", "law"),
  [
    ({"policy": lambda d: d.policy * 1.001}, Violation.SUM),
    (
      {"policy": lambda d: jnp.array([0.03] + 4 * [0.97 / 4])},
      Violation.UNIFORM,
    ),
    (
      {"policy": lambda d: jnp.array([-0.2, 0.3, 0.3, 0.3, 0.3])},
      Violation.UNIFORM,
    ),
    ({"index": lambda d: _one(d.index, 640)}, Violation.INDEX),
    ({"index": lambda d: _one(d.index, -1)}, Violation.INDEX),
    ({"arm": lambda d: _one(d.arm, (d.arm[3] + 1) % 5)}, Violation.ARM),
    ({"prob": lambda d: _one(d.prob, 0)}, Violation.PROB),
    ({"prob": lambda d: _one(d.prob, 1.01)}, Violation.PROB),
    ({"prob": lambda d: _one(d.prob, jnp.nan)}, Violation.PROB),
    ({"policy": lambda d: _one(d.policy, jnp.nan)}, Violation.POLICY),
  ],
)
def test_a_broken_draw_is_named(changes, law):
  found = _wrong_draw(_with_draw(**changes))
  assert law in found
  # An index out of the pool has no arm and no label to agree with.
  if law is not Violation.INDEX:
    assert found == law
  words = invariants.describe_violation(found)
  assert bool(words) != (law is Violation.POLICY)


def test_what_is_drawn_must_have_been_fetched():

  def fetch(index):
    index = jnp.unique(index)
    return POOL._replace(
      source=Fetched(index, Images(POOL.source.image[index]))
    )

  assert _wrong_draw(fetch=fetch) == 0
  for left_out in (0, 3, -1):
    wrong = _wrong_draw(
      fetch=lambda index, one=left_out: fetch(
        jnp.delete(jnp.unique(index), one)
      )
    )
    assert wrong == Violation.FETCHED


def test_a_floor_is_that_of_the_sampler():
  """0.02 is below 0.2 / 5 and above 0.05 / 5."""
  policy = jnp.array([0.02, 0.245, 0.245, 0.245, 0.245])
  low = _with_draw(policy=lambda d: policy)
  assert _wrong_draw(low) == Violation.UNIFORM
  assert _wrong_draw(low._replace(uniform_fraction=lambda state: 0.05)) == 0
  assert _wrong_draw(low._replace(uniform_fraction=None)) == 0


def test_labels_are_those_of_the_pool():

  def shifted(pool, index):
    batch = GATHER(pool, index)
    wrong = batch.label.at[0].add(1) % toy.NUM_CLASSES
    return batch._replace(label=wrong)

  assert _wrong_draw(gather=shifted) == Violation.LABEL


def _tx(update):
  return optax.GradientTransformation(lambda params: (), update)


def test_numbers_that_are_not_finite_are_told_apart():
  """Each of them alone, but for what follows from it."""
  linear = toy.make_linear()

  def of_params(function):
    def apply(key, params, model_state, image, *, train):
      logits, _ = linear.apply(key, params, model_state, image, train=train)
      return logits + function(params["bias"].sum()), model_state

    return linear._replace(apply=apply)

  # The root of zero is finite, its derivative is not.
  found = _wrong(model=of_params(lambda x: jnp.sqrt(jnp.abs(x))))
  assert found == Violation.GRADIENT | Violation.UPDATE
  assert Violation.LOSS in _wrong(model=of_params(lambda x: x + jnp.inf))
  huge = _tx(
    lambda grads, state, params: (
      jax.tree.map(lambda g: jnp.full_like(g, jnp.inf), grads),
      state,
    )
  )
  assert _wrong(tx=huge) == Violation.UPDATE

  def measure(*args):
    feedback = SAMPLER.signal.measure(*args)
    return feedback._replace(gain=feedback.gain.at[0].set(jnp.inf))

  gain = SAMPLER._replace(signal=SAMPLER.signal._replace(measure=measure))
  assert not _wrong(gain)  # the sampler ignores it
  assert (
    invariants.describe_nonfinite(Violation.LOSS | Violation.POLICY)
    == "loss, policy"
  )


def test_no_gain_is_not_a_bad_one():
  """A gain that is not measured is NaN, which violates nothing."""
  uniform = toy.make_sampler(
    {"name": "uniform"}, "x", batch_size=16, num_steps=8
  )
  assert _wrong(uniform) == 0


def test_what_the_laws_cost():
  """Compiled FLOPs of a step with them, against the same step's without.

  XLA prunes the checks if the metrics do not return them.
  """
  rng = np.random.default_rng(0)
  big = Images(jnp.asarray(rng.integers(0, 255, (640, 28, 28, 1)), jnp.uint8))
  pool = POOL._replace(source=big)
  model = models.MODELS["cnn"](input_shape=(28, 28, 1), num_classes=30)
  tx = optax.adam(1e-3)
  steps = step.make_steps(model, tx, SAMPLER, make_gather())

  def blind(*args, **scores):
    state, metrics = steps.measured(*args, **scores)
    return state, metrics._replace(violation=jnp.int32(0))

  init = step.make_init(model, tx, SAMPLER)
  state = jax.eval_shape(init, jax.random.key(0), pool)
  with_checks = compilation.step_flops(steps, state, pool, pool)
  without = compilation.step_flops(
    steps._replace(measured=blind), state, pool, pool
  )
  assert without < with_checks < 1.01 * without


def test_on_nonfinite_must_be_known():
  with pytest.raises(ValueError, match="on_nonfinite"):
    step.make_steps(
      toy.make_linear(), optax.sgd(0.1), SAMPLER, make_gather(), "ignore"
    )
