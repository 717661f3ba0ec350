"""The loops of docs/loops.md run, and learn as alcurr's own step does."""

import pathlib
import re
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
import toy_samplers
from flax import nnx

from alcurr import bandits, gains, models, samplers
from alcurr.bandits import rewards
from alcurr.data.pool import make_gather
from alcurr.integrations import IndexStream, pool_info
from alcurr.testing import _toys as testing
from alcurr.training import make_hooks, make_init, make_steps
from alcurr.types import Sampler, Signal

PAGE = pathlib.Path(__file__).parents[1] / "docs/loops.md"
POOL, PROBE = toy.make_pool(), toy.make_pool(100, seed=1)
STEPS = 20
JAX_LINES, TORCH_LINES = 24, 13  # of a block, without blank ones


def _blocks(heading):
  """Returns the Python blocks of a section."""
  section = re.split(rf"\n##+ {heading}\n", PAGE.read_text())[1]
  section = re.split(r"\n##+ ", section)[0]
  return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def _count(block):
  return sum(bool(line.strip()) for line in block.splitlines())


def _bandit(gain, **changes):
  return samplers.active_bandit(
    bandits.softmax(learning_rate=1.0),
    gain=gain,
    reward=rewards.rank(window=50),
    **({"batch_size": 32, "arms_per_batch": 32, "warmup": 0} | changes),
  )


def _remembering() -> Sampler:
  """Keeps the last loss of each example; draws as `uniform` does."""
  plain = samplers.uniform(batch_size=32)

  def update(state, draw, feedback):
    loss = state[1].at[draw.index].set(feedback)
    return plain.update(state[0], draw, ()), loss

  return plain._replace(
    init=lambda key, pool: (
      plain.init(key, pool),
      jnp.zeros(pool.label.shape[0], jnp.float32),
    ),
    sample=lambda key, state, pool: plain.sample(key, state[0], pool),
    update=update,
    signal=Signal(lambda key, info: info.loss),
  )


CANDIDATES = toy_samplers.largest_loss(batch_size=32, num_candidates=64)
SAMPLERS = {
  "influence": _bandit(
    gains.influence(probe_size=16, prepare_interval=2), interval=2
  ),
  "first_order": _bandit(gains.first_order_gain(), arms_per_batch=1),
  "candidates": CANDIDATES._replace(
    is_scoring=lambda state: state.position.sum() % jnp.int32(128) == 0
  ),
  "remembering": _remembering(),
}


def _built_in(model, params, tx, sampler):
  """Returns the state after a run of alcurr's own step."""
  steps = make_steps(model, tx, sampler, make_gather())
  state = make_init(model, tx, sampler)(jax.random.key(0), POOL)
  _, model_state = model.init(jax.random.key(0))
  state = state._replace(
    params=params, opt_state=tx.init(params), model_state=model_state
  )
  prepare, measured, plain = (jax.jit(part) for part in steps[:3])
  for i in range(STEPS):
    if i % steps.cycle == 0:
      prepared = prepare(state, POOL, PROBE)
    part = plain if i % steps.interval else measured
    state, _ = part(state, POOL, PROBE, prepared)
  return state


def _assert_same(ours, theirs):
  for a, b in zip(toy.arrays(ours), toy.arrays(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class _Linen(nn.Module):
  @nn.compact
  def __call__(self, image):
    hidden = nn.relu(nn.Dense(8)(image.reshape(image.shape[0], -1)))
    return nn.Dense(toy.NUM_CLASSES)(hidden)


class _NNX(nnx.Module):
  def __init__(self, rngs):
    self.hidden = nnx.Linear(16, 8, rngs=rngs)
    self.head = nnx.Linear(8, toy.NUM_CLASSES, rngs=rngs)

  def __call__(self, image):
    hidden = nnx.relu(self.hidden(image.reshape(image.shape[0], -1)))
    return self.head(hidden)


def _names(sampler):
  return {
    "sampler": sampler,
    "pool": POOL,
    "probe": PROBE,
    "tx": optax.sgd(0.5, momentum=0.9),
    "num_steps": STEPS,
  }


def _fast_but(slow, names):
  """Marks as slow what the other library's loop or hooks_test.py has."""
  mark = pytest.mark.slow
  return [pytest.param(x, marks=mark if x in slow else ()) for x in names]


@pytest.mark.parametrize(
  "name", _fast_but(["influence", "first_order", "remembering"], SAMPLERS)
)
def test_the_loop_with_linen(name):
  block, _ = _blocks("JAX")
  assert _count(block) <= JAX_LINES
  net, names = _Linen(), _names(SAMPLERS[name])
  start = net.init(jax.random.key(1), jnp.zeros((1, 4, 4, 1)))
  names |= {"net": net, "params": start}
  exec(block, names)
  model = models.from_linen(net, (4, 4, 1))
  last = _built_in(model, start["params"], names["tx"], SAMPLERS[name])
  _assert_same(names["params"], last.params)
  _assert_same(names["state"].sampler_state, last.sampler_state)


def test_a_loop_in_jax_is_saved_and_resumed(tmp_path):
  """Its parameters, and all that the draws come from."""
  save, restore = _blocks("Saving and resuming")
  hooks = make_hooks(
    SAMPLERS["remembering"], lambda params, batch: batch.inputs.mean((1, 2, 3))
  )
  tx, params = optax.adam(0.5), {"w": jnp.ones(3)}
  names = {"path": str(tmp_path / "step_1"), "params": params}
  names["state"] = hooks.init(jax.random.key(3), params, POOL)
  step = hooks.begin(names["state"], params, POOL)
  names["state"] = hooks.end(step, params)
  names["opt_state"] = tx.init(params)
  exec(save, names)
  again = names | {"params": {"w": jnp.zeros(3)}}
  again["state"] = hooks.init(jax.random.key(0), params, POOL)
  exec(restore, again)
  for name in ("params", "opt_state", "state"):
    testing.assert_equal(again[name], names[name])


@pytest.mark.parametrize(
  "name", _fast_but(["first_order"], ["influence", "first_order"])
)
def test_the_loop_with_nnx(name):
  _, block = _blocks("JAX")
  assert _count(block) <= JAX_LINES
  names = _names(SAMPLERS[name]) | {"model": _NNX(nnx.Rngs(1))}
  start = nnx.to_pure_dict(nnx.state(names["model"], nnx.Param))
  exec(block, names)
  model = models.from_nnx(lambda rngs: _NNX(rngs))
  last = _built_in(model, start, names["tx"], SAMPLERS[name])
  _assert_same(nnx.state(names["model"], nnx.Param), last.params)
  _assert_same(names["state"].sampler_state, last.sampler_state)


class _Recorder:
  """A batch sampler that keeps what the loop reported, and the indices."""

  def __init__(self, sampler):
    from alcurr.integrations.torch import BatchSampler

    label, difficulty = POOL.label, POOL.scores["difficulty"]
    info = pool_info(sampler, np.asarray(label), np.asarray(difficulty), 5)
    self.stream = IndexStream(sampler, info)
    self.batches = BatchSampler(self.stream)
    self.index, self.reports = [], []

  def __iter__(self):
    return iter(self.batches)

  def update(self, **report):
    index = self.stream._queue.find(None).trained_on
    self.index.append(index)
    self.reports.append({k: x.detach().numpy() for k, x in report.items()})
    self.batches.update(**report)


def _run_torch(heading, sampler):
  """Returns the recorder and the trained model of a block."""
  torch = pytest.importorskip("torch", reason="needs the extra `torch`")
  (block,) = _blocks(heading)
  assert _count(block) <= TORCH_LINES + 4  # imports
  model = torch.nn.Linear(16, toy.NUM_CLASSES)
  torch.nn.init.zeros_(model.weight)
  torch.nn.init.zeros_(model.bias)
  recorder = _Recorder(sampler)
  names = {
    "dataset": torch.utils.data.TensorDataset(*_tensors(POOL)),
    "model": model,
    "optimizer": torch.optim.SGD(model.parameters(), lr=0.5),
    "batches": recorder,
  }
  names["probe_x"], names["probe_y"] = _tensors(PROBE)
  exec(block, names)
  assert recorder.stream.updates == 20
  return recorder, model


def _tensors(pool):
  import torch

  image, label = _arrays(pool)
  return torch.tensor(image), torch.tensor(label).long()


def _arrays(pool):
  image = np.asarray(pool.source.image, np.float32).reshape(-1, 16) / 255
  return image, np.array(pool.label)


def _losses(params, image, label):
  logits = image @ params["weight"] + params["bias"]
  return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def _train(indices, weights=None):
  """Yields JAX's parameters, gradient and new ones on the same batches."""
  image, label = _arrays(POOL)
  params = {"weight": jnp.zeros((16, 4)), "bias": jnp.zeros(4)}
  step = jax.jit(jax.grad(lambda params, x, y: _losses(params, x, y).mean()))
  for index in indices:
    grads = step(params, image[index], label[index])
    new = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    yield params, grads, new
    params = new


def test_influence_in_pytorch_is_that_of_jax():
  """At each of an epoch's steps, for the same model and examples."""
  sampler = _bandit(gains.influence())
  recorder, _ = _run_torch("Influence", sampler)
  (image, label), probe = _arrays(POOL), _arrays(PROBE)
  gain = gains.influence()

  @jax.jit
  def measure(params, index, image, label):
    info = types.SimpleNamespace(
      draw=types.SimpleNamespace(arm=jnp.zeros(32, jnp.int32)),
      prepared=jax.grad(lambda p: _losses(p, *probe).mean())(params),
      loss_jvp=lambda tangent: jax.jvp(
        lambda p: _losses(p, image[index], label[index]), (params,), (tangent,)
      )[1],
    )
    return gain.measure(jax.random.key(0), info, None).gain

  seen = zip(recorder.index, recorder.reports, strict=True)
  for (index, report), step in zip(seen, _train(recorder.index), strict=True):
    expected = measure(step[0], index, image, label)
    np.testing.assert_allclose(report["gains"], expected, rtol=1e-4, atol=1e-6)
  policy = recorder.stream._queue.draw().draw.policy
  assert np.ptp(policy) > 1e-3  # the bandit has learned


def test_the_first_order_gain_in_pytorch_is_that_of_jax():
  recorder, _ = _run_torch(
    "First-order gain", _bandit(gains.first_order_gain())
  )
  steps = _train(recorder.index)
  for report, (old, grads, new) in zip(recorder.reports, steps, strict=True):
    info = types.SimpleNamespace(
      draw=types.SimpleNamespace(arm=jnp.zeros(32, jnp.int32)),
      grads=grads,
      updates=jax.tree.map(jnp.subtract, new, old),
    )
    expected = gains.first_order_gain().measure(None, info, None).gain
    np.testing.assert_allclose(report["gains"], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
  "sampler", [CANDIDATES, SAMPLERS["candidates"]], ids=["each", "some"]
)
def test_online_selection_in_pytorch_is_that_of_a_training_run(sampler):
  recorder, _ = _run_torch("Online selection", sampler)
  model, tx = toy.make_linear(), optax.sgd(0.5)
  steps = make_steps(model, tx, sampler, make_gather())
  state = make_init(model, tx, sampler)(jax.random.key(0), POOL)
  zeros = jax.tree.map(jnp.zeros_like, state.params)
  state, step = state._replace(params=zeros), jax.jit(steps.measured)
  for index in recorder.index:
    state, metrics = step(state, POOL, PROBE, ())
    # Ties and rounding may swap the order of two.
    assert set(metrics.index.tolist()) == set(index.tolist())


def test_remembered_losses_in_pytorch_are_those_before_the_update():
  recorder, _ = _run_torch("Remembered losses", SAMPLERS["remembering"])
  (image, label), remembered = _arrays(POOL), np.zeros(640)
  for index, (params, _, _) in zip(
    recorder.index, _train(recorder.index), strict=True
  ):
    remembered[index] = _losses(params, image[index], label[index])
  recorder.stream._queue.advance()
  state = recorder.stream._queue.state[1]
  np.testing.assert_allclose(state, remembered, rtol=1e-4)


def test_a_loop_in_pytorch_is_saved_and_resumed(tmp_path):
  """In the middle of an epoch; another process would make the same objects."""
  torch = pytest.importorskip("torch", reason="needs the extra `torch`")
  save, restore = _blocks("Resuming")

  def make():
    model = torch.nn.Linear(2, 2)
    return {
      "path": tmp_path / "checkpoint.pt",
      "model": model,
      "optimizer": torch.optim.Adam(model.parameters()),
      "batches": _Recorder(_bandit(gains.random_gain())).batches,
    }

  def draw(names, count):
    for _, index in zip(range(count), names["batches"], strict=False):
      names["batches"].update(gains=torch.ones(32))
      yield index

  first, second = make(), make()
  list(draw(first, 3))
  exec(save, first)
  exec(restore, second)
  assert second["batches"].stream.updates == 3
  assert list(draw(first, 4)) == list(draw(second, 4))
  weights = (names["model"].weight.detach() for names in (first, second))
  np.testing.assert_array_equal(*weights)
