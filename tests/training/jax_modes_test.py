"""Everything traces as people debug with JAX, and states keep their dtypes.

Under JAX_ENABLE_X64, the strict promotion of dtypes and no promotion of ranks;
what runs under JAX_DEBUG_NANS is in the last test.
"""

import contextlib

import image_networks
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from sampler_table import SAMPLERS

from alcurr import bandits, models, samplers, testing
from alcurr.core import specs
from alcurr.core.schedules import SCHEDULES
from alcurr.data.augment import affine
from alcurr.data.pool import make_gather
from alcurr.data.render import make_render
from alcurr.testing import _toys
from alcurr.training import chunks, evaluation, losses, optimizers, step
from alcurr.types import ArmOutcome, Strokes


@contextlib.contextmanager
def _strict():
  with (
    jax.numpy_dtype_promotion("strict"),
    jax.numpy_rank_promotion("raise"),
  ):
    yield


@contextlib.contextmanager
def _strict_x64():
  """Fails wherever one of the others does: it refuses more promotions."""
  with jax.enable_x64(True), _strict():
    yield


MODES = {
  "strict_x64": _strict_x64,
  "x64": lambda: jax.enable_x64(True),
  "strict": _strict,
}
_SCHEDULES = {
  "exponential": "exponential(value=1.0, end=0.1)",
  **{name: f"{name}(value=0.5)" for name in ("constant", "linear", "cosine")},
}
_OTHERS = {
  **{f"gain {name}": {"gain": name} for name in samplers.GAINS},
  **{f"reward {name}": {"reward": name} for name in samplers.REWARDS},
  **{f"bandit {name}": {"bandit": name} for name in samplers.BANDITS},
  **{f"epsilon {name}": {"epsilon": x} for name, x in _SCHEDULES.items()},
  "tscl naive": {"bandit": "tscl(variant='naive')"},
  "tscl window": {"bandit": "tscl(variant='window', temperature=0.1)"},
  "tscl sampling": {"bandit": "tscl(variant='sampling')"},
  "ucb window": {"bandit": "ucb(window=5)"},
}
_SMALL = {"bayesian_cnn", "cnn", "mobilenet"}
SPECS = SAMPLERS | {
  name: SAMPLERS["bandit"] | changes for name, changes in _OTHERS.items()
}
# The first row of each sampler. Of bandits, _OTHERS has every part.
_FIRST = {spec["name"]: name for name, spec in reversed(SAMPLERS.items())}


@pytest.fixture(
  params=["strict_x64"]
  + [pytest.param(name, marks=pytest.mark.slow) for name in ("x64", "strict")]
)
def mode(request):
  with MODES[request.param]():
    yield


def _require_narrow(tree):
  wide = [x for x in jax.tree.leaves(tree) if x.dtype in (np.int64, np.float64)]
  assert not wide, f"wide arrays in {tree}"


def test_every_schedule_is_in_the_table():
  assert set(_SCHEDULES) == set(SCHEDULES)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(
      name,
      marks=()
      if name in _OTHERS or name in _FIRST.values()
      else pytest.mark.slow,
    )
    for name in SPECS
  ],
)
def test_a_chunk_of_every_sampler_bandit_gain_and_reward(mode, name):
  sampler = toy.make_sampler(
    SPECS[name], "x", batch_size=testing.BATCH_SIZE, num_steps=8
  )
  pool = _toys.make_pool(scores=sampler.spec.scores)
  probe = _toys.make_pool(100, seed=1)
  model = testing.make_linear(sampler.spec.reads_penalty)
  tx = optax.adam(0.1)
  steps = step.make_steps(model, tx, sampler, make_gather())
  init = jax.vmap(step.make_init(model, tx, sampler), (0, None))
  start = jax.eval_shape(init, _toys.seed_keys(0, 1), pool)
  chunk = chunks.make_train_chunk(steps, 8, "map")
  state, metrics = jax.eval_shape(chunk, start, jnp.int32(8), pool, probe)
  _require_narrow((start, state, metrics))


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_every_optimizer(mode, name, schedule):
  config = {"name": name, "learning_rate": 0.1, "schedule": schedule}
  tx = optimizers.get_optimizer(config, 8)
  sampler = samplers.uniform(batch_size=testing.BATCH_SIZE)
  model, pool = testing.make_linear(), _toys.make_pool()
  steps = step.make_steps(model, tx, sampler, make_gather())
  init = step.make_init(model, tx, sampler)
  start = jax.eval_shape(init, jax.random.key(0), pool)
  _require_narrow(jax.eval_shape(steps.measured, start, pool, pool, ()))


@pytest.mark.parametrize(
  ("name", "norm"),
  [
    *((name, "batch") for name in sorted(_SMALL)),
    ("cnn", "group"),
    *(
      pytest.param(name, "group", marks=pytest.mark.slow)
      for name in sorted(_SMALL - {"cnn"})
    ),
  ],
)
def test_networks(mode, name, norm):
  _trace_network(name, norm)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", sorted({*image_networks.NAMES} - _SMALL))
def test_large_networks(mode, name, norm):
  _trace_network(name, norm)


def _trace_network(name, norm):
  shape = (96, 96, 1)
  model = models.MODELS[name](input_shape=shape, num_classes=4, norm=norm)
  key = jax.random.key(0)
  image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  params, state = jax.eval_shape(model.init, key)

  def loss(params, image):
    logits, new = model.apply(key, params, state_zeros, image, train=True)
    return logits.sum(), new

  state_zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
  _require_narrow(
    (params, jax.eval_shape(jax.grad(loss, has_aux=True), params, image))
  )


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_and_scores(mode, name):
  """A loss is traced in a whole step, as it may have a state."""
  loss = specs.make(name, losses.LOSSES, "loss", num_classes=4)
  sampler = samplers.uniform(batch_size=testing.BATCH_SIZE)
  model, pool, tx = testing.make_linear(), _toys.make_pool(), optax.adam(0.1)
  steps = step.make_steps(model, tx, sampler, make_gather(), loss=loss)
  init = step.make_init(model, tx, sampler, loss)
  start = jax.eval_shape(init, jax.random.key(0), pool)
  after = jax.eval_shape(steps.measured, start, pool, pool, ())
  _require_narrow((start, after))
  logits, label = jnp.zeros((5, 4), jnp.float32), jnp.zeros(5, jnp.int32)
  scorer = samplers.scores.el2n()
  _require_narrow((losses.metric(logits, label), scorer(logits, label)))
  _require_narrow(evaluation.rank(logits, label))


@pytest.mark.parametrize("name", samplers.BANDITS)
def test_no_bandit_makes_a_nan(name):
  """Also with a policy that has zeros, and after a step that pays no arm."""
  bandit = bandits.BANDITS[name]()
  with jax.debug_nans(True):
    state = bandit.init(4)
    update, policy = jax.jit(bandit.update), jax.jit(bandit.policy)
    for arm in (0, 0, None, 3, 1):
      p = policy(jax.random.key(1), state)
      count = jnp.zeros(4).at[arm].set(1) if arm is not None else jnp.zeros(4)
      state = update(state, ArmOutcome(-count, count, p))


_FAST = {"uniform", "class_reweighting_every", "label_trust"}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in _FAST else pytest.mark.slow)
    for name in SAMPLERS
  ],
)
def test_a_run_makes_no_nan(name):
  """Also where a sampler does not measure at every step, or never."""
  with jax.debug_nans(True):
    sampler = toy.make_sampler(
      SAMPLERS[name], "x", batch_size=testing.BATCH_SIZE, num_steps=8
    )
    testing.make_case(sampler)


@pytest.mark.slow  # chunks of every sampler are tried in these modes
def test_drawings_are_rendered_and_changed(mode):
  """As without the mode, with every channel."""
  strokes = Strokes(
    np.array([[0, 0, 9], [255, 90, 9], [80, 255, 200], [9, 9, 9]], np.uint8),
    np.array([0, 2, 4], np.uint32),
    np.array([0, 1, 2], np.int32),
  )
  render = make_render(
    size=12, stroke_decay=0.5, channels=("ink", "order", "speed")
  )
  augment = affine(flip=True, rotate=10, scale=0.1, shift=0.05)
  index, key = np.arange(2, dtype=np.int32), jax.random.key(0)

  def draw():
    return augment(key, render(jax.tree.map(jnp.asarray, strokes), index))

  image = draw()
  _require_narrow(image)
  with (
    jax.enable_x64(False),
    jax.numpy_dtype_promotion("standard"),
    jax.numpy_rank_promotion("allow"),
  ):
    expected = draw()
  np.testing.assert_allclose(image, expected, atol=1e-6)
