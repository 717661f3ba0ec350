"""python -m benchmarks.evaluation [--model NAME] [--classes 30,340] [...]

Measures what an evaluation costs beyond the forward pass of the model. The
contestants go through a pool, 64 examples at a time by default:

  forward    the model alone, on ready float images
  score      `scoring.make_score`, with loss, rank, and counts for the area
             under the ROC curve
  no curve   the same without those counts

They run in one process, a program each, in turns (see `timing`). The ratio is
to `forward` in the same round.
"""

import argparse
import functools
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from alcurr.data.pool import make_gather
from alcurr.models import MODELS
from alcurr.training.scoring import make_score
from benchmarks import arguments, pools, tables, timing

COLUMNS = (
  *("what", "model", "classes", "batch", "images_per_second"),
  *("us", "us_10%", "us_90%", "ratio", "ratio_10%", "ratio_90%"),
)


def make_contestants(
  args: argparse.Namespace, num_classes: int
) -> dict[str, timing.Contestant]:
  """Returns contestants, whose steps are passes over the pool."""
  size = args.image_size
  model = MODELS[args.model](
    input_shape=(size, size, 1), num_classes=num_classes
  )
  pool = pools.make_pool(pools.noise(args.examples, size), args.examples)
  pool = pool._replace(label=pool.label % num_classes)
  gather = make_gather()
  variables = model.init(jax.random.key(0))
  of_trial = jax.tree.map(lambda x: x[None], variables)
  index = jnp.arange(args.examples, dtype=jnp.int32)
  ready = gather(pool, index).inputs
  ready = ready.reshape(-1, args.batch_size, *ready.shape[1:])

  def forward(variables, batches):
    def one(batch):
      key = jax.random.key(0)
      return model.apply(key, *variables, batch, train=False)[0]

    return jax.lax.map(one, batches)

  programs = {"forward": (jax.jit(forward), (variables, ready))}
  for what, counted in (("score", True), ("no curve", False)):
    score = make_score(model, gather, args.batch_size, "map", counted=counted)
    programs[what] = jax.jit(score), (of_trial, pool)

  def steps(program, inputs, num: int) -> None:
    for _ in range(num):
      jax.block_until_ready(program(*inputs))

  contestants = {}
  for what, (program, inputs) in programs.items():
    run = functools.partial(steps, program, inputs)
    run(1)
    contestants[what] = functools.partial(timing.timed, run)
  return contestants


def measure(args: argparse.Namespace) -> list[dict]:
  """Returns a row for each contestant and number of classes."""
  rows = []
  for num_classes in args.classes:
    print(f"{num_classes} classes", file=sys.stderr)
    contestants = make_contestants(args, num_classes)
    times = timing.interleave(contestants, args.rounds, args.seconds)
    for what, seconds in times.items():
      taken = tables.times(
        seconds / args.examples, times["forward"] / args.examples, "us"
      )
      rows.append(
        {
          "what": what,
          "model": args.model,
          "classes": num_classes,
          "batch": args.batch_size,
          "images_per_second": 1e6 / taken["us"],
        }
        | taken
      )
  return rows


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.evaluation",
    description="An evaluation against the forward pass of the model.",
  )
  add = parser.add_argument
  add("--model", choices=sorted(MODELS), default="cnn")
  add("--classes", type=arguments.numbers, default=[30, 340], metavar="V,...")
  add("--examples", type=arguments.number, default=3200)
  add("--batch_size", type=arguments.number, default=64)
  add("--image_size", type=arguments.number, default=28)
  arguments.add_rounds(parser, rounds=10, seconds=0.5)
  arguments.add_out(parser, "evaluation")
  args = parser.parse_args(argv)
  if args.examples % args.batch_size:
    parser.error("--examples must be a multiple of --batch_size")
  return args


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  table = tables.save(measure(args), args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
