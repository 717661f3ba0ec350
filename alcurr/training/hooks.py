"""Any sampler in a training loop of your own: two calls around your update.

    hooks = make_hooks(sampler, losses)
    state = hooks.init(key, params, pool, probe)

    step = hooks.begin(state, params, pool, probe)     in your jitted step
    ... your update, on step.batch with the loss weights step.draw.weight ...
    state = hooks.end(step, new_params, grads)

`begin` draws a batch, from candidates that it scores if the sampler asks for
them. `end` measures the sampler's signal, whatever it looks at. XLA prunes the
rest, and merges what your own forward pass computes too, so call both within
one `jax.jit`. With the same key, model and loss the draws are those of
`alcurr.training.make_steps`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core import specs
from alcurr.core.arguments import check_record
from alcurr.data.given_pools import check_pool
from alcurr.data.pool import make_gather
from alcurr.training import loop_info
from alcurr.training.batches import draw_and_select
from alcurr.training.keys import run_keys, step_keys
from alcurr.training.loop_info import HookState, OpenStep
from alcurr.training.losses import softmax_cross_entropy
from alcurr.types import (
  Array,
  Batch,
  Fetched,
  Gather,
  Images,
  Loss,
  Pool,
  PyTree,
  Sampler,
  Signal,
  Stored,
  Strokes,
)


class Hooks(NamedTuple):
  """A sampler in a loop of your own, as pure functions.

  `extra` is anything else that the loss needs at this step, such as batch
  statistics or a key for dropout.
  """

  # (key, params, pool, probe=None, *extra) -> HookState
  init: Callable[..., HookState]
  # (state, params, pool, probe=None, *extra) -> OpenStep
  begin: Callable[..., OpenStep]
  # (step, new_params, grads=None, updates=None) -> HookState
  end: Callable[..., HookState]


def gather_examples(pool: Pool, index: Array) -> Batch:
  """Gathers from a pool whose source is any PyTree of arrays [N, ...].

  Images of uint8 become float32 in [0, 1].
  """
  if isinstance(pool.source, Images | Strokes | Stored | Fetched):
    return make_gather()(pool, index)
  examples = jax.tree.map(lambda leaf: leaf[index], pool.source)
  return Batch(examples, pool.label[index])


def make_hooks(
  sampler: Sampler,
  losses: Callable[..., Array],
  *,
  gather: Gather = gather_examples,
  logits: Callable[..., Array] | None = None,
  features: Callable[..., Array] | None = None,
  scoring_losses: Callable[..., Array] | None = None,
  logit_loss: Loss = softmax_cross_entropy,
  penalty: Callable[[PyTree], Array] | None = None,
) -> Hooks:
  """Builds the functions that put a sampler into a loop of your own.

  All functions of the model have the arguments (params, batch, *extra).

  Args:
    sampler: any. Its signal is measured at each `interval`-th step.
    losses: returns the loss of each example, [b], as it is trained on.
    gather: (pool, index [b]) -> Batch, whose inputs may be any PyTree.
    logits: returns [b, V], in evaluation mode; for samplers that look at them.
    features: returns [b, F], the inputs of the last layer; likewise.
    scoring_losses: returns the losses of candidates, if not `losses`: in
      evaluation mode, or of a smaller network.
    logit_loss: (logits, label) -> [b], for samplers that look at the gradients
      of the losses in the logits.
    penalty: (params) -> [], see `Model.penalty`; for samplers that look at it.

  Raises:
    ValueError: by the functions, if the sampler reads something that is not
      given, or a pool does not fit it.
  """
  with specs.errors_in("make_hooks"):
    check_record(Sampler, sampler=sampler)
  signal = sampler.signal or Signal(lambda key, info: ())
  functions = loop_info.Functions(
    losses,
    gather,
    logits,
    features,
    scoring_losses or losses,
    logit_loss,
    penalty,
  )
  cycle = signal.interval * signal.prepare_interval

  def prepare(
    state: HookState,
    params: PyTree,
    probe: Pool | None,
    extra: tuple[PyTree, ...],
  ) -> PyTree:
    context = loop_info.make_context(functions, params, probe, extra)
    return signal.prepare(step_keys(state.key, state.step).prepare, context)

  def init(
    key: Array,
    params: PyTree,
    pool: Pool,
    probe: Pool | None = None,
    *extra: PyTree,
  ) -> HookState:
    has_rows = gather is gather_examples
    check_pool(pool, "pool", has_rows)
    if probe is not None:
      check_pool(probe, "probe", has_rows)
    _, key_sampler, key_run = run_keys(key)
    sampler_state, prepared = sampler.init(key_sampler, pool), ()
    state = HookState(jnp.int32(0), key_run, sampler_state, prepared)
    if signal.prepare is not None and cycle > 1:
      shapes = jax.eval_shape(prepare, state, params, probe, extra)
      prepared = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return state._replace(prepared=prepared)

  def begin(
    state: HookState,
    params: PyTree,
    pool: Pool,
    probe: Pool | None = None,
    *extra: PyTree,
  ) -> OpenStep:
    # New trees of the same arrays: NNX updates its variables in place.
    params, extra = jax.tree.map(lambda leaf: leaf, (params, extra))
    prepared = ()
    if signal.prepare is not None:
      prepared = _every(
        state.step,
        cycle,
        lambda: prepare(state, params, probe, extra),
        lambda: state.prepared,
      )
    draw, batch, candidates = draw_and_select(
      sampler,
      step_keys(state.key, state.step),
      state.sampler_state,
      pool,
      gather,
      functools.partial(
        loop_info.make_candidate_info, functions, params, pool, extra, prepared
      ),
    )
    return OpenStep(
      draw, batch, candidates, prepared, state, params, pool, probe, extra
    )

  def end(
    step: OpenStep,
    new_params: PyTree,
    grads: PyTree | None = None,
    updates: PyTree | None = None,
  ) -> HookState:
    state = step.state
    draw = step.draw if step.candidates is None else step.candidates.draw
    info = loop_info.make_step_info(functions, step, new_params, grads, updates)
    key = step_keys(state.key, state.step).signal
    sampler_state = _every(
      state.step,
      signal.interval,
      lambda: sampler.update(
        state.sampler_state, draw, signal.measure(key, info)
      ),
      lambda: sampler.update(state.sampler_state, draw, ()),
    )
    prepared = step.prepared if cycle > 1 else ()
    return HookState(state.step + 1, state.key, sampler_state, prepared)

  return Hooks(init, begin, end)


def _every(
  step: Array, interval: int, yes: Callable[[], Any], no: Callable[[], Any]
) -> Any:
  """Calls one function at every `interval`-th step, another at the others."""
  if interval == 1:
    return yes()
  return jax.lax.cond(step % jnp.int32(interval) == 0, yes, no)
