"""A training loop of one's own draws and learns as the built-in step does."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
import toy_samplers
from sampler_table import SAMPLERS

from alcurr import gains, models, samplers
from alcurr.bandits import rewards
from alcurr.data.pool import make_gather
from alcurr.testing import _toys as testing
from alcurr.training import losses as loss_functions
from alcurr.training import make_hooks, run_keys, step, step_keys
from alcurr.training.objectives import add_penalty
from alcurr.types import Pool, Sampler, Signal

STEPS = 20


def _make(name) -> Sampler:
  return OTHERS.get(name) or toy.make_sampler(
    SAMPLERS[name], "x", batch_size=16, num_steps=STEPS
  )


def _make_candidates(**changes) -> Sampler:
  return toy_samplers.largest_loss(batch_size=16)._replace(**changes)


def _learning_from_scores() -> Sampler:
  """A state of the mean loss and score, every second step."""
  plain = _make_candidates()

  def measure(key, info):
    return info.loss.mean() + info.candidates.score.mean()

  return plain._replace(
    init=lambda key, pool: (plain.init(key, pool), jnp.float32(0)),
    sample=lambda key, state, pool: plain.sample(key, state[0], pool),
    select=lambda key, state, draw, score: plain.select(
      key, state[0], draw, score + state[1]
    ),
    update=lambda state, draw, feedback: (
      plain.update(state[0], draw, ()),
      state[1] if isinstance(feedback, tuple) else feedback,
    ),
    signal=Signal(measure, interval=2),
  )


def _by_influence(is_scoring=None) -> Sampler:
  """Selects by a probe's gradient, which four steps share."""
  plain = _make_candidates()
  probe_gradient = lambda key, context: jax.grad(  # noqa: E731
    lambda params: context.loss_fn(
      params, context.gather(context.probe, jnp.arange(32))
    ).mean()
  )(context.params)
  return plain._replace(
    score=lambda info: {"jvp": info.loss_jvp(info.prepared)},
    select=lambda key, state, draw, score: plain.select(
      key, state, draw, score["jvp"]
    ),
    is_scoring=is_scoring,
    signal=Signal(
      lambda key, info: (), prepare=probe_gradient, prepare_interval=4
    ),
  )


OTHERS = {
  "largest_loss": _make_candidates(),
  "uncertainty": _make_candidates(
    score=lambda info: -jax.nn.softmax(info.logits).max(1)
  ),
  "learning_from_scores": _learning_from_scores(),
  "by_influence": _by_influence(),
  "variational": samplers.active_bandit(
    gain=gains.variational_gain(), reward=rewards.rank(window=9), batch_size=16
  ),
  "by_influence_sometimes": _by_influence(
    lambda state: state.position.sum() % jnp.int32(64) == 0
  ),
}
SCORES = {x for name in SAMPLERS for x in _make(name).spec.scores}
POOL = toy.make_pool(scores=sorted(SCORES))
PROBE = toy.make_pool(100, seed=1, scores=sorted(SCORES))
FAST = {
  *("learning_from_scores", "by_influence_sometimes"),
  *("variational", "bandit_first_order", "class_reweighting"),
}


def _built_in(model, tx, sampler):
  """Returns the indices of a run [T, B], and its last state."""
  steps = step.make_steps(model, tx, sampler, make_gather())
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  prepare, measured, plain = (jax.jit(part) for part in steps[:3])
  index = []
  for i in range(STEPS):
    if i % steps.cycle == 0:
      prepared = prepare(state, POOL, PROBE)
    part = plain if i % steps.interval else measured
    state, metrics = part(state, POOL, PROBE, prepared)
    index.append(np.asarray(metrics.index))
  return index, state


def _own(hooks, losses, params, tx, model):
  """The same by a loop of one's own."""

  @jax.jit
  def train_step(params, opt_state, state):
    step = hooks.begin(state, params, POOL, PROBE)

    def objective(params):
      return (step.draw.weight * losses(params, step.batch)).mean()

    grads = jax.grad(objective)(params)
    descent = add_penalty(model, params, grads, POOL)
    updates, opt_state = tx.update(descent, opt_state, params)
    new_params = optax.apply_updates(params, updates)
    state = hooks.end(step, new_params, grads, updates)
    return new_params, opt_state, state, step.draw.index

  state = hooks.init(jax.random.key(0), params, POOL, PROBE)
  opt_state, index = tx.init(params), []
  for _ in range(STEPS):
    params, opt_state, state, drawn = train_step(params, opt_state, state)
    index.append(np.asarray(drawn))
  return index, params, state


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in (*OTHERS, *SAMPLERS)
  ],
)
def test_a_loop_of_ones_own_is_the_built_in_step(name):
  """The same examples and parameters, whatever the sampler looks at."""
  sampler = _make(name)
  penalised = sampler.spec.reads_penalty
  model, tx = toy.make_linear(penalised), optax.sgd(0.5, momentum=0.9)
  expected, last = _built_in(model, tx, sampler)

  def logits(params, batch):
    return model.apply((), params, {}, batch.inputs, train=False)[0]

  def losses(params, batch):
    return loss_functions.softmax_cross_entropy(
      logits(params, batch), batch.label
    )

  def features(params, batch):
    return model.features(params, {}, batch.inputs)

  hooks = make_hooks(
    sampler, losses, logits=logits, features=features, penalty=model.penalty
  )
  params, _ = model.init(jax.random.split(jax.random.key(0), 3)[0])
  index, params, state = _own(hooks, losses, params, tx, model)
  np.testing.assert_array_equal(index, expected)
  for ours, theirs in (
    (params, last.params),
    (state.sampler_state, last.sampler_state),
  ):
    for a, b in zip(toy.arrays(ours), toy.arrays(theirs), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_without_the_optimizers_updates_their_difference_is_taken():
  sampler = toy.make_sampler(
    SAMPLERS["bandit_first_order"], "x", batch_size=16, num_steps=STEPS
  )

  def losses(params, batch):
    return jnp.square(params * batch.inputs.mean((1, 2, 3)))

  hooks, key = make_hooks(sampler, losses), jax.random.key(0)
  state = hooks.init(key, jnp.float32(3), POOL)
  begun = hooks.begin(state, jnp.float32(3), POOL)
  grads, update = jnp.float32(0.5), jnp.float32(-0.25)
  given = hooks.end(begun, jnp.float32(2.75), grads, update)
  computed = hooks.end(begun, jnp.float32(2.75), grads)
  history = computed.sampler_state.reward.history
  assert float(history[0]) == 0.125  # -<0.5, -0.25>
  testing.assert_equal(given, computed)


@pytest.mark.parametrize(
  ("name", "argument"),
  [
    ("uncertainty", "logits to make_hooks"),
    ("class_reweighting", "probe to begin"),
    ("influence", "probe to begin"),
    ("bandit_gradient", "grads to end"),
    ("variational", "penalty to make_hooks"),
  ],
)
def test_something_that_is_not_given_is_named(name, argument):
  sampler = _make(name)
  losses = lambda params, batch: batch.inputs.mean((1, 2, 3)) * params  # noqa: E731
  hooks, params = make_hooks(sampler, losses), jnp.float32(1)
  with pytest.raises(ValueError, match=argument):
    state = hooks.init(jax.random.key(0), params, POOL)
    hooks.end(hooks.begin(state, params, POOL), params)


class _Noisy(nn.Module):
  """A network with batch statistics and dropout."""

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dense(8)(x.reshape(x.shape[0], -1))
    x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return nn.Dense(toy.NUM_CLASSES)(x)


@pytest.mark.parametrize(
  "name", [pytest.param("influence", marks=pytest.mark.slow), "largest_loss"]
)
def test_batch_statistics_and_dropout_keys_are_extra_arguments(name):
  """Candidates are scored in evaluation mode, as in the built-in step."""
  sampler = _make(name)
  model, tx = models.from_linen(_Noisy(), (4, 4, 1)), optax.sgd(0.1)
  expected, last = _built_in(model, tx, sampler)

  def apply(params, batch, model_state, key, train=True):
    return model.apply(key, params, model_state, batch.inputs, train=train)

  def losses(params, batch, *extra, train=True):
    logits, _ = apply(params, batch, *extra, train=train)
    return loss_functions.softmax_cross_entropy(logits, batch.label)

  hooks = make_hooks(
    sampler, losses, scoring_losses=functools.partial(losses, train=False)
  )

  @jax.jit
  def train_step(params, model_state, state):
    key = step_keys(state.key, state.step).model
    step = hooks.begin(state, params, POOL, PROBE, model_state, key)

    def objective(params):
      logits, new_state = apply(params, step.batch, model_state, key)
      loss = loss_functions.softmax_cross_entropy(logits, step.batch.label)
      return (step.draw.weight * loss).mean(), new_state

    grads, model_state = jax.grad(objective, has_aux=True)(params)
    new_params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    state = hooks.end(step, new_params, grads)
    return new_params, model_state, state, step.draw.index

  key = jax.random.key(0)
  params, model_state = model.init(run_keys(key)[0])
  state = hooks.init(key, params, POOL, PROBE, model_state, key)
  index = []
  for _ in range(STEPS):
    params, model_state, state, drawn = train_step(params, model_state, state)
    index.append(np.asarray(drawn))
  np.testing.assert_array_equal(index, expected)
  for a, b in zip(toy.arrays(params), toy.arrays(last.params), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_pools_examples_may_be_any_tree():
  pool = Pool(
    {"tokens": jnp.arange(80).reshape(40, 2), "length": jnp.ones(40)},
    jnp.zeros(40, jnp.int32),
    scores={},
    partitions={},
  )
  sampler = toy_samplers.largest_loss(batch_size=4, num_candidates=20)
  losses = lambda params, batch: (  # noqa: E731
    params * batch.inputs["tokens"].sum(1) * batch.inputs["length"]
  )
  hooks, params = make_hooks(sampler, losses), jnp.float32(1)
  state = hooks.init(jax.random.key(0), params, pool)
  seen = []
  for _ in range(2):
    step = hooks.begin(state, params, pool)
    tokens = step.batch.inputs["tokens"][:, 0]
    np.testing.assert_array_equal(tokens, 2 * step.draw.index)
    assert int(tokens.min()) >= int(jnp.sort(step.candidates.draw.index)[16])
    seen += step.candidates.draw.index.tolist()
    state = hooks.end(step, params)
  assert sorted(seen) == list(range(40))
