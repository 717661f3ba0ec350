"""Every record of the project on one page.

Shape letters: N pool, B batch, K arms, S trials, T steps of a chunk,
H W C image, V classes, P points, M strokes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
PyTree = Any
# (key, image [B, H, W, C] float32) -> image, of the same shape
Augment = Callable[[Array, Array], Array]
# (logits [B, V], label [B]) -> [B] float32, see `alcurr.losses`
Loss = Callable[[Array, Array], Array]


class Images(NamedTuple):
  """A pool's pictures, as they are."""

  image: Array  # [N, H, W, C] uint8, or float32 in [0, 1]


class Strokes(NamedTuple):
  """A pool's drawings as packed strokes, rendered on the device.

  Ragged, without padding: drawing n owns the strokes
  `drawing_start[n] : drawing_start[n + 1]`, and stroke m the points
  `stroke_start[m] : stroke_start[m + 1]`. No drawing and no stroke is empty.
  """

  # [P, 2] uint8, (x, y), y downwards; or [P, 3], with the pen's speed, see
  # `alcurr.data.raw.simplify`.
  points: Array
  stroke_start: Array  # [M + 1] uint32, offsets into points
  drawing_start: Array  # [N + 1] int32, offsets into strokes


class Stored(NamedTuple):
  """A pool's examples on the host, in a store that `gather` fetches from."""

  row: Array  # [N] int32, places in the store


class Fetched(NamedTuple):
  """Those of a pool's examples that the next steps draw, on the device."""

  index: Array  # [M] int32, into the pool, ascending
  source: Images | Strokes  # M examples


class Arms(NamedTuple):
  """K groups of a pool in CSR form: arm k is `order[start[k]:][:size[k]]`.

  Easiest first, so that `order` read from its start is a curriculum.
  """

  arm: Array  # [N] int32, the arm of each example
  order: Array  # [N] int32, sorted by arm and, within it, by difficulty
  start: Array  # [K] int32
  size: Array  # [K] int32


class Pool(NamedTuple):
  """The examples to choose from, on the device; always an argument."""

  source: Images | Strokes | Stored | Fetched
  label: Array  # [N] int32, classes; or float32 to be predicted, [N] or [N, V]
  difficulty: Array  # [N] float32, larger is harder
  arms: dict[str, Arms]  # by name; a sampler names those it draws from


class Batch(NamedTuple):
  image: Array  # [B, H, W, C] float32
  label: Array  # [B] int32, or as the pool's


class Draw(NamedTuple):
  """What a sampler returns."""

  index: Array  # [B] int32, into the pool
  arm: Array  # [B] int32
  prob: Array  # [B] float32, P(this slot draws this example | state)
  weight: Array  # [B] float32, loss weight
  policy: Array  # [K] float32, what the arms' probabilities were


class Situation(NamedTuple):
  """Where a run stands before an update: what a signal may prepare from."""

  params: PyTree
  probe: Pool  # held-out examples that samplers may learn from
  loss_fn: Callable[[PyTree, Batch], Array]  # (params, batch) -> [b] float32
  gather: Callable[[Pool, Array], Batch]  # (pool, index [b]) -> Batch


class Transition(NamedTuple):
  """One update, with all that a progress signal may look at."""

  situation: Situation  # before the update
  draw: Draw
  batch: Batch
  loss: Array  # [B] float32, before the update
  new_params: PyTree
  grads: PyTree  # of the weighted mean loss, before the update
  updates: PyTree  # new_params - params
  pool: Pool
  # The derivative of `loss` along a direction in parameter space.
  loss_along: Callable[[PyTree], Array]  # (tangent, as params) -> [B]
  # The model after the update, in eval mode.
  predict: Callable[[Batch], Array]  # (batch) -> logits [b, V]
  prepared: PyTree  # what the sampler's `prepare` returned last


def learn_nothing(key: Array, transition: Transition) -> PyTree:
  """The signal of a sampler whose draws depend on no model.

  They are known before the steps that train on them, so that what they draw
  from a pool on the host is fetched ahead.
  """
  return ()


def prepare_nothing(key: Array, situation: Situation) -> PyTree:
  return ()


def no_floor(state: PyTree) -> Array | float:
  return 0.0


class Sampler(NamedTuple):
  """Chooses the next batch: pure functions over a state.

  `sample` reads the state and `update` writes it. `init` raises ValueError
  where the pool's numbers do not fit the sampler's.

  The signal is taken at every `every`-th step, beginning with the first, and
  costs nothing at the others, where `update` gets () for feedback. What
  `prepare` returns serves `refresh` signals. So the steps of a run are cycles
  of `refresh * every`, of which one is begun wherever a chunk begins.
  """

  init: Callable[[Array, Pool], PyTree]  # (key, pool) -> state
  sample: Callable[[Array, PyTree, Pool], Draw]  # (key, state, pool) -> draw
  signal: Callable[[Array, Transition], PyTree]  # what it learns from, or ()
  update: Callable[[PyTree, Draw, PyTree], PyTree]  # (state, draw, feedback)
  needs: tuple[str, ...]  # names of pool.arms that it reads
  every: int = 1
  prepare: Callable[[Array, Situation], PyTree] = prepare_nothing
  refresh: int = 1
  # (state) -> the share of its draws that is uniform over the arms, in [0, 1]
  floor: Callable[[PyTree], Array | float] = no_floor


class Feedback(NamedTuple):
  """Gains and the arms they are credited to."""

  gain: Array  # [b] float32, raw improvement; b is B or a probe's size
  arm: Array  # [b] int32


class Gain(NamedTuple):
  """A progress signal, for a sampler that draws from arms.

  It credits no more arms than a batch is drawn from.
  """

  measure: Callable[[Array, Transition, Arms], Feedback]
  prepare: Callable[[Array, Situation], PyTree] = prepare_nothing
  refresh: int = 1  # measurements that one `prepare` serves


class Rescale(NamedTuple):
  """Turns the gains of the arms paid at a step into rewards in [-1, 1]."""

  init: Callable[[int], PyTree]  # (m, most arms paid at a step) -> state
  # (state, gain [m], here [m] bool) -> (reward [m], state); 0 for those that
  # are not here
  apply: Callable[[PyTree, Array, Array], tuple[Array, PyTree]]


class Bandit(NamedTuple):
  """A policy over K arms that knows nothing of pools."""

  init: Callable[[int], PyTree]  # (num_arms) -> state
  policy: Callable[[Array, PyTree], Array]  # (key, state) -> [K] float32
  # (state, reward [K], paid [K] bool) -> state
  update: Callable[[PyTree, Array, Array], PyTree]


class Model(NamedTuple):
  """A network as two pure functions."""

  init: Callable[[Array], tuple[PyTree, PyTree]]  # (key) -> params, state
  # (key, params, model_state, image [B, H, W, C], *, train)
  #   -> (logits [B, V] float32, model_state)
  apply: Callable[..., tuple[Array, PyTree]]
  # Of the weights file that init starts from; "" where it starts at random.
  fingerprint: str = ""


class TrainState(NamedTuple):
  """All that a run is, between two steps; the checkpoint."""

  step: Array  # [] int32
  key: Array  # [] PRNG key
  params: PyTree
  model_state: PyTree
  opt_state: PyTree
  sampler_state: PyTree
