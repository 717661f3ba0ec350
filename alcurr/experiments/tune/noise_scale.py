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

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.experiments.tune import results
from alcurr.experiments.tune.trials import TrainedChunk
from alcurr.training import chunks, compilation
from alcurr.training.run import RunSpec
from alcurr.types import Array, Pool, PyTree, TrainState

BATCHES = 32  # M
_MEASUREMENTS = 5  # of a run, at the ends of its fifths


class Norms(NamedTuple):
  """Squared norms of gradients of S trials, after a number of steps."""

  step: int
  of_mean: np.ndarray  # [S] float, m
  mean: np.ndarray  # [S] float, q


class Reading(NamedTuple):
  """The noise scale and its two parts."""

  gradient: float  # |G|²
  noise: float  # tr(Σ)
  scale: float  # B_simple, or NaN


def read(norms: Norms, batch_size: int) -> Reading:
  """Reads the noise scale, of the trials that are not NaN."""
  finite = np.isfinite(norms.of_mean) & np.isfinite(norms.mean)
  if not finite.any():
    return Reading(np.nan, np.nan, np.nan)
  m, q = norms.of_mean[finite].mean(), norms.mean[finite].mean()
  gradient = (BATCHES * m - q) / (BATCHES - 1)
  noise = batch_size * (q - m) * BATCHES / (BATCHES - 1)
  scale = noise / gradient if gradient > 0 else np.nan
  return Reading(float(gradient), float(noise), float(scale))


def make_norms(run: RunSpec) -> Callable[[TrainState, Pool], Array]:
  """Returns a function (state, pool) -> (m, q) [2] of one trial.

  The gradients are those of the run's loss. The batches are drawn uniformly,
  whatever the sampler, and augmented as in the run.
  """

  def gradient(state: TrainState, pool: Pool, key: Array) -> PyTree:
    key_index, key_augment, key_model = jax.random.split(key, 3)
    num_examples = pool.label.shape[0]
    index = jax.random.randint(
      key_index, (run.batch_size,), 0, num_examples, jnp.int32
    )
    batch = run.gather(pool, index)
    if run.augment is not None:
      batch = batch._replace(image=run.augment(key_augment, batch.image))

    def mean_loss(params: PyTree) -> Array:
      logits, _ = run.model.apply(
        key_model, params, state.model_state, batch.image, train=True
      )
      return run.loss(logits, batch.label).mean()

    return jax.grad(mean_loss)(state.params)

  def norms(state: TrainState, pool: Pool) -> Array:
    # The keys of a step are split from this key, not folded in.
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), BATCHES)

    def add(carry, key):
      mean, square = carry
      grads = gradient(state, pool, key)
      mean = jax.tree.map(lambda a, b: a + b / BATCHES, mean, grads)
      return (mean, square + _squared_norm(grads) / BATCHES), None

    zero = jax.tree.map(jnp.zeros_like, state.params)
    keys = jax.random.split(key, BATCHES)
    (mean, square), _ = jax.lax.scan(add, (zero, jnp.float32(0)), keys)
    return jnp.stack([_squared_norm(mean), square])

  return norms


def _squared_norm(tree: PyTree) -> Array:
  return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))


def make_gauge(
  run: RunSpec, pool: Pool, measured: list[Norms]
) -> Callable[[TrainedChunk], None]:
  """Returns a function to call after each chunk of a run.

  `measured` receives the norms after each fifth of the run.
  """
  norms = chunks.over_trials(make_norms(run), run.trials_by)
  # At the end of the first chunk that reaches each fifth.
  due = [
    -(-run.num_steps * i // _MEASUREMENTS) for i in range(1, _MEASUREMENTS + 1)
  ]

  def gauge(chunk: TrainedChunk) -> None:
    reached = [step for step in due if step <= chunk.done]
    if not reached:
      return
    del due[: len(reached)]
    program = compilation.compile_once(norms, chunk.state, pool)
    values = np.asarray(program(chunk.state, pool), np.float64)  # [S, 2]
    values[chunk.exposure.diverged_step > 0] = np.nan
    measured.append(Norms(chunk.done, values[:, 0], values[:, 1]))

  return gauge


def rows(
  values: dict[str, Any], batch_size: int, measured: Iterable[Norms]
) -> list[dict[str, Any]]:
  """Returns a row for each measurement of a run, with its fields' values."""
  return [
    values
    | {"step": norms.step, "examples": norms.step * batch_size}
    | read(norms, batch_size)._asdict()
    for norms in measured
  ]


def plot(table: pd.DataFrame, fields: Sequence[str]) -> Figure:
  """Draws the noise scales over the runs, and the batch sizes."""
  figure = Figure(figsize=(8, 5), layout="constrained")
  axis = figure.subplots()
  for part, look in results.lines(table, fields):
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
  scales = [
    f"{row.batch_size}: {row.scale:.3g}"
    if np.isfinite(row.scale)
    else f"{row.batch_size}: too noisy to measure"
    for row in last.itertuples()
  ]
  return (
    f"Simple noise scale at the end, by batch size: {'; '.join(scales)}. "
    "Far smaller batches waste no examples; far larger ones save no steps."
  )
