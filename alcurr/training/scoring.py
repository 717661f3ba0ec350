"""Programs that map a model over all examples of a pool: scores, features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from alcurr.training import chunks, evaluation, parallel
from alcurr.training.losses import are_classes, softmax_cross_entropy
from alcurr.types import Array, Gather, Loss, Model, Pool, PyTree

# ((params, model_state) with a leading axis [S], pool) -> Scores [S, N]
Score = Callable[[tuple[PyTree, PyTree], Pool], evaluation.Scores]


def make_score(
  model: Model,
  gather: Gather,
  batch_size: int,
  trials_by: str,
  loss: Loss = softmax_cross_entropy,
  counted: bool = True,
) -> Score:
  """Builds the function that scores every trial's variables on a pool.

  The model is evaluated with train=False, `batch_size` examples at a time.
  The scores have the `loss` of each example, see `losses.metric`, and the
  counts for the area under the ROC curve, if `counted` and of classes.
  """
  gather = parallel.split_gather(gather)

  def score_trial(variables: tuple[PyTree, PyTree], pool: Pool):
    is_class = are_classes(pool.label)

    def predict(index: Array) -> tuple[Array, Array]:
      batch = gather(pool, index)
      # Nothing is random without training, but the key is required.
      logits, _ = model.apply(
        jax.random.key(0), *variables, batch.inputs, train=False
      )
      return logits, batch.label

    def score(
      counts: Array | None, index: Array, mask: Array
    ) -> tuple[Array | None, evaluation.Scores]:
      logits, label = predict(index)
      if counts is not None:
        counts = evaluation.count_by_odds(counts, logits, label, mask)
      rank = evaluation.rank(logits, label) if is_class else None
      return counts, evaluation.Scores(rank, loss(logits, label))

    counts = None
    if is_class and counted:
      logits, _ = jax.eval_shape(predict, jnp.zeros(1, jnp.int32))
      counts = evaluation.start_counts(logits.shape[1])
    counts, scores = _map_batches(
      score, counts, pool.label.shape[0], batch_size
    )
    return scores._replace(counts=counts)

  return chunks.over_trials(score_trial, trials_by)


def make_features(
  model: Model, gather: Gather, batch_size: int, trials_by: str
) -> Callable[[tuple[PyTree, PyTree], Pool], Array]:
  """Builds the function that returns every trial's features: [S, N, F].

  `model.features` must not be None.
  """
  gather = parallel.split_gather(gather)

  def features_of_trial(variables: tuple[PyTree, PyTree], pool: Pool):
    def features(_: None, index: Array, mask: Array) -> tuple[None, Array]:
      del mask
      return None, model.features(*variables, gather(pool, index).inputs)

    return _map_batches(features, None, pool.label.shape[0], batch_size)[1]

  return chunks.over_trials(features_of_trial, trials_by)


def _map_batches(
  function: Callable[[PyTree, Array, Array], tuple[PyTree, PyTree]],
  state: PyTree,
  num_examples: int,
  batch_size: int,
) -> tuple[PyTree, PyTree]:
  """Maps a function of the examples at `index` [b] over all N examples.

  `function(state, index, mask)` returns the next state, and values of each
  example, [b, ...]. `mask` is False [b] for examples that pad the last batch.

  Returns:
    The last state, and the values, [N, ...].
  """
  size = parallel.round_up(min(batch_size, num_examples))
  num_batches = -(-num_examples // size)
  # The last batch is padded with the last example, which is cut off again.
  place = jnp.arange(num_batches * size, dtype=jnp.int32)
  place = place.reshape(num_batches, size)
  index, mask = place.clip(max=num_examples - 1), place < num_examples
  state, values = jax.lax.scan(
    lambda state, batch: function(state, *batch), state, (index, mask)
  )
  values = jax.tree.map(
    lambda x: x.reshape(-1, *x.shape[2:])[:num_examples], values
  )
  return state, values
