"""Two loops in PyTorch: with a sampler, and with a hand-written bandit.

They use the usual optimizations: channels-last images, all cores, and Adam's
fused kernel. The DataLoader indexes the tensor once for each batch, with
`BatchSampler` as its sampler. It runs in the process of the loop, since worker
processes cost more than they save for images in memory. Each trial has its own
network, optimizer and sampler. Trials run one after the other.
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
  """The network `cnn` of alcurr, for images [B, C, H, W]."""

  def __init__(self, input_shape: tuple[int, int, int], num_classes: int):
    super().__init__()
    height, width, channels = input_shape
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
    # The order of alcurr's network, and of the memory.
    x = x.permute(0, 2, 3, 1).flatten(1)
    return self.logits(functional.relu(self.dense(x)))


def network(
  name: str, input_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
  """Returns a network with the layers of `alcurr.models.MODELS[name]`."""
  if name == "cnn":
    return CNN(input_shape, num_classes)
  # Imported here, since the small CNN does not need timm.
  from benchmarks import torch_models

  return torch_models.network(name, num_classes, in_chans=input_shape[-1])


def set_up() -> torch.device:
  """Returns the GPU if there is one; else the CPU, with all cores."""
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  if torch.cuda.is_available():
    # Like XLA: float32 products in TF32, kernels chosen by measurement.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")
  return torch.device("cpu")


def scaled(image: torch.Tensor) -> torch.Tensor:
  return image.float().div_(255)


def channels_first(image: np.ndarray) -> torch.Tensor:
  """Returns images [N, H, W, C] as [N, C, H, W], channels last in memory."""
  return torch.from_numpy(image).permute(0, 3, 1, 2)


class Doodles(torch_data.Dataset):
  """Examples in memory, indexed by all indices of a batch at once."""

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
  """Returns a DataLoader with a WeightedRandomSampler of weights 1."""
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


def make_loop(
  net: nn.Module,
  loader: torch_data.DataLoader,
  device: torch.device,
  loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Callable[[int], None]:
  """Returns a function of a number of steps that descends on a loss."""
  optimizer = make_adam(net)
  batches = passes(loader)

  def run(steps: int) -> None:
    net.train()
    for image, label in itertools.islice(batches, steps):
      image = image.to(device, non_blocking=True)
      label = label.to(device, non_blocking=True)
      optimizer.zero_grad()
      loss(scaled(image), label).backward()
      optimizer.step()

  return run


def plain_trial(
  net: nn.Module,
  data: doodle_job.Data,
  batch_size: int,
  seed: int,
  device: torch.device,
  compiled: bool = False,
) -> Callable[[int], None]:
  """Returns a function of a number of steps that trains on a DataLoader."""
  forward = torch.compile(net) if compiled else net
  loader = make_loader(data, batch_size, seed)
  return make_loop(
    net,
    loader,
    device,
    lambda image, label: functional.cross_entropy(forward(image), label),
  )


@torch.no_grad()
def loss_after(
  net: nn.Module, image: torch.Tensor, label: torch.Tensor
) -> torch.Tensor:
  """Returns the loss in train mode, without updating running statistics."""
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
  """Returns a function of a number of steps that trains on bandit draws."""
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
  """Returns top-1 on the held-out examples."""
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
  """Returns the columns of framework, platform, device and parameters."""
  gpu = torch.cuda.is_available()
  return {
    "framework": f"torch {torch.__version__}",
    "platform": "gpu" if gpu else "cpu",
    "device": torch.cuda.get_device_name() if gpu else "cpu",
    "params": sum(p.numel() for p in net.parameters()),
  }


def run_in_sequence(trials: list[Callable[[int], None]], steps: int) -> None:
  """Runs the steps of each trial, and waits for them."""
  for trial in trials:
    trial(steps)
  if torch.cuda.is_available():
    torch.cuda.synchronize()


def make_program(
  *, path: str, model: str, batch_size: int, sampler: str, compiled: bool
) -> Program:
  device = set_up()
  data = doodle_job.load(path)
  uniform = functools.partial(plain_trial, compiled=compiled)
  make_trial = {"uniform": uniform, "bandit": bandit_trial}[sampler]
  seeds = range(doodle_job.TRIALS)
  nets = [make_network(model, data, seed, device) for seed in seeds]
  trials = [
    make_trial(net, data, batch_size, seed, device)
    for net, seed in zip(nets, seeds, strict=True)
  ]
  gpu = torch.cuda.is_available()
  return Program(
    functools.partial(run_in_sequence, trials),
    make_facts(nets[0]),
    torch.cuda.max_memory_allocated if gpu else None,
    lambda: [accuracy(net, data, device) for net in nets],
  )
