"""Every record of the project on one page.

Shape letters: N pool, B batch, M candidates, K arms, S trials, T steps of a
chunk, H W C image, V classes, D devices; of packed strokes, P points.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
PyTree = Any
# (key, image [B, H, W, C] float32) -> image, of the same shape
Augment = Callable[[Array, Array], Array]
# (logits [B, V], label [B]) -> [B] float32, see `alcurr.training.losses`
Loss = Callable[[Array, Array], Array]
# (step) -> value; in a spec string "linear(value=1.0, end=0.1)"
Schedule = Callable[[Any], Any]


class Images(NamedTuple):
  """A pool's images as pixels."""

  image: Array  # [N, H, W, C] uint8, or float32 in [0, 1]


class Rows(NamedTuple):
  """A pool's examples that are no images: rows of a table, tokens of texts."""

  inputs: PyTree  # arrays [N, ...], as the model takes them


class Strokes(NamedTuple):
  """A pool's drawings as packed strokes, rendered on the device.

  Ragged, without padding: drawing n owns the strokes
  `drawing_start[n] : drawing_start[n + 1]`, and stroke m the points
  `stroke_start[m] : stroke_start[m + 1]`. No drawing and no stroke is empty.
  """

  # uint8, [P, 2], (x, y), y downwards; or [P, 3], with the pen's speed
  points: Array
  stroke_start: Array  # [number of strokes + 1] uint32, offsets into points
  drawing_start: Array  # [N + 1] int32, offsets into strokes


class Stored(NamedTuple):
  """A pool's examples in host memory, in a store that `gather` fetches from."""

  row: Array  # [N] int32, rows of the store


class Split(NamedTuple):
  """A pool's examples, split along N over the devices of a trial."""

  # N examples; on a mesh with some more, so that the devices divide them
  examples: Images | Rows


class Fetched(NamedTuple):
  """The examples that the next steps draw, prefetched to the device."""

  index: Array  # [n] int32, into the pool, ascending
  source: Images | Rows | Strokes  # n examples


@jax.tree_util.register_static
class ArmNames(tuple[str, ...]):
  """The names of a partition's arms: no array, but part of its structure."""


class Partition(NamedTuple):
  """K arms of a pool in CSR form: arm k is `order[start[k]:][:size[k]]`.

  Arms and the examples within them stand easiest first, so that `order` read
  from its start is a curriculum.
  """

  arm: Array  # [N] int32, the arm of each example
  order: Array  # [N] int32, sorted by arm and, within it, by difficulty
  start: Array  # [K] int32
  size: Array  # [K] int32
  names: ArmNames = ArmNames()  # [K], or none


class Pool(NamedTuple):
  """The examples to choose from, on the device; always an argument."""

  source: Images | Rows | Strokes | Stored | Split | Fetched
  label: Array  # [N] int32 classes; or float32 targets, [N] or [N, V]
  # By name, [N] float32; in "difficulty", larger is harder.
  scores: dict[str, Array]
  partitions: dict[str, Partition]  # by name; see `SamplerSpec.partitions`


class Batch(NamedTuple):
  """Examples gathered from a pool, as the model takes them."""

  inputs: PyTree  # [B, H, W, C] float32 images, or arrays [B, ...]
  label: Array  # [B] int32, or as the pool's


class Draw(NamedTuple):
  """A sampler's choice: B examples, or M candidates to select B from."""

  index: Array  # [B] int32, into the pool
  prob: Array  # [B] float32, P(this slot draws this example | state)
  weight: Array  # [B] float32, loss weight
  arm: Array | None = None  # [B] int32, in `spec.arm_partition`
  policy: Array | None = None  # [K] float32, the arms' probabilities
  label: Array | None = None  # [B], trained on instead of the pool's


class Selection(NamedTuple):
  """Which of M candidates are trained on."""

  slots: Array  # [B] int32 in [0, M)
  weight: Array  # [B] float32, loss weight


class Candidates(NamedTuple):
  """The examples drawn and scored before a batch was selected from them."""

  draw: Draw  # of M examples
  score: PyTree  # [M] float32, or arrays with a leading M; zeros if not scored
  selection: Selection
  is_scored: Array  # [] bool, see `Sampler.is_scoring`


# (pool, index [b]) -> Batch
Gather = Callable[[Pool, Array], Batch]
# (params, batch) -> [b] float32
LossFn = Callable[[PyTree, Batch], Array]


class StepContext(NamedTuple):
  """The state of a run before an update, for a signal to prepare from."""

  params: PyTree
  probe: Pool  # held-out examples that samplers may learn from
  loss_fn: LossFn
  gather: Gather


class CandidateInfo(NamedTuple):
  """M candidates before an update: everything that a score may look at.

  The forward pass is the scoring network's, in the mode that the spec says.
  XLA prunes what a score does not read.
  """

  draw: Draw  # of the M candidates
  batch: Batch  # of M, not augmented
  logits: Array  # [M, V] float32
  loss: Array  # [M] float32
  pool: Pool
  # The derivative of `loss` along a direction in parameter space.
  loss_jvp: Callable[[PyTree], Array]  # (tangent, as params) -> [M]
  # () -> [M, V] float32, the gradient of each loss in its logits
  logit_grads: Callable[[], Array]
  # () -> [M, F], the inputs of the last layer; ValueError if there are none
  features: Callable[[], Array]
  prepared: PyTree  # what the signal's `prepare` returned last


class StepInfo(NamedTuple):
  """One update: everything that a signal may look at."""

  draw: Draw  # of the B examples trained on
  candidates: Candidates | None  # where the sampler scores some first
  batch: Batch
  logits: Array  # [B, V], before the update
  loss: Array  # [B] float32, before the update
  params: PyTree  # before the update
  new_params: PyTree
  grads: PyTree  # of the weighted mean loss, before the update
  updates: PyTree  # new_params - params
  pool: Pool
  probe: Pool  # held-out examples that samplers may learn from
  loss_fn: LossFn
  gather: Gather
  # The derivative of `loss` along a direction in parameter space.
  loss_jvp: Callable[[PyTree], Array]  # (tangent, as params) -> [B]
  # () -> [B, V] float32, the gradient of each loss in its logits
  logit_grads: Callable[[], Array]
  # () -> [B, F], the inputs of the last layer before the update, in eval mode;
  # ValueError if there are none
  features: Callable[[], Array]
  # The model after the update, in eval mode.
  predict: Callable[[Batch], Array]  # (batch) -> logits [b, V]
  penalty: Callable[[PyTree], Array] | None  # the model's
  prepared: PyTree  # what the signal's `prepare` returned last


class Feedback(NamedTuple):
  """Gains and the arms they are credited to."""

  gain: Array  # [b] float32, raw improvement; b is B or a probe's size
  arm: Array  # [b] int32


class Signal(NamedTuple):
  """A measurement that a sampler learns from, at every `interval`-th step.

  The steps in between cost nothing extra, and `update` gets () for their
  feedback. The result of `prepare` serves `prepare_interval` measurements, so a
  chunk consists of cycles of `prepare_interval * interval` steps.
  """

  measure: Callable[[Array, StepInfo], PyTree]  # (key, info) -> feedback
  interval: int = 1
  # (key, context) -> prepared
  prepare: Callable[[Array, StepContext], PyTree] | None = None
  prepare_interval: int = 1


class LabelJudgement(NamedTuple):
  """An opinion on the labels of a pool."""

  wrong: Array  # [N] float32, P(the label is wrong)
  score: Array  # [N] float32, finite; larger is worse, finer than `wrong`
  suggested: Array  # [N] int32, the likeliest other label; -1: not known yet
  rate: Array  # [] float32, the estimated share of wrong labels
  rate_low: Array  # [] float32, the bounds of its 95 % interval
  rate_high: Array


class SamplerSpec(NamedTuple):
  """The properties of a sampler that the rest of the system must know."""

  partitions: tuple[str, ...] = ()  # of pool.partitions, that it reads
  arm_partition: str | None = None  # the one that `Draw.arm` refers to
  scores: tuple[str, ...] = ()  # of pool.scores, that it reads itself
  per_example_state: bool = False  # its state is O(N), a draw O(B log N)
  num_candidates: int | None = None  # M, drawn and scored before B are chosen
  scoring_mode: str = "eval"  # or "train", of the forward pass that scores
  # The share of steps that score candidates, or the most that may.
  scoring_share: float = 1.0
  reads_penalty: bool = False  # its signal needs a model with a penalty


class Sampler(NamedTuple):
  """Chooses the next batch: pure functions over a state.

  `sample` and `select` read the state; `update` writes it. `init` raises
  ValueError where the pool does not fit the sampler. With
  `spec.num_candidates`, `sample` draws M candidates, which the step scores by a
  forward pass; `update` still gets the draw of M. At a step that does not
  score, the first B are trained on, and the others are not gathered.
  """

  init: Callable[[Array, Pool], PyTree]  # (key, pool) -> state
  sample: Callable[[Array, PyTree, Pool], Draw]  # (key, state, pool) -> draw
  update: Callable[[PyTree, Draw, PyTree], PyTree]  # (state, draw, feedback)
  # None: no draw depends on the model, so examples may be prefetched.
  signal: Signal | None = None
  # (candidates) -> [M], or arrays with a leading M
  score: Callable[[CandidateInfo], PyTree] | None = None
  # (key, state, draw of M, score) -> selection of B
  select: Callable[[Array, PyTree, Draw, PyTree], Selection] | None = None
  # (state) -> [] bool, whether this step scores its candidates; None: each does
  is_scoring: Callable[[PyTree], Array] | None = None
  # (state) -> the share of its draws that is uniform over the arms, in [0, 1]
  uniform_fraction: Callable[[PyTree], Array | float] | None = None
  # (state) -> difficulties that were collected while training, by name:
  # [N] float32, finite, larger is harder
  running_scores: Callable[[PyTree], dict[str, Array]] | None = None
  # (state) -> which labels of the pool are wrong, as far as is known
  judge: Callable[[PyTree], LabelJudgement] | None = None
  spec: SamplerSpec = SamplerSpec()


class Gain(NamedTuple):
  """A progress signal; it credits no more arms than a batch is drawn from."""

  # (key, info, the partition that the arms are of) -> Feedback
  measure: Callable[[Array, StepInfo, Partition], Feedback]
  # (key, context) -> prepared
  prepare: Callable[[Array, StepContext], PyTree] | None = None
  prepare_interval: int = 1  # measurements that one `prepare` serves
  partitions: tuple[str, ...] = ()  # of the probe pool, that it reads
  # (pool) -> None; raises ValueError where the pool does not fit
  check: Callable[[Pool], None] = lambda pool: None
  reads_penalty: bool = False  # whether it reads `StepInfo.penalty`


class Reward(NamedTuple):
  """Turns the gains of the arms paid at a step into rewards in [-1, 1]."""

  # (key, m), for at most m arms paid at a step -> state
  init: Callable[[Array, int], PyTree]
  # (state, gain [m], valid [m] bool) -> (reward [m], state); the reward is 0
  # where a gain is not valid
  apply: Callable[[PyTree, Array, Array], tuple[Array, PyTree]]


class ArmOutcome(NamedTuple):
  """The result of a step for every arm, which a bandit learns from."""

  reward: Array  # [K] float32, the mean of the arm's rewards; 0 if it has none
  count: Array  # [K] float32, gains credited to the arm
  prob: Array  # [K] float32, as the arms were drawn, exploration included


class Bandit(NamedTuple):
  """A policy over K arms that knows nothing of pools."""

  init: Callable[[int], PyTree]  # (num_arms) -> state
  policy: Callable[[Array, PyTree], Array]  # (key, state) -> [K] float32
  update: Callable[[PyTree, ArmOutcome], PyTree]  # (state, outcome) -> state


class Model(NamedTuple):
  """A network as two pure functions."""

  init: Callable[[Array], tuple[PyTree, PyTree]]  # (key) -> params, state
  # (key, params, model_state, inputs [B, ...], *, train)
  #   -> (logits [B, V] float32, model_state)
  apply: Callable[..., tuple[Array, PyTree]]
  # Identifies the weights file that init starts from; "" for random weights.
  fingerprint: str = ""
  # (params, model_state, inputs) -> [B, F] float32, what the last layer gets
  # in eval mode; None where it is not known
  features: Callable[[PyTree, PyTree, Array], Array] | None = None
  # The network that scores candidates, as `apply`; None: the model itself.
  scoring: Callable[..., tuple[Array, PyTree]] | None = None
  # Whether `scoring` has parameters of its own, trained on the same batches.
  trains_scoring: bool = False
  # (params) -> [] float32, in nats for all N examples that are trained on, as
  # the complexity of variational weights; penalty / N is added to the mean loss
  penalty: Callable[[PyTree], Array] | None = None


class StatefulLoss(NamedTuple):
  """A training loss that knows, or remembers, the pool that is trained on.

  Its state is read and written by the training forward pass alone. Signals,
  scores and gains read `measured`, as they see examples of any pool.
  """

  init: Callable[[Pool], PyTree]  # (pool) -> state
  # (state, index [B], logits [B, V], label [B]) -> (loss [B], state)
  apply: Callable[[PyTree, Array, Array, Array], tuple[Array, PyTree]]
  measured: Loss


class StepKeys(NamedTuple):
  """The PRNG keys of one step; each is consumed once."""

  draw: Array
  model: Array
  signal: Array
  prepare: Array
  augment: Array
  select: Array


class TrainState(NamedTuple):
  """The complete state of a run between two steps, which is checkpointed."""

  step: Array  # [] int32
  key: Array  # [] PRNG key
  params: PyTree
  model_state: PyTree
  opt_state: PyTree
  sampler_state: PyTree
  loss_state: PyTree = ()  # of a `StatefulLoss`
