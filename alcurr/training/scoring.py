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
    def score(index: Array, mask: Array) -> tuple[evaluation.Scores, PyTree]:
      batch = gather(pool, index)
      # Nothing is random without training, but the key is required.
      logits, _ = model.apply(
        jax.random.key(0), *variables, batch.inputs, train=False
      )
      is_class = are_classes(batch.label)
      rank = evaluation.rank(logits, batch.label) if is_class else None
      counts = None
      if is_class and counted:
        counts = evaluation.count_by_odds(logits, batch.label, mask)
      return evaluation.Scores(rank, loss(logits, batch.label)), counts

    num_examples = pool.label.shape[0]
    scores, counts = _map_batches(score, num_examples, batch_size)
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
    def features(index: Array, mask: Array) -> tuple[Array, None]:
      del mask
      return model.features(*variables, gather(pool, index).inputs), None

    return _map_batches(features, pool.label.shape[0], batch_size)[0]

  return chunks.over_trials(features_of_trial, trials_by)


def _map_batches(
  function: Callable[[Array, Array], tuple[PyTree, PyTree]],
  num_examples: int,
  batch_size: int,
) -> tuple[PyTree, PyTree]:
  """Maps a function of the examples at `index` [b] over all N examples.

  Its second argument is False [b] for examples that pad the last batch. It
  returns values of each example, [b, ...], and a tree of sums over them.

  Returns:
    The values, [N, ...], and the sums over all batches.
  """
  size = parallel.round_up(min(batch_size, num_examples))
  num_batches = -(-num_examples // size)
  # The last batch is padded with the last example, which is cut off again.
  place = jnp.arange(num_batches * size, dtype=jnp.int32)
  place = place.reshape(num_batches, size)
  index, mask = place.clip(max=num_examples - 1), place < num_examples
  _, sums = jax.eval_shape(function, index[0], mask[0])
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)

  def add(sums: PyTree, batch: tuple[Array, Array]) -> tuple[PyTree, PyTree]:
    values, more = function(*batch)
    return jax.tree.map(jnp.add, sums, more), values

  sums, values = jax.lax.scan(add, zeros, (index, mask))
  values = jax.tree.map(
    lambda x: x.reshape(-1, *x.shape[2:])[:num_examples], values
  )
  return values, sums
