"""The contestants do the same job; races with invented curves."""

import importlib
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.bandits import rewards
from alcurr.models import MODELS
from benchmarks import doodle_job, peers, peers_alcurr, peers_flax, race
from benchmarks.hand_bandit import HandBandit

IMAGE_SHAPE = (28, 28, 1)
NUM_CLASSES = 30
KEY = jax.random.key(0)


def ours(name):
  model = MODELS[name](input_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES)
  return model, *model.init(KEY)


def count(params):
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def images():
  rng = np.random.default_rng(0)
  return rng.random((4, *IMAGE_SHAPE), np.float32)


def peers_torch():
  pytest.importorskip("torch")
  return importlib.import_module("benchmarks.peers_torch")


@pytest.mark.parametrize("name", doodle_job.NETWORKS)
def test_flax_has_as_many_parameters(name):
  model = MODELS[name](input_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES)
  params, _ = jax.eval_shape(model.init, KEY)
  theirs = jax.eval_shape(
    lambda key: peers_flax.NETWORKS[name](NUM_CLASSES).init(
      key, images(), train=False
    ),
    KEY,
  )
  assert count(theirs["params"]) == count(params)


def test_flax_computes_the_same():
  model, params, state = ours("cnn")
  logits, _ = model.apply(KEY, params, state, images(), train=False)
  theirs = peers_flax.CNN(NUM_CLASSES).apply(
    {"params": params}, images(), train=False
  )
  np.testing.assert_allclose(theirs, logits, atol=1e-5)


@pytest.mark.parametrize("name", doodle_job.NETWORKS)
def test_torch_has_as_many_parameters(name):
  torch_peers = peers_torch()
  if name != "cnn":
    pytest.importorskip("benchmarks.torch_models", exc_type=ModuleNotFoundError)
  model = MODELS[name](input_shape=IMAGE_SHAPE, num_classes=NUM_CLASSES)
  params, _ = jax.eval_shape(model.init, KEY)
  network = torch_peers.network(name, IMAGE_SHAPE, NUM_CLASSES)
  assert sum(p.numel() for p in network.parameters()) == count(params)


def test_torch_computes_the_same():
  torch_peers = peers_torch()
  torch = importlib.import_module("torch")
  model, params, state = ours("cnn")
  logits, _ = model.apply(KEY, params, state, images(), train=False)
  network = torch_peers.CNN(IMAGE_SHAPE, NUM_CLASSES)
  with torch.inference_mode():
    for name, layer in network.named_children():
      kernel = np.array(params[name]["kernel"])
      # From [..., in, out] to PyTorch's [out, in, ...].
      kernel = np.moveaxis(kernel, (-1, -2), (0, 1))
      layer.weight.copy_(torch.from_numpy(kernel))
      layer.bias.copy_(torch.from_numpy(np.array(params[name]["bias"])))
    theirs = network(torch_peers.channels_first(images())).numpy()
  np.testing.assert_allclose(theirs, logits, atol=1e-5)


def test_the_hand_written_bandit_learns_like_the_sampler():
  rng = np.random.default_rng(0)
  num_arms = doodle_job.NUM_ARMS
  steps = doodle_job.WARMUP + 30
  hand = HandBandit(np.arange(100) % num_arms, batch_size=4, seed=0)
  ranks = rewards.rank(num_steps=steps)
  state = ranks.init(jax.random.key(0), 1)
  apply = jax.jit(ranks.apply)
  weight = np.zeros(num_arms)
  for step in range(steps):
    arm = rng.integers(num_arms)
    gain = rng.integers(-20, 20) / 8  # with ties
    paid = jnp.arange(num_arms) == arm
    reward, state = apply(state, jnp.where(paid, gain, 0.0), paid)
    assert hand.learn(arm, gain) == pytest.approx(float(reward[arm]), abs=1e-6)
    if step >= doodle_job.WARMUP:
      weight[arm] += doodle_job.POLICY_LEARNING_RATE * reward[arm]
  epsilon = doodle_job.EPSILON
  policy = (1 - epsilon) * jax.nn.softmax(weight) + epsilon / num_arms
  np.testing.assert_allclose(hand.policy(), policy, atol=1e-5)


def test_the_hand_written_bandit_draws_by_passes():
  arm = np.arange(60) % doodle_job.NUM_ARMS
  hand = HandBandit(arm, batch_size=4, seed=0)
  drawn = np.zeros(60, int)
  for _ in range(200):
    chosen, index = hand.draw()
    assert len(index) == 4
    assert (arm[index] == chosen).all()
    np.add.at(drawn, index, 1)
  for k in range(doodle_job.NUM_ARMS):
    assert np.ptp(drawn[arm == k]) <= 1


class Runner:
  """Gains 0.1 of accuracy with each check; one trial is 0.2 better."""

  def __init__(self, seconds_per_step):
    self._seconds_per_step = seconds_per_step
    self._checks = 0

  def __call__(self, steps):
    self._checks += 1
    return steps * self._seconds_per_step

  def ask(self):
    accuracy = 0.1 * self._checks
    return [accuracy, accuracy, accuracy + 0.2]


def test_a_race_by_hand():
  """The means are 1/6, 4/15 and 11/30 at checks every 10 steps."""
  results = race.race(
    {"quick": Runner(0.5), "slow": Runner(2.0), "slowest": Runner(9.0)},
    threshold=0.35,
    steps=10,
    budget=50.0,
  )
  accuracy = pytest.approx(11 / 30)
  assert results["quick"] == (15.0, 30, accuracy, True)
  # It exceeds its budget at the check where it finishes.
  assert results["slow"] == (60.0, 30, accuracy, True)
  assert results["slowest"] == (90.0, 10, pytest.approx(1 / 6), False)
  assert race.ratio(results["slow"], results["quick"]) == "4"


def test_the_table_has_the_race():
  rows = {"alcurr uniform": {}, "Flax": {}, "Composer": {}}
  results = {
    "alcurr uniform": race.Result(20.0, 100, 0.8, True),
    "Flax": race.Result(60.0, 300, 0.6, False),
    "Composer": race.Result(30.0, 200, 0.8, True),
  }
  peers.add_race(rows, results, batch_size=32, threshold=0.7)
  assert rows["Flax"] == {
    "threshold": 0.7,
    "to_accuracy_s": ">60",
    "to_accuracy_examples": 300 * 32,
    "accuracy": 0.6,
    "to_accuracy_ratio": ">3",
  }
  # The rival did not run.
  assert "to_accuracy_ratio" not in rows["Composer"]


def test_rates_and_ratios_count_all_trials():
  rows = {"alcurr selective_backprop": {}, "Composer": {}, "Flax": {}}
  times = {
    "alcurr selective_backprop": np.array([0.5, 1.0, 0.5]),
    "Composer": np.array([1.0, 1.0, 2.0]),
    "Flax": np.array([1.0]),
  }
  peers.add_rates(rows, times, batch_size=32)
  assert rows["alcurr selective_backprop"]["examples_per_second"] == 192
  assert rows["Composer"]["examples_per_second"] == 3 * 32
  # The ratios of the rounds are 2, 1 and 4.
  assert rows["Composer"]["ratio"] == 2
  # The rival did not run.
  assert "ratio" not in rows["Flax"]


@pytest.mark.parametrize("contestant", peers.CONTESTANTS)
def test_every_contestant_has_a_program(contestant):
  setting = {"path": "", "model": "cnn", "batch_size": 32, "num_steps": 1}
  module, options = peers.program(contestant, setting)
  assert importlib.util.find_spec(module)
  is_bandit = contestant.endswith("bandit")
  assert (options.get("sampler") == "bandit") == is_bandit


def test_selective_backprop_draws_as_many_examples_as_composers():
  """Two steps of 16 train on a batch that is not scored, at batch 32."""
  sampler = peers_alcurr.make_sampler("selective_backprop", 32, 100)
  pool = peers_alcurr.make_pool(
    np.zeros((320, 2, 2, 1), np.uint8), np.zeros(320, np.int32)
  )
  state = sampler.init(KEY, pool)
  update = jax.jit(sampler.update)
  for batches in range(1, 7):
    steps = peers_alcurr.count_steps("selective_backprop", batches)
    while int(state.step) < steps:
      state = update(state, None, ())
    assert int(state.passes.position[0]) == 32 * batches - 16 * (steps % 3 == 2)
  assert peers_alcurr.count_steps("uniform", 7) == 7


def test_giving_up_gives_a_bound():
  finished = race.Result(20.0, 100, 0.8, True)
  gave_up = race.Result(60.0, 100, 0.6, False)
  assert (finished.text(), gave_up.text()) == ("20", ">60")
  assert race.ratio(gave_up, finished) == ">3"
  assert race.ratio(finished, gave_up) == "<0.333"
  assert race.ratio(gave_up, gave_up) == ""
