"""The fused step: its arithmetic, its cost, and a run as one program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
import toy_samplers

from alcurr import models
from alcurr.bandits import gains
from alcurr.bandits.gains import GAINS
from alcurr.data.pool import make_gather
from alcurr.training import chunks, compilation, step
from alcurr.training.keys import step_keys
from alcurr.types import Feedback, Images, Sampler, SamplerSpec, Signal

POOL = toy.make_pool()
VALID = toy.make_pool(100, seed=1)


def _sampler(**config):
  return toy.make_sampler(
    {"name": "uniform", **config}, "x", batch_size=16, num_steps=8
  )


def _one_step(model, tx, sampler):
  """The step with the signal, prepared for itself alone."""
  steps = step.make_steps(model, tx, sampler, make_gather())

  def train_step(state, pool, probe):
    prepared = steps.prepare(state, pool, probe)
    return steps.measured(state, pool, probe, prepared)

  return train_step


def _oracle_loss(params, image, label):
  """Cross-entropy of softmax regression, by NumPy: [B]."""
  logits = image.reshape(len(image), -1) @ params["weight"] + params["bias"]
  logits = logits - logits.max(1, keepdims=True)
  log_z = np.log(np.exp(logits).sum(1))
  return log_z - logits[np.arange(len(label)), label]


def test_one_step_is_that_of_numpy():
  """Gradient descent on softmax regression, the weights on the losses too."""
  weight = jnp.linspace(0.5, 2, 16)
  plain = _sampler()
  weighted = plain._replace(
    sample=lambda *a: plain.sample(*a)._replace(weight=weight)
  )
  tx = optax.sgd(0.3)
  model = toy.make_linear()
  state = step.make_init(model, tx, weighted)(jax.random.key(0), POOL)
  train_step = _one_step(model, tx, weighted)
  new, metrics = jax.jit(train_step)(state, POOL, VALID)
  key = jax.random.split(jax.random.fold_in(state.key, 0), 6)[0]
  index = np.asarray(plain.sample(key, state.sampler_state, POOL).index)
  image = np.asarray(POOL.source.image)[index] / 255.0
  label = np.asarray(POOL.label)[index]
  params = jax.tree.map(np.asarray, state.params)
  loss = _oracle_loss(params, image, label)
  np.testing.assert_allclose(metrics.loss, (weight * loss).mean(), rtol=1e-5)
  flat = image.reshape(16, -1)
  logits = flat @ params["weight"] + params["bias"]
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  error = np.asarray(weight)[:, None] * (p - np.eye(4)[label]) / 16
  np.testing.assert_allclose(
    new.params["weight"],
    params["weight"] - 0.3 * flat.T @ error,
    rtol=1e-4,
    atol=1e-6,
  )
  assert int(new.step) == 1


def _spy(gain, probe_size=16):
  """Returns a sampler whose state is the last feedback."""
  plain = _sampler()
  arms = POOL.partitions["difficulty"]

  def sample(key, state, pool):
    index = jnp.arange(16) * 3
    return plain.sample(key, state[0], pool)._replace(
      index=index, arm=arms.arm[index]
    )

  return Sampler(
    init=lambda key, pool: (
      plain.init(key, pool),
      Feedback(jnp.zeros(probe_size), jnp.zeros(probe_size, jnp.int32)),
    ),
    sample=sample,
    update=lambda state, draw, feedback: (state[0], feedback),
    signal=Signal(
      lambda key, info: gain.measure(
        key, info, info.pool.partitions["difficulty"]
      ),
      prepare=gain.prepare,
    ),
    spec=SamplerSpec(("difficulty",), "difficulty"),
  )


def _gains(name, **arguments):
  """The feedback of a step with a gain, and the parameters around it."""
  sampler, tx, model = (
    _spy(GAINS[name](**arguments), arguments.get("probe_size", 16)),
    optax.sgd(0.5),
    toy.make_linear(),
  )
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  train_step = _one_step(model, tx, sampler)
  new, _ = jax.jit(train_step)(state, POOL, VALID)
  feedback = new.sampler_state[1]
  return feedback, *(jax.tree.map(np.asarray, s.params) for s in (state, new))


def _drop(before, after, pool, index):
  image = np.asarray(pool.source.image)[index] / 255.0
  label = np.asarray(pool.label)[index]
  return _oracle_loss(before, image, label) - _oracle_loss(after, image, label)


def test_prediction_gain_is_the_drop_on_the_batch():
  feedback, before, after = _gains("prediction_gain")
  index = np.arange(16) * 3
  np.testing.assert_allclose(
    feedback.gain, _drop(before, after, POOL, index), atol=1e-5
  )
  np.testing.assert_array_equal(
    feedback.arm, POOL.partitions["difficulty"].arm[index]
  )


def test_gradient_prediction_gain_is_the_squared_norm():
  """In plain gradient descent the step is the gradient times the rate."""
  feedback, before, after = _gains("gradient_prediction_gain")
  squares = sum(((after[k] - before[k]) ** 2).sum() for k in before)
  np.testing.assert_allclose(feedback.gain, squares / 0.5**2, rtol=1e-4)


def test_first_order_gain_is_the_gradient_along_the_step():
  """In plain gradient descent it is the rate times the squared norm."""
  feedback, before, after = _gains("first_order_gain")
  squares = sum(((after[k] - before[k]) ** 2).sum() for k in before)
  np.testing.assert_allclose(feedback.gain, squares / 0.5, rtol=1e-4)


def test_l2_gain_is_the_growth_of_the_squared_norm():
  feedback, before, after = _gains("l2_gain")
  growth = sum((after[k] ** 2 - before[k] ** 2).sum() for k in before)
  np.testing.assert_allclose(feedback.gain, growth, rtol=1e-3)


def test_gradient_l2_gain_is_that_growth_to_first_order():
  """A step of descent changes the norm by -2 * rate * <θ, ∇L>."""
  feedback, before, after = _gains("gradient_l2_gain")
  along = sum((before[k] * (after[k] - before[k])).sum() for k in before)
  np.testing.assert_allclose(feedback.gain, along / 0.5, rtol=1e-3)


def test_first_order_gain_counts_the_momentum():
  """The second step of Adam-like state: a step against the gradient loses."""
  away = optax.GradientTransformation(
    lambda params: (),
    lambda grads, state, params: (grads, state),  # up the hill
  )
  sampler = _spy(GAINS["first_order_gain"]())
  model = toy.make_linear()
  state = step.make_init(model, away, sampler)(jax.random.key(0), POOL)
  new, _ = jax.jit(_one_step(model, away, sampler))(state, POOL, VALID)
  assert (new.sampler_state[1].gain < 0).all()


def _gradients(params, pool, index):
  """Each example's own gradient of softmax regression, by NumPy."""
  image = np.asarray(pool.source.image)[index].reshape(len(index), -1) / 255.0
  logits = image @ params["weight"] + params["bias"]
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  error = p - np.eye(4)[np.asarray(pool.label)[index]]
  return np.concatenate(
    [(image[:, :, None] * error[:, None]).reshape(len(index), -1), error], 1
  )


def test_influence_is_the_inner_product_of_gradients():
  """Each example's own gradient with the mean gradient of a probe.

  The probe is the whole of a probe pool that holds one drawing many times.
  """
  same = jax.tree.map(
    lambda x: x[jnp.zeros(50, jnp.int32)], VALID._replace(partitions={})
  )
  sampler = _spy(GAINS["influence"](probe_size=8))
  model, tx = toy.make_linear(), optax.sgd(0.5)
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  new, _ = jax.jit(_one_step(model, tx, sampler))(state, POOL, same)
  params = jax.tree.map(np.asarray, state.params)
  index = np.arange(16) * 3
  expected = _gradients(params, POOL, index) @ _gradients(params, same, [0])[0]
  np.testing.assert_allclose(
    new.sampler_state[1].gain, expected, rtol=1e-4, atol=1e-6
  )
  np.testing.assert_array_equal(
    new.sampler_state[1].arm, POOL.partitions["difficulty"].arm[index]
  )


def test_shuffled_influences_are_the_same_in_another_order():
  plain, _, _ = _gains("influence", probe_size=16)
  shuffled, _, _ = _gains("influence", probe_size=16, shuffled=True)
  np.testing.assert_allclose(np.sort(plain.gain), np.sort(shuffled.gain))
  assert (plain.gain != shuffled.gain).any()
  np.testing.assert_array_equal(plain.arm, shuffled.arm)


def test_self_prediction_gain_is_the_drop_on_some_of_the_same_arms():
  """Each probe's gain is one that an example of its arm has."""
  feedback, before, after = _gains("self_prediction_gain")
  every = _drop(before, after, POOL, np.arange(640))
  arm = np.asarray(POOL.partitions["difficulty"].arm)
  np.testing.assert_array_equal(feedback.arm, arm[np.arange(16) * 3])
  for gain, a in zip(*feedback, strict=True):
    assert np.abs(every[arm == int(a)] - gain).min() < 1e-5


def test_a_probe_of_any_size_is_spread_over_the_batch():
  """Six of sixteen slots, by hand: 0, 2, 5, 8, 10 and 13."""
  feedback, _, _ = _gains("self_prediction_gain", probe_size=6)
  index = np.array([0, 2, 5, 8, 10, 13]) * 3
  np.testing.assert_array_equal(
    feedback.arm, POOL.partitions["difficulty"].arm[index]
  )
  assert feedback.gain.shape == (6,)


def test_mean_and_target_gains_are_means_over_fresh_probes():
  """Within the range of what one arm, and the valid pool, can give."""
  feedback, before, after = _gains("mean_prediction_gain")
  every = _drop(before, after, POOL, np.arange(640))
  assert every.min() < float(feedback.gain[0]) < every.max()
  assert (feedback.gain == feedback.gain[0]).all()
  feedback, before, after = _gains("target_prediction_gain")
  every = _drop(before, after, VALID, np.arange(100))
  error = every.std() / 4  # of a mean of 16
  assert float(feedback.gain[0]) == pytest.approx(every.mean(), abs=4 * error)


@pytest.mark.slow
@pytest.mark.parametrize("model_name", ["cnn", "mobilenet"])
def test_what_the_gains_cost(model_name):
  """Compiled FLOPs against uniform sampling's, at 28 x 28 and batch 32.

  A step is a forward and a backward pass of about two; a second forward pass
  makes 4/3 of it.
  """
  rng = np.random.default_rng(0)
  big = Images(jnp.asarray(rng.integers(0, 255, (640, 28, 28, 1)), jnp.uint8))
  pool = POOL._replace(source=big)
  width = {"cnn": 1.0, "mobilenet": 0.25}[model_name]
  model = models.MODELS[model_name](
    input_shape=(28, 28, 1), num_classes=30, width=width
  )
  tx = optax.adam(1e-3)

  def flops(**config):
    config = {
      "bandit": "softmax",
      "reward": "rank",
      "name": "active_bandit",
      "arms_per_batch": 1,
    } | config
    if config["name"] == "uniform":
      config = {"name": "uniform"}
    sampler = toy.make_sampler(config, "x", batch_size=32, num_steps=2000)
    init = step.make_init(model, tx, sampler)
    steps = step.make_steps(model, tx, sampler, make_gather())
    state = jax.eval_shape(init, jax.random.key(0), pool)
    return compilation.step_flops(steps, state, pool, pool)

  uniform = flops(name="uniform")
  every_step = flops(gain="prediction_gain") / uniform
  assert every_step <= 1.34
  assert flops(gain="gradient_prediction_gain") / uniform <= 1.01
  if model_name == "mobilenet":  # a minute to compile, and the same once more
    return
  assert flops(gain="first_order_gain") / uniform <= 1.01
  eighth = flops(gain="prediction_gain", interval=8) / uniform
  assert eighth == pytest.approx(1 + (every_step - 1) / 8, abs=0.01)
  influence = flops(
    gain="influence(probe_size=64, prepare_interval=4)",
    interval=8,
    arms_per_batch=32,
  )
  assert 1.05 < influence / uniform <= 1.15


def test_a_chunk_of_fewer_steps_is_that_many_steps():
  tx, model, sampler = optax.sgd(0.5), toy.make_linear(), _sampler()
  init = step.make_init(model, tx, sampler)
  steps = step.make_steps(model, tx, sampler, make_gather())
  keys = jax.random.key(0)[None]
  state = jax.vmap(init, (0, None))(keys, POOL)
  chunk = jax.jit(chunks.make_train_chunk(steps, 7, "map"))
  chunked, metrics = chunk(state, 4, POOL, VALID)
  alone = init(jax.random.key(0), POOL)
  jitted = jax.jit(_one_step(model, tx, sampler))
  for i in range(4):
    alone, one = jitted(alone, POOL, VALID)
    assert metrics.loss[0, i] == pytest.approx(float(one.loss), rel=1e-5)
  np.testing.assert_allclose(
    chunked.params["weight"][0], alone.params["weight"], rtol=1e-5, atol=1e-6
  )
  assert int(chunked.step[0]) == 4
  assert (metrics.loss[0, 4:] == 0).all()


def test_trials_by_must_be_known():
  with pytest.raises(ValueError, match="trials_by"):
    chunks.over_trials(lambda s: s, "pmap")


def test_candidates_are_scored_in_eval_mode_and_the_worst_are_trained_on():
  """The batch is the 16 of 64 with the largest loss, by NumPy."""
  sampler = toy_samplers.largest_loss(batch_size=16, num_candidates=64)
  tx, model = optax.sgd(0.3), toy.make_linear()
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  new, metrics = jax.jit(_one_step(model, tx, sampler))(state, POOL, VALID)
  key = step_keys(state.key, 0).draw
  index = np.asarray(sampler.sample(key, state.sampler_state, POOL).index)
  params = jax.tree.map(np.asarray, state.params)
  loss = _oracle_loss(
    params,
    np.asarray(POOL.source.image)[index] / 255.0,
    np.asarray(POOL.label)[index],
  )
  largest = np.argsort(-loss)[:16]
  assert set(np.asarray(metrics.index)) == set(index[largest])
  np.testing.assert_allclose(metrics.loss, loss[largest].mean(), rtol=1e-5)
  # The next step draws what comes after all of the candidates.
  key = step_keys(state.key, 1).draw
  after = sampler.sample(key, new.sampler_state, POOL).index
  assert not set(np.asarray(after)) & set(index)


def test_candidates_cost_a_forward_pass_on_each():
  """64 scored for 16 trained on cost four more forward passes of a batch."""
  plain, tx, model = _sampler(), optax.sgd(0.3), toy.make_linear()

  def flops(sampler):
    init = step.make_init(model, tx, sampler)
    state = jax.eval_shape(init, jax.random.key(0), POOL)
    steps = step.make_steps(model, tx, sampler, make_gather())
    return compilation.step_flops(steps, state, POOL, POOL)

  candidates = toy_samplers.largest_loss(batch_size=16, num_candidates=64)
  forward = 2 * 64 * 16 * toy.NUM_CLASSES  # of the linear layer alone
  assert flops(candidates) - flops(plain) > forward


def _every_other(batch_size=16, num_candidates=64):
  """Scores its candidates at odd steps only; its state counts the steps."""
  largest = toy_samplers.largest_loss(
    batch_size=batch_size, num_candidates=num_candidates
  )
  return largest._replace(
    init=lambda key, pool: (largest.init(key, pool), jnp.int32(0)),
    sample=lambda key, state, pool: largest.sample(key, state[0], pool),
    select=lambda key, state, draw, score: largest.select(
      key, state[0], draw, score
    ),
    update=lambda state, draw, feedback: (
      largest.update(state[0], draw, feedback),
      state[1] + 1,
    ),
    is_scoring=lambda state: state[1] % 2 == 1,
    spec=largest.spec._replace(scoring_share=0.5),
  )


def test_a_step_that_does_not_score_trains_on_the_first_candidates():
  sampler, tx, model = _every_other(), optax.sgd(0.3), toy.make_linear()
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  one = jax.jit(_one_step(model, tx, sampler))
  for number in range(4):
    key = step_keys(state.key, number).draw
    index = np.asarray(sampler.sample(key, state.sampler_state, POOL).index)
    params = jax.tree.map(np.asarray, state.params)
    state, metrics = one(state, POOL, VALID)
    chosen = np.arange(16)
    if number % 2:
      image = np.asarray(POOL.source.image)[index] / 255.0
      loss = _oracle_loss(params, image, np.asarray(POOL.label)[index])
      chosen = np.argsort(-loss)[:16]
    assert set(np.asarray(metrics.index)) == set(index[chosen])
    assert int(metrics.num_scored) == (64 if number % 2 else 0)


def test_the_steps_that_score_are_charged_by_their_share():
  """Halfway between a sampler that always scores and one that never does."""
  tx, model = optax.sgd(0.3), toy.make_linear()

  def flops(sampler):
    init = step.make_init(model, tx, sampler)
    state = jax.eval_shape(init, jax.random.key(0), POOL)
    steps = step.make_steps(model, tx, sampler, make_gather())
    return compilation.step_flops(steps, state, POOL, POOL)

  half = _every_other()
  costs = {
    share: flops(half._replace(spec=half.spec._replace(scoring_share=share)))
    for share in (0.0, 0.5, 1.0)
  }
  forward = 2 * 64 * 16 * toy.NUM_CLASSES
  assert costs[1.0] - costs[0.0] > forward
  assert costs[0.5] == pytest.approx((costs[0.0] + costs[1.0]) / 2)


def test_a_score_has_what_the_candidates_are_and_derivatives():
  """The logits, and the losses' derivative along a direction, by NumPy."""
  seen = {}

  def score(candidates):
    direction = {"weight": jnp.ones((16, 4)), "bias": jnp.zeros(4)}
    jax.debug.callback(
      lambda *x: seen.update(zip(("logits", "along"), x, strict=True)),
      candidates.logits,
      candidates.loss_jvp(direction),
    )
    return candidates.loss

  sampler = toy_samplers.largest_loss(batch_size=16, num_candidates=64)
  sampler = sampler._replace(score=score)
  tx, model = optax.sgd(0.3), toy.make_linear()
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  jax.block_until_ready(_one_step(model, tx, sampler)(state, POOL, VALID))
  jax.effects_barrier()
  key = step_keys(state.key, 0).draw
  index = np.asarray(sampler.sample(key, state.sampler_state, POOL).index)
  flat = np.asarray(POOL.source.image)[index].reshape(64, -1) / 255.0
  weight, bias = map(np.asarray, (state.params["weight"], state.params["bias"]))
  logits = flat @ weight + bias
  np.testing.assert_allclose(seen["logits"], logits, rtol=1e-5, atol=1e-6)
  # Every logit moves alike, so that no probability does.
  np.testing.assert_allclose(seen["along"], 0, atol=1e-4)


def test_a_draws_own_labels_are_trained_on():
  sampler = toy_samplers.relabelling(batch_size=16, num_classes=toy.NUM_CLASSES)
  tx, model = optax.sgd(0.3), toy.make_linear()
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  _, metrics = jax.jit(_one_step(model, tx, sampler))(state, POOL, VALID)
  index = np.asarray(metrics.index)
  params = jax.tree.map(np.asarray, state.params)
  label = (np.asarray(POOL.label)[index] + 1) % toy.NUM_CLASSES
  image = np.asarray(POOL.source.image)[index] / 255.0
  expected = _oracle_loss(params, image, label).mean()
  np.testing.assert_allclose(metrics.loss, expected, rtol=1e-5)


def test_any_feedback_is_logged_by_its_mean():
  """And by how many of its numbers are finite, and how many are not."""

  def summary(feedback):
    return [float(x) for x in gains.summarize_feedback(feedback)]

  assert summary(()) == [0, 0, 0]
  partly = Feedback(jnp.array([1.0, jnp.nan, 2.0]), jnp.array([5, 6, 7]))
  assert summary(partly) == [1.5, 2, 1]
  tree = {"a": jnp.array([[1.0, 2.0, -jnp.inf]]), "b": jnp.int32(6)}
  assert summary(tree) == [3, 3, 1]
