"""Composer's Trainer with SelectiveBackprop, on the PyTorch loop's network.

On every second batch, SelectiveBackprop runs all examples forward and trains on
half of them, preferring those with a larger loss. On the other batches it
trains on all examples. These are its defaults (`keep=0.5`, `interrupt=2`), used
here from the first batch to the last. So it trains on three quarters of the
examples that it draws; the drawn examples are counted.

`pip install -e '.[peers]'` installs it with the PyTorch that it requires. It
also runs with a later PyTorch: `pip install --no-deps mosaicml`, then `pip
install "mosaicml-cli<0.8" torchmetrics torch_optimizer coolname tabulate
py-cpuinfo psutil requests importlib-metadata pyyaml`.
"""

import functools
import importlib
import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks import (  # noqa: F401
  doodle_job,
  peers_torch,
  torchvision_stand_in,
)
from benchmarks.timing import Program

# After the stand-in for torchvision, which it imports.
composer = importlib.import_module("composer")
algorithms = importlib.import_module("composer.algorithms")


class Classifier(composer.ComposerModel):
  """A classifier without metrics, which would be computed in every step."""

  def __init__(self, net: nn.Module):
    super().__init__()
    self.net = net

  def forward(self, batch: tuple) -> torch.Tensor:
    return self.net(peers_torch.scaled(batch[0]))

  def loss(
    self, outputs: torch.Tensor, batch: tuple, reduction: str = "mean"
  ) -> torch.Tensor:
    return functional.cross_entropy(outputs, batch[1], reduction=reduction)


def make_trial(
  net: nn.Module, data: doodle_job.Data, batch_size: int, seed: int
) -> Callable[[int], None]:
  """Returns a function of a number of steps that trains with a Trainer."""
  trainer = composer.Trainer(
    model=Classifier(net),
    train_dataloader=peers_torch.make_loader(data, batch_size, seed),
    optimizers=peers_torch.make_adam(net),
    algorithms=algorithms.SelectiveBackprop(start=0.0, end=1.0),
    device="gpu" if torch.cuda.is_available() else "cpu",
    precision="fp32",
    # Whole batches; it cannot infer the size from this loader.
    device_train_microbatch_size=batch_size,
    # The sampler draws with replacement, so `fit` need not replay the batches
    # of earlier calls.
    spin_dataloaders=False,
    progress_bar=False,
    seed=seed,
  )
  return lambda steps: trainer.fit(duration=f"{steps}ba")


def make_program(*, path: str, model: str, batch_size: int) -> Program:
  # Half a batch is smaller than the announced size.
  warnings.filterwarnings("ignore", "Cannot split tensor")
  device = peers_torch.set_up()
  data = doodle_job.load(path)
  seeds = range(doodle_job.TRIALS)
  nets = [peers_torch.make_network(model, data, seed, device) for seed in seeds]
  trials = [
    make_trial(net, data, batch_size, seed)
    for net, seed in zip(nets, seeds, strict=True)
  ]
  facts = peers_torch.make_facts(nets[0])
  facts["framework"] = f"composer {composer.__version__}, {facts['framework']}"
  return Program(
    functools.partial(peers_torch.run_in_sequence, trials),
    facts,
    torch.cuda.max_memory_allocated if torch.cuda.is_available() else None,
    lambda: [peers_torch.accuracy(net, data, device) for net in nets],
  )
