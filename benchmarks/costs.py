"""python -m benchmarks.costs [--samplers NAME,...] [--networks cnn,...]

Counts the FLOPs of a step of every sampler, with its defaults, and of the
active bandit with every gain, over those of `uniform`. The counts are of the
compiled programs, so no time is measured. Rows that the file has already are
not counted again, unless `--again` is given.

`docs/samplers.md` shows the table: `python docs/make_samplers.py`.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax
import pandas as pd

from alcurr import models
from alcurr.bandits import GAINS
from alcurr.core import specs
from alcurr.data import partitions
from alcurr.data.pool import make_gather
from alcurr.samplers import SAMPLERS
from alcurr.training import compilation, step
from alcurr.types import Images, Partition, Pool, Sampler
from benchmarks import arguments, tables

NUM_STEPS, NUM_EXAMPLES, NUM_CLASSES, NUM_ARMS = 1000, 9000, 30, 10
BATCH_SIZES = (32, 512)
NETWORKS = {"cnn": (models.cnn, 28), "mobilenet": (models.mobilenet, 64)}
# Arguments that a factory requires; all others have their defaults.
REQUIRED: dict[str, dict[str, Any]] = {"fixed_policy": {"policy": "uniform"}}
BANDIT = "active_bandit"


def make_pool(size: int, sampler: Sampler) -> Pool:
  """Returns a pool of blank images with all that the sampler reads."""
  rng = np.random.default_rng(0)
  label = rng.integers(0, NUM_CLASSES, NUM_EXAMPLES).astype(np.int32)
  score = rng.normal(size=NUM_EXAMPLES).astype(np.float32)

  def partition(name: str) -> Partition:
    make = partitions.PARTITIONS.get(name)
    if make is None:  # of the user's own
      return partitions.make_partition(label % NUM_ARMS, NUM_ARMS)
    return make(label, score, NUM_ARMS)

  pool = Pool(
    Images(np.zeros((NUM_EXAMPLES, size, size, 1), np.uint8)),
    label,
    {name: score for name in ("difficulty", *sampler.spec.scores)},
    {name: partition(name) for name in ("label", *sampler.spec.partitions)},
  )
  return jax.tree.map(jax.numpy.asarray, pool)


def make_sampler(spec: str, batch_size: int) -> Sampler:
  """Builds the sampler of a call such as "uniform", with its defaults."""
  name, given = specs.parse(spec, "sampler")
  return specs.make(
    {"name": name, **REQUIRED.get(name, {}), **given},
    SAMPLERS,
    name,
    batch_size=batch_size,
    num_steps=NUM_STEPS,
  )


def count(spec: str, network: str, batch_size: int) -> float:
  """Returns the FLOPs of a step of one trial; NaN if it needs another model."""
  make_model, size = NETWORKS[network]
  model = make_model(input_shape=(size, size, 1), num_classes=NUM_CLASSES)
  sampler, tx = make_sampler(spec, batch_size), optax.sgd(0.1)
  if sampler.spec.reads_penalty:
    model = models.mean_field(model)
  if sampler.spec.reads_penalty and model.penalty is None:
    return float("nan")
  pool = make_pool(size, sampler)
  steps = step.make_steps(model, tx, sampler, make_gather())
  init = step.make_init(model, tx, sampler)
  state = jax.eval_shape(init, jax.random.key(0), pool)
  return compilation.step_flops(steps, state, pool, pool)


def contestants() -> list[str]:
  """Returns the calls of all samplers and gains, the baseline first."""
  gains = [f"{BANDIT}(gain='{name}')" for name in sorted(GAINS.data)]
  others = sorted(SAMPLERS.data.keys() - {"uniform"})
  return ["uniform", *others, *gains]


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog="benchmarks.costs")
  parser.add_argument(
    "--samplers", type=arguments.names(contestants()), default=contestants()
  )
  parser.add_argument(
    "--networks", type=arguments.names(list(NETWORKS)), default=list(NETWORKS)
  )
  parser.add_argument(
    "--batch_sizes", type=arguments.numbers, default=BATCH_SIZES
  )
  parser.add_argument("--again", action="store_true")
  arguments.add_out(parser, "costs")
  return parser.parse_args(argv)


def read(path: pathlib.Path) -> pd.DataFrame:
  """Returns the table, by sampler, network and batch size; empty if none."""
  keys = ["sampler", "network", "batch"]
  if not path.exists():
    return pd.DataFrame(columns=[*keys, "flops"]).set_index(keys)
  return pd.read_csv(path).set_index(keys)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  known = read(args.out)
  rows = [] if args.again else known.reset_index().to_dict("records")
  done = {(row["sampler"], row["network"], row["batch"]) for row in rows}
  for network in args.networks:
    for batch in args.batch_sizes:
      for spec in args.samplers:
        if (spec, network, batch) in done:
          continue
        flops = count(spec, network, batch)
        print(network, batch, spec, f"{flops:.4g}", file=sys.stderr, flush=True)
        rows.append(
          {"sampler": spec, "network": network, "batch": batch, "flops": flops}
        )
        # Saved each time, so that an interrupted run has its results.
        table = tables.save(rows, args.out)
  table = tables.save(rows, args.out)
  tables.show(table, ["sampler", "network", "batch", "flops"], args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
