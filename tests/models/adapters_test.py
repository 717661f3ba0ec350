"""Tests that adapted networks equal a direct call and can be trained."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from flax import nnx

from alcurr.data.pool import make_gather
from alcurr.models import from_functions, from_linen, from_nnx
from alcurr.training import loop
from alcurr.training.run import compile_run
from alcurr.training.scoring import make_score

KEY = jax.random.key(3)
IMAGE = jnp.asarray(
  np.random.default_rng(0).normal(size=(6, 4, 4, 1)), jnp.float32
)


class WithTrain(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1))
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return nn.Dense(toy.NUM_CLASSES)(x)


class WithDeterministic(nn.Module):
  """A module with a random stream of its own."""

  @nn.compact
  def __call__(self, x, *, deterministic=True):
    x = nn.Dense(8)(x.reshape(len(x), -1))
    if not deterministic:
      x += jax.random.normal(self.make_rng("noise"), x.shape)
    x = nn.Dropout(0.5, deterministic=deterministic)(x)
    return nn.Dense(toy.NUM_CLASSES, dtype=jnp.bfloat16)(x)


class Plain(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(toy.NUM_CLASSES)(x.reshape(len(x), -1))


class Nnx(nnx.Module):
  def __init__(self, rngs):
    self.first = nnx.Linear(16, 8, rngs=rngs)
    self.norm = nnx.BatchNorm(8, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)
    self.last = nnx.Linear(8, toy.NUM_CLASSES, rngs=rngs)

  def __call__(self, x):
    x = self.norm(self.first(x.reshape(len(x), -1)))
    return self.last(self.dropout(nnx.relu(x)))


def _close(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_a_linen_module_may_initialise_by_what_goes_in():
  """Which is an image of zeros."""

  class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x):
      scale = self.param("scale", lambda key: 1 + jnp.abs(x).max())
      return scale * x.reshape(len(x), -1)

  params, _ = from_linen(Scaled(), (4, 4, 1)).init(KEY)
  assert params == {"scale": 1}


def test_linen_module_with_statistics():
  module = WithTrain()
  model = from_linen(module, (4, 4, 1))
  params, state = model.init(KEY)
  direct = module.init({"params": KEY}, IMAGE, train=False)
  jax.tree.map(np.testing.assert_array_equal, params, direct["params"])
  logits, same = model.apply(KEY, params, state, IMAGE, train=False)
  _close(logits, module.apply(direct, IMAGE, train=False))
  jax.tree.map(np.testing.assert_array_equal, same, state)
  logits, moved = model.apply(KEY, params, state, IMAGE, train=True)
  expected, changed = module.apply(
    direct, IMAGE, train=True, rngs={"dropout": KEY}, mutable=["batch_stats"]
  )
  _close(logits, expected)
  mean = np.asarray(IMAGE).reshape(6, 16).mean(0)
  _close(moved["batch_stats"]["BatchNorm_0"]["mean"], 0.01 * mean)
  jax.tree.map(np.testing.assert_array_equal, moved, dict(changed))


def test_linen_module_with_deterministic_and_another_stream():
  module = WithDeterministic()
  model = from_linen(module, (4, 4, 1), rngs=("dropout", "noise"))
  params, state = model.init(KEY)
  assert state == {}
  logits, _ = model.apply(KEY, params, state, IMAGE, train=False)
  expected = module.apply({"params": params}, IMAGE)
  assert (logits.dtype, expected.dtype) == (jnp.float32, jnp.bfloat16)
  np.testing.assert_array_equal(logits, expected)
  noisy, _ = model.apply(KEY, params, state, IMAGE, train=True)
  streams = {"dropout": KEY, "noise": jax.random.fold_in(KEY, 1)}
  direct = module.apply(
    {"params": params}, IMAGE, deterministic=False, rngs=streams
  )
  np.testing.assert_array_equal(noisy, direct)
  assert (noisy != logits).any()


def test_linen_module_without_modes():
  model = from_linen(Plain(), (4, 4, 1))
  params, state = model.init(KEY)
  flat = np.asarray(IMAGE).reshape(6, 16)
  expected = flat @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
  for mode in (False, True):
    logits, same = model.apply(KEY, params, state, IMAGE, train=mode)
    _close(logits, expected)
    assert same == state == {}


def test_nnx_module():
  """Both modes, dropout's masks and the new state equal a direct call's."""
  model = from_nnx(Nnx)
  params, state = model.init(KEY)
  direct = Nnx(nnx.Rngs(KEY))
  direct.eval()
  logits, same = jax.jit(model.apply, static_argnames="train")(
    KEY, params, state, IMAGE, train=False
  )
  _close(logits, direct(IMAGE))
  for left, right in zip(toy.arrays(same), toy.arrays(state), strict=True):
    np.testing.assert_array_equal(left, right)
  direct.train()
  for _ in range(2):
    logits, state = model.apply(KEY, params, state, IMAGE, train=True)
    _close(logits, direct(IMAGE))
  _close(state["norm"]["mean"], direct.norm.mean[...])
  assert (np.asarray(state["norm"]["mean"]) != 0).all()
  assert int(state["dropout"]["rngs"]["count"]) == 2
  assert params.keys() == {"first", "norm", "last"}


def test_functions():
  model = _functions()
  params, state = model.init(KEY)
  logits, _ = model.apply(KEY, params, state, IMAGE, train=True)
  flat = np.asarray(IMAGE, np.float64).reshape(6, 16)
  _close(logits, np.tanh(flat @ np.asarray(params["w"])))


def _functions():
  return from_functions(
    lambda key: {"w": 0.1 * jax.random.normal(key, (16, toy.NUM_CLASSES))},
    lambda params, x: jnp.tanh(x.reshape(len(x), -1) @ params["w"]),
  )


def test_features_of_a_network_of_ones_own():
  model = from_linen(WithTrain(), (4, 4, 1), head="Dense_0")
  params, state = model.init(KEY)
  logits, _ = model.apply(KEY, params, state, IMAGE, train=False)
  head = params["Dense_0"]
  features = model.features(params, state, IMAGE)
  _close(features @ head["kernel"] + head["bias"], logits)
  assert from_linen(Plain(), (4, 4, 1)).features is None
  with pytest.raises(ValueError, match="head"):
    from_linen(Plain(), (4, 4, 1), head="last").features(params, {}, IMAGE)
  flat = lambda params, image: image.reshape(len(image), -1)  # noqa: E731
  model = from_functions(_functions().init, lambda p, x: x, flat)
  assert model.features({}, {}, IMAGE).shape == (6, 16)
  assert _functions().features is None


@pytest.mark.parametrize(
  "make",
  [
    lambda: from_linen(WithTrain(), (4, 4, 1)),
    lambda: from_nnx(Nnx),
    _functions,
  ],
  ids=["linen", "nnx", "functions"],
)
def test_training_works_and_trials_differ(make):
  model, gather = make(), make_gather()
  pools = {"train": toy.make_pool(), "valid": toy.make_pool(100, seed=1)}
  pools["probe"] = pools["valid"]
  run = toy.make_run(num_steps=40, batch_size=32)._replace(
    model=model,
    tx=optax.adam(0.05),
    score=make_score(model, gather, 50, "map"),
  )
  rows = []
  plan = compile_run(run, pools)
  result = loop.train(run, plan, pools, rows.append, lambda *a: None)
  losses = [row["valid"]["loss"] for row in rows[-2:]]
  assert max(losses) < 0.85 * np.log(toy.NUM_CLASSES)
  for leaf in toy.arrays(result.state.params):
    assert (leaf[0] != leaf[1]).any()
