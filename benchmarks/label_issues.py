"""python -m benchmarks.label_issues --data DIR [--cases NAME,...] [--trials N]

Finds wrong labels by `alcurr.find_label_issues`, and by confident learning with
cross-validated probabilities of the same network, if `cleanlab` is installed.
DIR has quickdraw/numpy_bitmap and cifar10n. Cases: bitmaps whose labels were
made wrong at random, and photos with labels that people gave, which are wrong
where they differ from the published ones.

The columns: `auc`, the area under the ROC curve for "the label is wrong";
`rate` and `rate_found`, the true and the estimated share of wrong labels;
`precision` and `recall` of as many suspects as estimated; `suggested`, the
share of wrong labels whose suggestion is right; `trainings`, in networks
trained on all examples.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import alcurr
from alcurr import models
from alcurr.core import specs
from alcurr.types import Model
from benchmarks import arguments, tables

BATCH_SIZE, FOLDS, LEARNING_RATE = 32, 5, 1e-3
METHODS = ("alcurr", "confident_learning")


class Case(NamedTuple):
  """A pool of which it is known which labels are wrong."""

  image: np.ndarray  # [N, H, W] or [N, H, W, C] uint8
  given: np.ndarray  # [N] int
  true: np.ndarray  # [N] int


class Found(NamedTuple):
  """The verdict of a method."""

  suspicion: np.ndarray  # [N], larger is worse
  rate: float  # the estimated share of wrong labels
  suggested: np.ndarray  # [N] int
  trainings: float


def flipped(data: pathlib.Path, size: int, rate: float) -> Case:
  """Returns bitmaps of all classes, a share of them with a random other label.

  Their own mistakes count as right.
  """
  paths = sorted((data / "quickdraw" / "numpy_bitmap").glob("*.npy"))
  count = -(-size // len(paths))
  rows = [np.load(path, mmap_mode="r")[:count] for path in paths]
  image = np.concatenate(rows).reshape(-1, 28, 28)
  true = np.repeat(np.arange(len(paths)), [len(row) for row in rows])
  rng = np.random.default_rng(0)
  wrong = rng.random(len(true)) < rate
  shift = rng.integers(1, len(paths), len(true))
  return Case(image, (true + wrong * shift) % len(paths), true)


def human(data: pathlib.Path, size: int, field: str) -> Case:
  """Returns photos with the labels of people."""
  with np.load(data / "cifar10n" / "train.npz", allow_pickle=False) as file:
    return Case(*(file[name][:size] for name in ("images", field, "labels")))


CASES: dict[str, Callable[[pathlib.Path, int], Case]] = {
  "uniform_0.1": functools.partial(flipped, rate=0.1),
  "uniform_0.3": functools.partial(flipped, rate=0.3),
  "aggre_label": functools.partial(human, field="aggre_label"),
  "worse_label": functools.partial(human, field="worse_label"),
}


def by_alcurr(case: Case, args: argparse.Namespace) -> Found:
  """Judges labels by the predictions of `trials` runs."""
  table = alcurr.find_label_issues(
    case.image,
    case.given,
    model=args.model,
    budget=f"{args.passes} epochs",
    trials=args.trials,
    config={"tracking": "none", "batch_size": BATCH_SIZE},
  )
  suspicion = np.empty(len(table))
  suspicion[table["index"]] = np.arange(len(table))[::-1]
  suggested = np.empty(len(table), int)
  suggested[table["index"]] = table["suggested_label"].astype(int)
  return Found(suspicion, table.attrs["rate"], suggested, args.trials)


def cross_validated(case: Case, args: argparse.Namespace) -> np.ndarray:
  """Returns probabilities [N, V] by networks that did not see the example."""
  image = case.image.reshape(*case.image.shape[:3], -1)
  num_classes = int(case.given.max()) + 1
  make, given = specs.parse(args.model, "model")
  model = getattr(models, make)(
    input_shape=image.shape[1:], num_classes=num_classes, **given
  )
  fold = np.random.default_rng(0).permutation(len(image)) % FOLDS
  prob = np.empty((len(image), num_classes))
  for number in range(FOLDS):
    seen = fold != number
    params = train(model, image[seen], case.given[seen], args.passes)
    prob[~seen] = predict(model, params, image[~seen])
  return prob


def train(model: Model, image: np.ndarray, label: np.ndarray, passes: int):
  """Returns the variables of a network trained on shuffled passes."""
  count = len(label) // BATCH_SIZE
  schedule = optax.cosine_decay_schedule(LEARNING_RATE, passes * count)
  tx = optax.adam(schedule)
  params, state = model.init(jax.random.key(0))
  variables = params, state, tx.init(params)

  def loss_of(params, state, key, image, label):
    x = image.astype(jnp.float32) / 255
    logits, state = model.apply(key, params, state, x, train=True)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return losses.mean(), state

  @jax.jit
  def one_pass(variables, key, image, label):
    order = jax.random.permutation(key, len(label))
    order = order[: count * BATCH_SIZE].reshape(count, BATCH_SIZE)

    def step(variables, index):
      params, state, opt_state = variables
      grads, state = jax.grad(loss_of, has_aux=True)(
        params, state, key, image[index], label[index]
      )
      updates, opt_state = tx.update(grads, opt_state, params)
      return (optax.apply_updates(params, updates), state, opt_state), ()

    return jax.lax.scan(step, variables, order)[0]

  image, label = jnp.asarray(image), jnp.asarray(label)
  for key in jax.random.split(jax.random.key(1), passes):
    variables = one_pass(variables, key, image, label)
  return variables[:2]


def predict(model: Model, variables, image: np.ndarray):
  """Returns the probabilities [n, V] of images."""

  @jax.jit
  def prob(image):
    x = image.astype(jnp.float32) / 255
    logits, _ = model.apply(jax.random.key(0), *variables, x, train=False)
    return jax.nn.softmax(logits)

  size = 250
  parts = [image[i : i + size] for i in range(0, len(image), size)]
  return np.concatenate([np.asarray(prob(part)) for part in parts])


def by_confident_learning(case: Case, args: argparse.Namespace) -> Found:
  """Judges labels by `cleanlab`, with its defaults."""
  from cleanlab.count import num_label_issues
  from cleanlab.rank import get_label_quality_scores

  prob = cross_validated(case, args)
  quality = get_label_quality_scores(case.given, prob)
  found = num_label_issues(case.given, prob) / len(quality)
  others = prob.copy()
  others[np.arange(len(prob)), case.given] = -1
  trainings = FOLDS * (1 - 1 / FOLDS)
  return Found(-quality, found, others.argmax(1), trainings)


def measure(case: Case, found: Found) -> dict[str, float]:
  """Returns how well wrong labels were found."""
  wrong = case.given != case.true
  order = np.argsort(-found.suspicion, kind="stable")
  rank = np.empty(len(order))
  rank[order] = np.arange(len(order))[::-1]
  # The Mann-Whitney statistic; the suspicions of alcurr have no ties.
  num_wrong, num_right = wrong.sum(), (~wrong).sum()
  below = rank[wrong].sum() - num_wrong * (num_wrong - 1) / 2
  chosen = order[: round(found.rate * len(order))]
  return {
    "examples": len(wrong),
    "auc": below / (num_wrong * num_right),
    "rate": wrong.mean(),
    "rate_found": found.rate,
    "precision": wrong[chosen].mean() if len(chosen) else float("nan"),
    "recall": wrong[chosen].sum() / num_wrong,
    "suggested": (found.suggested == case.true)[wrong].mean(),
  }


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog="benchmarks.label_issues")
  parser.add_argument("--data", type=pathlib.Path, required=True)
  parser.add_argument(
    "--cases", type=arguments.names([*CASES]), default=[*CASES]
  )
  parser.add_argument(
    "--methods", type=arguments.names(METHODS), default=METHODS
  )
  parser.add_argument("--examples", type=arguments.number, default=4000)
  parser.add_argument("--trials", type=arguments.number, default=3)
  parser.add_argument("--passes", type=arguments.number, default=10)
  parser.add_argument("--model", default="cnn(width=0.5)")
  arguments.add_out(parser, "label_issues")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  judges = dict(zip(METHODS, (by_alcurr, by_confident_learning), strict=True))
  rows, table = [], None
  for name in args.cases:
    case = CASES[name](args.data, args.examples)
    for method in args.methods:
      try:
        found = judges[method](case, args)
      except ModuleNotFoundError as error:
        print(f"{method}: not measured ({error})", file=sys.stderr)
        continue
      rows.append(
        {
          "case": name,
          "method": method,
          **measure(case, found),
          "passes": args.passes,
          "model": args.model,
          "trainings": found.trainings,
        }
      )
      # Saved each time, so that an interrupted run has its results.
      table = tables.save(rows, args.out)
  if table is not None:
    columns = [*rows[0]]
    tables.show(table, columns, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
