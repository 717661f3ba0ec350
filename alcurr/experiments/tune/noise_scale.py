"""The simple noise scale: the batch size beyond which examples are wasted.

McCandlish, Kaplan, Amodei et al., 2018, "An Empirical Model of Large-Batch
Training": B_simple = tr(Σ) / |G|², where G is the gradient and Σ the covariance
of an example's. With batches of B a run needs S (1 + B_simple / B) steps and
E (1 + B / B_simple) examples, S and E the fewest of each: far below B_simple a
larger batch costs no examples, far above it no steps are saved.

It is read as their appendix A.1 does, from squared norms of gradients at two
batch sizes, here B, the run's own, and M B: the mean of M gradients g_i. With
m = |mean g_i|² and q = mean |g_i|²,

  |G|² = (M m - q) / (M - 1),    tr(Σ) = B (q - m) M / (M - 1),

of which neither is biased. Each is averaged over the trials before the ratio
is taken. Where |G|² comes out below zero, the noise is more than M batches
show, and there is no reading. Batch norms see batches of B, as in training.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from matplotlib.figure import Figure

from alcurr.experiments.tune.trials import Stretch
from alcurr.report.style import plain, styles
from alcurr.training import chunks, compilation
from alcurr.training.run import RunSpec
from alcurr.types import Array, Pool, TrainState

BATCHES = 32  # M
_MOMENTS = 5  # of a run, at the ends of its fifths


class Norms(NamedTuple):
  """Of the gradients of S trials at a moment."""

  step: int
  of_mean: np.ndarray  # [S] float, m
  mean: np.ndarray  # [S] float, q


class Reading(NamedTuple):
  gradient: float  # |G|²
  noise: float  # tr(Σ)
  scale: float  # B_simple; NaN where there is none


def read(norms: Norms, batch_size: int) -> Reading:
  """What the norms say; trials that are NaN are left out."""
  going = np.isfinite(norms.of_mean) & np.isfinite(norms.mean)
  if not going.any():
    return Reading(np.nan, np.nan, np.nan)
  m, q = norms.of_mean[going].mean(), norms.mean[going].mean()
  gradient = (BATCHES * m - q) / (BATCHES - 1)
  noise = batch_size * (q - m) * BATCHES / (BATCHES - 1)
  scale = noise / gradient if gradient > 0 else np.nan
  return Reading(float(gradient), float(noise), float(scale))


def make_norms(run: RunSpec) -> Callable[[TrainState, Pool], Array]:
  """A function (state, pool) -> (m, q) [2] of one trial.

  The batches are drawn uniformly, whatever the run's sampler, and augmented as
  it augments. They are others than those of its steps.
  """

  def gradient(state: TrainState, pool: Pool, key: Array):
    key_index, key_augment, key_model = jax.random.split(key, 3)
    count = pool.label.shape[0]
    index = jax.random.randint(key_index, (run.batch_size,), 0, count)
    batch = run.gather(pool, index)
    if run.augment is not None:
      batch = batch._replace(image=run.augment(key_augment, batch.image))

    def loss(params):
      logits, _ = run.model.apply(
        key_model, params, state.model_state, batch.image, train=True
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(
        logits, batch.label
      )
      return losses.mean()

    return jax.grad(loss)(state.params)

  def norms(state: TrainState, pool: Pool) -> Array:
    # Apart from the keys of the step, which are split from this one.
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), BATCHES)

    def add(carry, key):
      mean, square = carry
      one = gradient(state, pool, key)
      mean = jax.tree.map(lambda a, b: a + b / BATCHES, mean, one)
      return (mean, square + _squared(one) / BATCHES), None

    zero = jax.tree.map(jnp.zeros_like, state.params)
    keys = jax.random.split(key, BATCHES)
    (mean, square), _ = jax.lax.scan(add, (zero, jnp.float32(0)), keys)
    return jnp.stack([_squared(mean), square])

  return norms


def _squared(tree: Any) -> Array:
  return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))


def make_gauge(
  run: RunSpec, pool: Pool, found: list[Norms]
) -> Callable[[Stretch], None]:
  """A function that adds to `found` what it measures of a run on its way.

  Args:
    run: of S trials.
    pool: that it trains on.
    found: grows by the norms at each fifth of the run.
  """
  every = chunks.over_trials(make_norms(run), run.trials_by)
  # Lengths of chunks differ: at the first end at or after each fifth.
  due = [-(-run.num_steps * i // _MOMENTS) for i in range(1, _MOMENTS + 1)]

  def look(stretch: Stretch) -> None:
    if not due or stretch.done < due[0]:
      return
    while due and due[0] <= stretch.done:
      due.pop(0)
    program = compilation.compile_once(every, stretch.state, pool)
    of_mean, mean = np.asarray(program(stretch.state, pool), np.float64).T
    wrong = stretch.exposure.diverged_step > 0
    found.append(
      Norms(
        stretch.done,
        np.where(wrong, np.nan, of_mean),
        np.where(wrong, np.nan, mean),
      )
    )

  return look


def rows(
  values: dict[str, Any], batch_size: int, found: Iterable[Norms]
) -> list[dict[str, Any]]:
  """A row for each moment of a run.

  Args:
    values: of the fields that the run differs in.
    batch_size: its own.
    found: its norms.
  """
  return [
    values
    | {"step": norms.step, "examples": norms.step * batch_size}
    | read(norms, batch_size)._asdict()
    for norms in found
  ]


def plot(table: pd.DataFrame, fields: Sequence[str]) -> Figure:
  """The noise scale against examples seen, beside the batch sizes tried."""
  figure = Figure(figsize=(8, 5), layout="constrained")
  axis = figure.subplots()
  lines = {
    ", ".join(f"{f}={v}" for f, v in zip(fields, values, strict=True)): part
    for values, part in table.groupby(list(fields), sort=False)
  }
  for (name, part), look in zip(
    lines.items(), styles(lines).values(), strict=True
  ):
    axis.plot(
      part["examples"],
      part["scale"],
      color=look.color,
      linestyle=look.line,
      marker=".",
      label=plain(name),
    )
  for size in sorted(table["batch_size"].unique()):
    axis.axhline(size, color="0.6", lw=0.8, ls=":")
    axis.annotate(
      f"batch {size}", (0, size), xycoords=("axes fraction", "data"), fontsize=7
    )
  axis.set(
    xlabel="examples seen",
    ylabel="simple noise scale, examples",
    yscale="log",
  )
  axis.grid(alpha=0.3)
  axis.legend(fontsize="small")
  return figure


def render(table: pd.DataFrame) -> str:
  """What it says of the batch sizes, as text for a terminal."""
  last = table.groupby("batch_size", sort=False).tail(1)
  words = [
    f"{row.batch_size}: {row.scale:.3g}"
    if np.isfinite(row.scale)
    else f"{row.batch_size}: more than {BATCHES} batches show"
    for row in last.itertuples()
  ]
  return (
    "Simple noise scale at the end, by batch size: "
    f"{'; '.join(words)}. Batches far below it waste no examples, batches far "
    "above it save no steps."
  )
