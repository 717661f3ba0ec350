"""Two loops in plain PyTorch: with a sampler, and with a bandit by hand.

As fast as is usual: channels-last images, all cores, Adam's fused kernel, and
a DataLoader that indexes the tensor once a batch (`BatchSampler` as sampler)
and not once an example, in the loop's own process: for images in memory,
processes that load cost more than they save. A trial has its own network,
optimiser and sampler, and trials run one after the other.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils import data as torch_data

from benchmarks import doodle_job
from benchmarks.hand_bandit import HandBandit
from benchmarks.timing import Program


class CNN(nn.Module):
  """The layers of `alcurr.models._cnn`, from images [B, C, H, W]."""

  def __init__(self, image_shape: tuple[int, int, int], num_classes: int):
    super().__init__()
    height, width, channels = image_shape
    self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
    self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
    self.dense = nn.Linear(64 * (height // 4) * (width // 4), 128)
    self.logits = nn.Linear(128, num_classes)
    for layer in (self.conv1, self.conv2, self.dense):
      nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
      nn.init.zeros_(layer.bias)
    nn.init.xavier_uniform_(self.logits.weight)
    nn.init.zeros_(self.logits.bias)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
    x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
    # The order of ours, and of the memory.
    x = x.permute(0, 2, 3, 1).flatten(1)
    return self.logits(functional.relu(self.dense(x)))


def network(
  name: str, image_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
  """PyTorch's network of the layers of `alcurr.models.MODELS[name]`."""
  if name == "cnn":
    return CNN(image_shape, num_classes)
  # Here, for the small CNN needs no timm.
  from benchmarks import torch_models

  return torch_models.network(name, num_classes, in_chans=image_shape[-1])


def settle() -> torch.device:
  """Takes what there is: a GPU, or all cores."""
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  if torch.cuda.is_available():
    # As XLA does: float32 products in TF32, kernels chosen by measurement.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")
  return torch.device("cpu")


def scaled(image: torch.Tensor) -> torch.Tensor:
  return image.float().div_(255)


def channels_first(image: np.ndarray) -> torch.Tensor:
  """[N, H, W, C] as [N, C, H, W], in memory as before: channels last."""
  return torch.from_numpy(image).permute(0, 3, 1, 2)


class Doodles(torch_data.Dataset):
  """Examples in memory, indexed with the places of a whole batch."""

  def __init__(self, data: doodle_job.Data):
    self.image = channels_first(data.image)
    self.label = torch.from_numpy(data.label).long()

  def __len__(self) -> int:
    return len(self.label)

  def __getitem__(self, index: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return self.image[index], self.label[index]


def make_loader(
  data: doodle_job.Data, batch_size: int, seed: int
) -> torch_data.DataLoader:
  """A DataLoader with a WeightedRandomSampler, all weights 1."""
  sampler = torch_data.WeightedRandomSampler(
    torch.ones(len(data.label)),
    len(data.label),
    generator=torch.Generator().manual_seed(seed),
  )
  return torch_data.DataLoader(
    Doodles(data),
    batch_size=None,  # the sampler's items are batches
    sampler=torch_data.BatchSampler(sampler, batch_size, drop_last=True),
    pin_memory=torch.cuda.is_available(),
  )


def make_network(
  name: str, data: doodle_job.Data, seed: int, device: torch.device
) -> nn.Module:
  torch.manual_seed(seed)
  net = network(name, data.image.shape[1:], data.num_classes)
  return net.to(device, memory_format=torch.channels_last)


def make_adam(net: nn.Module) -> torch.optim.Optimizer:
  return torch.optim.Adam(
    net.parameters(), doodle_job.LEARNING_RATE, fused=True
  )


def passes(loader: torch_data.DataLoader) -> Iterator:
  while True:
    yield from loader


def plain_trial(
  net: nn.Module,
  data: doodle_job.Data,
  batch_size: int,
  seed: int,
  device: torch.device,
) -> Callable[[int], None]:
  """A function of a number of steps that trains with a DataLoader."""
  optimizer = make_adam(net)
  batches = passes(make_loader(data, batch_size, seed))

  def run(steps: int) -> None:
    net.train()
    for image, label in itertools.islice(batches, steps):
      image = image.to(device, non_blocking=True)
      label = label.to(device, non_blocking=True)
      optimizer.zero_grad()
      functional.cross_entropy(net(scaled(image)), label).backward()
      optimizer.step()

  return run


@torch.no_grad()
def loss_after(
  net: nn.Module, image: torch.Tensor, label: torch.Tensor
) -> torch.Tensor:
  """In train mode; batch norms take this batch's statistics, keep none."""
  norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
  for norm in norms:
    norm.track_running_stats = False
  loss = functional.cross_entropy(net(image), label)
  for norm in norms:
    norm.track_running_stats = True
  return loss


def bandit_trial(
  net: nn.Module,
  data: doodle_job.Data,
  batch_size: int,
  seed: int,
  device: torch.device,
) -> Callable[[int], None]:
  """A function of a number of steps that trains what a bandit draws."""
  optimizer = make_adam(net)
  bandit = HandBandit(data.arm, batch_size, seed)
  images = channels_first(data.image).to(device)
  labels = torch.from_numpy(data.label).long().to(device)

  def run(steps: int) -> None:
    net.train()
    for _ in range(steps):
      arm, index = bandit.draw()
      index = torch.from_numpy(index).to(device)
      image, label = scaled(images[index]), labels[index]
      optimizer.zero_grad()
      loss = functional.cross_entropy(net(image), label)
      loss.backward()
      optimizer.step()
      gain = loss.detach() - loss_after(net, image, label)
      bandit.learn(arm, gain.item())

  return run


@torch.inference_mode()
def accuracy(
  net: nn.Module, data: doodle_job.Data, device: torch.device
) -> float:
  """Top-1 on the held-out examples."""
  net.eval()
  size = doodle_job.EVAL_BATCH_SIZE
  right = 0
  for image, label in zip(
    channels_first(data.held_out_image).split(size),
    torch.from_numpy(data.held_out_label).split(size),
    strict=True,
  ):
    best = net(scaled(image.to(device))).argmax(1)
    right += (best == label.to(device)).sum().item()
  return right / len(data.held_out_label)


def make_facts(net: nn.Module) -> dict:
  gpu = torch.cuda.is_available()
  return {
    "framework": f"torch {torch.__version__}",
    "platform": "gpu" if gpu else "cpu",
    "device": torch.cuda.get_device_name() if gpu else "cpu",
    "params": sum(p.numel() for p in net.parameters()),
  }


def one_after_the_other(
  trials: list[Callable[[int], None]], steps: int
) -> None:
  """So many steps of each trial, and waits for them."""
  for trial in trials:
    trial(steps)
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def make_program(
  *, path: str, model: str, batch_size: int, sampler: str
) -> Program:
  device = settle()
  data = doodle_job.load(path)
  make_trial = {"uniform": plain_trial, "bandit": bandit_trial}[sampler]
  seeds = range(doodle_job.TRIALS)
  nets = [make_network(model, data, seed, device) for seed in seeds]
  trials = [
    make_trial(net, data, batch_size, seed, device)
    for net, seed in zip(nets, seeds, strict=True)
  ]
  gpu = torch.cuda.is_available()
  return Program(
    functools.partial(one_after_the_other, trials),
    make_facts(nets[0]),
    torch.cuda.max_memory_allocated if gpu else None,
    lambda: [accuracy(net, data, device) for net in nets],
  )
