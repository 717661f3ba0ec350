"""The simple noise scale: the batch size above which examples are wasted.

McCandlish, Kaplan, Amodei et al., 2018, "An Empirical Model of Large-Batch
Training": B_simple = tr(Σ) / |G|², where G is the gradient and Σ the covariance
of the gradients of single examples. With batches of B a run needs
S (1 + B_simple / B) steps and E (1 + B / B_simple) examples, S and E the fewest
of each. Far below B_simple a larger batch costs no examples; far above it, it
saves no steps.

As in appendix A.1, it is read from squared norms of gradients at two batch
sizes: B, the run's, and M B, the mean of M gradients g_i. With
m = |mean g_i|² and q = mean |g_i|²,

  |G|² = (M m - q) / (M - 1),    tr(Σ) = B (q - m) M / (M - 1)

are unbiased. Each is averaged over the trials before the ratio is taken. There
is no reading where |G|² is negative: the noise is too large for M batches.
Batch norms see batches of B, as in training.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from matplotlib.figure import Figure

from alcurr.experiments.tune import trials
from alcurr.training import chunks, compilation
from alcurr.training.run import RunSpec
from alcurr.types import Array, Pool, PyTree, StatefulLoss, TrainState

BATCHES = 32  # M


def read(norms: np.ndarray, batch_size: int) -> dict[str, float]:
  """Returns `gradient`, |G|²; `noise`, tr(Σ); and `scale`, B_simple; or NaN.

  Norms are m and q of S trials, [S, 2], and those not finite are ignored.
  """
  finite = norms[np.isfinite(norms).all(1)]
  m, q = (x.mean() if len(x) else np.nan for x in finite.T)
  gradient = (BATCHES * m - q) / (BATCHES - 1)
  noise = batch_size * (q - m) * BATCHES / (BATCHES - 1)
  scale = noise / gradient if gradient > 0 else np.nan
  return {"gradient": gradient, "noise": noise, "scale": scale}


def make_norms(run: RunSpec) -> Callable[[TrainState, Pool], Array]:
  """Returns a function (state, pool) -> (m, q) [2] of one trial.

  The gradients are those of the run's loss. The batches are drawn uniformly,
  whatever the sampler, and augmented as in the run.
  """

  def norms(state: TrainState, pool: Pool) -> Array:
    def add(carry, key):
      mean, square = carry
      key_index, key_augment, key_model = jax.random.split(key, 3)
      num_examples = pool.label.shape[0]
      index = jax.random.randint(
        key_index, (run.batch_size,), 0, num_examples, jnp.int32
      )
      batch = run.gather(pool, index)
      if run.augment is not None:
        batch = batch._replace(inputs=run.augment(key_augment, batch.inputs))

      def mean_loss(params: PyTree) -> Array:
        logits, _ = run.model.apply(
          key_model, params, state.model_state, batch.inputs, train=True
        )
        if isinstance(run.loss, StatefulLoss):
          loss, _ = run.loss.apply(state.loss_state, index, logits, batch.label)
        else:
          loss = run.loss(logits, batch.label)
        return loss.mean()

      grads = jax.grad(mean_loss)(state.params)
      mean = jax.tree.map(lambda a, b: a + b / BATCHES, mean, grads)
      square += optax.tree.norm(grads, squared=True) / BATCHES
      return (mean, square), None

    # The keys of a step are split from this key, not folded in.
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), BATCHES)
    zero = jax.tree.map(jnp.zeros_like, state.params)
    keys = jax.random.split(key, BATCHES)
    (mean, square), _ = jax.lax.scan(add, (zero, jnp.float32(0)), keys)
    return jnp.stack([optax.tree.norm(mean, squared=True), square])

  return norms


def measure(
  run: RunSpec, pool: Pool, chunk: trials.TrainedChunk
) -> list[tuple[int, np.ndarray]]:
  """Measures the norms after a chunk that reaches another fifth of a run.

  Returns the steps so far, and m and q of each trial [S, 2], or NaN for one
  that diverged. Returns nothing after other chunks.
  """
  start = chunk.done - chunk.metrics.loss.shape[1]
  if start * 5 // run.num_steps == chunk.done * 5 // run.num_steps:
    return []
  program = compilation.compile_once(
    chunks.over_trials(make_norms(run), run.trials_by), chunk.state, pool
  )
  norms = np.asarray(program(chunk.state, pool), np.float64)
  norms[chunk.exposure.diverged_step > 0] = np.nan
  return [(chunk.done, norms)]


def plot(table: pd.DataFrame, fields: Sequence[str]) -> Figure:
  """Draws the noise scales over the runs, and the batch sizes."""
  figure = Figure(figsize=(8, 5), layout="constrained")
  axis = figure.subplots()
  for part, look in trials.lines(table, fields):
    axis.plot(part["examples"], part["scale"], **look)
  for size in sorted(table["batch_size"].unique()):
    axis.axhline(size, color="0.6", lw=0.8, ls=":")
    axis.annotate(
      f"batch {size}", (0, size), xycoords=("axes fraction", "data"), fontsize=7
    )
  axis.set(
    xlabel="examples seen", ylabel="simple noise scale, examples", yscale="log"
  )
  axis.grid(alpha=0.3)
  axis.legend(fontsize="small")
  return figure


def render(table: pd.DataFrame) -> str:
  """Returns the last noise scale of each batch size as text."""
  last = table.groupby("batch_size", sort=False).tail(1)
  scales = last["scale"].map("{:.3g}".format, na_action="ignore")
  scales = scales.fillna("too noisy to measure")
  pairs = zip(last["batch_size"], scales, strict=True)
  text = "; ".join(f"{size}: {scale}" for size, scale in pairs)
  return (
    f"Simple noise scale at the end, by batch size: {text}. "
    "Far smaller batches waste no examples; far larger ones save no steps."
  )
