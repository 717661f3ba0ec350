"""The PyTorch loop with InfoBatch, the authors' package for pruning in passes.

It is Qin et al.'s (2024) own code, with its defaults (`prune_ratio=0.5`,
`delta=0.875`). Like the other loops it indexes a whole batch at once, which the
package allows if its sampler's items are tensors. It is not on PyPI: `pip
install git+https://github.com/NUS-HPC-AI-Lab/InfoBatch`.
"""

import functools
from collections.abc import Callable, Iterator

import infobatch
import torch
from torch import nn
from torch.nn import functional
from torch.utils import data as torch_data

from benchmarks import doodle_job, peers_torch
from benchmarks.timing import Program


class Batches(torch_data.Sampler):
  """Batches of a sampler's indices, as tensors."""

  def __init__(self, sampler: torch_data.Sampler, batch_size: int):
    self.batches = torch_data.BatchSampler(sampler, batch_size, drop_last=True)

  def __iter__(self) -> Iterator[torch.Tensor]:
    return map(torch.tensor, self.batches)


def make_trial(
  net: nn.Module,
  data: doodle_job.Data,
  batch_size: int,
  num_steps: int,
  device: torch.device,
) -> Callable[[int], None]:
  """Returns a function of a number of steps that trains on its passes."""
  doodles = infobatch.InfoBatch(
    peers_torch.Doodles(data), num_steps * batch_size // len(data.label)
  )
  loader = torch_data.DataLoader(
    doodles,
    batch_size=None,  # the sampler's items are batches
    sampler=Batches(doodles.sampler, batch_size),
    pin_memory=torch.cuda.is_available(),
  )

  def loss(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    losses = functional.cross_entropy(net(image), label, reduction="none")
    return doodles.update(losses)

  return peers_torch.make_loop(net, loader, device, loss)


def make_program(
  *, path: str, model: str, batch_size: int, num_steps: int
) -> Program:
  device = peers_torch.set_up()
  data = doodle_job.load(path)
  seeds = range(doodle_job.TRIALS)
  nets = [peers_torch.make_network(model, data, seed, device) for seed in seeds]
  trials = [
    make_trial(net, data, batch_size, num_steps, device) for net in nets
  ]
  return Program(
    functools.partial(peers_torch.run_in_sequence, trials),
    peers_torch.make_facts(nets[0]),
    torch.cuda.max_memory_allocated if torch.cuda.is_available() else None,
    lambda: [peers_torch.accuracy(net, data, device) for net in nets],
  )
