"""Every sampler in a loop outside JAX, which hands over what it asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from sampler_table import SAMPLERS
from streams import train_indices

from alcurr.core.errors import UserError
from alcurr.integrations import IndexStream
from alcurr.training import run_keys, softmax_cross_entropy, step_keys
from alcurr.training.hooks import gather_examples
from alcurr.training.loop_info import (
  Functions,
  HookState,
  OpenStep,
  make_candidate_info,
  make_context,
  make_step_info,
)
from alcurr.types import Draw, Sampler

STEPS, SEED = 12, 5
MODEL = toy.make_linear()
FAST = {"importance_sampling", "label_trust"}


def _make(name) -> Sampler:
  return toy.make_sampler(SAMPLERS[name], "x", batch_size=16, num_steps=STEPS)


SCORES = {score for name in SAMPLERS for score in _make(name).spec.scores}
POOL = toy.make_pool(scores=sorted(SCORES))


def _logits(params, batch):
  return MODEL.apply((), params, {}, batch.inputs, train=False)[0]


def _features(params, batch):
  return MODEL.features(params, {}, batch.inputs)


def _losses(params, batch):
  return softmax_cross_entropy(_logits(params, batch), batch.label)


FUNCTIONS = Functions(
  _losses, gather_examples, _logits, _features, _losses, softmax_cross_entropy
)


@jax.jit
def _tell(params, index, label):
  """Returns what a loop knows of examples."""
  batch = gather_examples(POOL, index)._replace(label=label)
  logits = _logits(params, batch)
  grads = jax.grad(lambda x: softmax_cross_entropy(x, label).sum())(logits)
  return {
    "losses": softmax_cross_entropy(logits, label),
    "logits": logits,
    "logit_grads": grads,
    "features": _features(params, batch),
  }


@jax.jit
def _train(params, index, label, weight):
  batch = gather_examples(POOL, index)._replace(label=label)
  grads = jax.grad(lambda p: (weight * _losses(p, batch)).mean())(params)
  return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), grads


class _Loop:
  """A loop with a model of its own, which knows nothing of the sampler."""

  def __init__(self, sampler: Sampler):
    key_model, _, self.key = run_keys(jax.random.key(SEED))
    self.params, _ = MODEL.init(key_model)
    self.stream, self.sampler = IndexStream(sampler, POOL, SEED), sampler
    self.prepared, self.index = (), []
    self.refusals = set()

  def _prepare(self, number):
    signal = self.sampler.signal
    if signal is None or signal.prepare is None:
      return
    if number % (signal.interval * signal.prepare_interval) == 0:
      context = make_context(FUNCTIONS, self.params, POOL, ())
      key = step_keys(self.key, number).prepare
      self.prepared = signal.prepare(key, context)

  def _select(self, drawn):
    """Returns the slots and weights of the candidates."""
    told = _tell(self.params, drawn.index, drawn.label)
    try:
      return self.stream.select(**told)
    except UserError as error:
      self.refusals.add(error.place)
    draw = _draw(drawn)
    batch = gather_examples(POOL, draw.index)
    info = make_candidate_info(
      FUNCTIONS, self.params, POOL, (), self.prepared, draw, batch
    )
    return self.stream.select(self.sampler.score(info))

  def _update(self, drawn, index, weight, label, new_params, grads):
    told = _tell(self.params, index, label)
    after = _tell(new_params, index, label)["losses"]
    try:
      self.stream.update(**told | {"losses": (told["losses"], after)})
      return
    except UserError as error:
      self.refusals.add(error.place)
    draw = _draw(drawn)._replace(index=index, weight=weight)
    state = HookState(jnp.int32(drawn.number), self.key, (), ())
    batch = gather_examples(POOL, index)._replace(label=label)
    step = OpenStep(
      *(draw, batch, None, self.prepared, state, self.params, POOL, POOL, ())
    )
    info = make_step_info(FUNCTIONS, step, new_params, grads, None)
    key = step_keys(self.key, drawn.number).signal
    self.stream.update(feedback=self.sampler.signal.measure(key, info))

  def step(self):
    index = self.stream.next()
    drawn = self.stream.drawn
    self._prepare(drawn.number)
    weight, label = drawn.weight, drawn.label
    if drawn.scored:
      slots, index, weight = self._select(drawn)
      label = label[slots]
    new_params, grads = _train(self.params, index, label, weight)
    self._update(drawn, index, weight, label, new_params, grads)
    self.params = new_params
    self.index.append(index)


def _draw(drawn) -> Draw:
  return Draw(**{name: getattr(drawn, name) for name in Draw._fields})


EVERY = pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in SAMPLERS
  ],
)


@EVERY
def test_a_stream_has_a_state(name):
  """Also of samplers whose state has an axis of the classes."""
  sampler = _make(name)
  state = IndexStream(sampler, POOL, SEED).state_dict()
  again = IndexStream(sampler, POOL)
  again.load_state_dict(state)
  assert again.state_dict().keys() == state.keys()


@EVERY
def test_a_loop_outside_jax_is_a_training_run(name):
  sampler = _make(name)
  loop = _Loop(sampler)
  for _ in range(STEPS):
    loop.step()
  run = train_indices(sampler, STEPS, SEED, POOL)
  np.testing.assert_array_equal(np.sort(loop.index), np.sort(run))
