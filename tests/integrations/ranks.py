"""The program of each rank of `ranks_test`: ranks.py FOLDER, by torchrun.

A rank writes FOLDER/<rank>.npz: the examples that it trained on, its streams'
states, and the errors that it met.
"""

import multiprocessing
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from streams import BANDIT, BATCH_SIZE, POOL, losses_of, make_sampler
from torch.utils.data import DataLoader, TensorDataset

from alcurr import samplers
from alcurr.core.errors import UserError
from alcurr.integrations import IndexStream, pool_info
from alcurr.integrations.torch import BatchSampler
from alcurr.types import Sampler

DELAY, NUM_BATCHES, STEPS = 4, 7, 10
# Weighted, and without candidates until the gradients' norms differ enough.
CANDIDATES: Sampler = samplers.importance_sampling(
  batch_size=BATCH_SIZE, threshold=1.02, smoothing=0.5
)


def grads_of(index) -> np.ndarray:
  """Returns a gradient in the logits of each example, [b, 4]."""
  example = np.asarray(index, np.float64)[:, None]
  grads = (1 + example % 7) * np.sin(example * [1.0, 2.0, 3.0, 5.0])
  return grads.astype(np.float32)


def make_batches(spec: Any, delay=0, seed=5, **ranks: int) -> BatchSampler:
  sampler = make_sampler(spec) if isinstance(spec, dict) else spec
  difficulty = np.asarray(POOL.scores["difficulty"])
  info = pool_info(sampler, np.asarray(POOL.label), difficulty, 5)
  stream = IndexStream(sampler, info, seed, delay)
  return BatchSampler(stream, NUM_BATCHES, **ranks)


def make_loader(batches: BatchSampler, num_workers: int) -> DataLoader:
  context = None
  if num_workers:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
  return DataLoader(
    TensorDataset(torch.arange(640)),
    batch_sampler=batches,
    num_workers=num_workers,
    multiprocessing_context=context,
  )


def train(batches: BatchSampler, num_steps: int, num_workers=0) -> np.ndarray:
  """Returns the rank's own examples: [T, B / W]."""
  found, loader = [], make_loader(batches, num_workers)
  while len(found) < num_steps:
    for (index,) in loader:
      found.append(index.numpy())
      drawn = batches.drawn
      np.testing.assert_array_equal(drawn.index, index)
      assert len(drawn.arm) == len(drawn.weight) == batches.batch_size
      before, after = losses_of(index)
      # As a loop has them: with a gradient, and after the update without.
      pair = torch.tensor(before, requires_grad=True), torch.tensor(after)
      batches.update(losses=pair)
      if len(found) == num_steps:
        break
  return np.stack(found)


def select(batches: BatchSampler, num_steps: int) -> list[np.ndarray]:
  """Returns the selected examples of this rank with their weights: [T][b, 2].

  A rank may select none of its own candidates.
  """
  found = []
  while len(found) < num_steps:
    for (index,) in make_loader(batches, 0):
      index, weight = index.numpy(), batches.drawn.weight
      if batches.drawn.scored:
        chosen = batches.select(logit_grads=grads_of(index))
        np.testing.assert_array_equal(index[chosen.slots], chosen.index)
        index, weight = chosen.index, chosen.weight
      batches.update(logit_grads=torch.tensor(grads_of(index)))
      found.append(np.stack([index, weight], 1))
      if len(found) == num_steps:
        break
  return found


def _error_of(call: Callable[[], Any]) -> str:
  try:
    call()
  except UserError as error:
    return f"{error.code} {error.place}"
  return ""


def _errors(rank: int, ranks: dict[str, int]) -> dict[str, str]:
  """Returns what is wrong where the ranks differ, the same on each."""

  def swapped() -> None:
    make_batches(BANDIT, rank=1 - rank, world_size=2)

  def one_step(seed: int, **changes: Any) -> None:
    batches = make_batches(BANDIT, DELAY, seed, **ranks)
    ahead = iter(batches)
    index, _ = next(ahead), next(ahead)
    batches.update(**{"losses": losses_of(index)} | changes)

  before, after = losses_of(np.arange(BATCH_SIZE // 2))
  return {
    "rank": _error_of(swapped),
    "key": _error_of(lambda: one_step(seed=5 + rank)),
    "number": _error_of(lambda: one_step(5, number=rank)),
    "arguments": _error_of(
      lambda: one_step(5, losses=(before, after) if rank else before)
    ),
    "rows": _error_of(lambda: one_step(5, losses=losses_of(range(BATCH_SIZE)))),
    "feedback": _error_of(
      lambda: one_step(5, losses=None, feedback=np.zeros(4))
    ),
    "index": _error_of(lambda: one_step(5, index=[0] * (BATCH_SIZE // 2))),
  }


def main(folder: pathlib.Path) -> None:
  torch.distributed.init_process_group("gloo")
  rank = torch.distributed.get_rank()
  ranks = {"rank": rank, "world_size": torch.distributed.get_world_size()}

  batches = make_batches(BANDIT, DELAY, **ranks)
  results = {"trained": train(batches, STEPS, num_workers=1)}
  results |= _named("state", batches)

  resumed = make_batches(BANDIT, DELAY, seed=1, **ranks)
  with np.load(folder / "alone.npz") as state:
    resumed.load_state_dict(dict(state))
  results |= {"resumed": train(resumed, STEPS)} | _named("resumed", resumed)

  candidates = make_batches(CANDIDATES, **ranks)
  for step, rows in enumerate(select(candidates, STEPS)):
    results[f"selected.{step}"] = rows
  results |= _named("selecting", candidates)

  by_index = make_batches(BANDIT, DELAY, **ranks)
  for index in by_index:
    by_index.update(index=torch.tensor(index), losses=losses_of(index))
  results |= _named("by_index", by_index)

  results |= {f"error.{k}": v for k, v in _errors(rank, ranks).items()}
  np.savez(folder / f"{rank}.npz", **results)
  torch.distributed.destroy_process_group()


def _named(prefix: str, batches: BatchSampler) -> dict[str, np.ndarray]:
  state = batches.stream.state_dict()
  return {f"{prefix}:{name}": array for name, array in state.items()}


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
