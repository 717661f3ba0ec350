"""The six networks in PyTorch with alcurr's layers, and their training step.

They come from timm, except for NASNet-A (mobile). timm does not have it, so it
is built from timm's cells.
"""

import contextlib
import importlib
import os

import torch
from torch import nn
from torch.nn import functional

from benchmarks import task, torchvision_stand_in  # noqa: F401
from benchmarks.timing import Program

# After the stand-in for torchvision, which they import.
timm = importlib.import_module("timm")
cells = importlib.import_module("timm.models.nasnet")


class NASNetMobile(nn.Module):
  """NASNet-A (4 @ 1056), from appendix A of Zoph et al. (arXiv:1707.07012)."""

  def __init__(self, num_classes: int, num_blocks: int = 4, filters: int = 44):
    super().__init__()
    stem, pad = 32, "same"
    self.stem = nn.Sequential(
      nn.Conv2d(task.CHANNELS, stem, 3, stride=2, bias=False),
      nn.BatchNorm2d(stem, eps=1e-3),
    )
    self.stem_1 = cells.CellStem0(stem, filters // 4, pad)
    self.stem_2 = cells.CellStem1(stem, filters // 2, pad)
    # Channels of the two previous outputs: a stem cell has four branches.
    p, h = filters, 2 * filters
    body = []
    for stage in range(3):
      f = filters * 2**stage
      if stage:
        body.append(cells.ReductionCell0(p, f, h, f, pad))
        p, h = h, 4 * f
      body.append(cells.FirstCell(p, f // 2, h, f, pad))
      p, h = h, 6 * f
      for _ in range(num_blocks - 1):
        body.append(cells.NormalCell(p, f, h, f, pad))
        p, h = h, 6 * f
    self.body = nn.ModuleList(body)
    self.logits = nn.Linear(h, num_classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = self.stem(x)
    p = self.stem_1(x)
    h = self.stem_2(x, p)
    for cell in self.body:
      h, p = cell(h, p), h
    return self.logits(functional.relu(h).mean((2, 3)))


def _resnet50(num_classes: int) -> nn.Module:
  """Returns it with biases, and with strides in each first convolution."""
  model = timm.create_model("resnet50", num_classes=num_classes)
  for stage in (model.layer2, model.layer3, model.layer4):
    stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
  for module in model.modules():
    if isinstance(module, nn.Conv2d):
      module.bias = nn.Parameter(torch.zeros(module.out_channels))
  return model


def _inception_resnet_v2(num_classes: int) -> nn.Module:
  """Returns it with the scale of its norms fixed at 1."""
  model = timm.create_model("inception_resnet_v2", num_classes=num_classes)
  for module in model.modules():
    if isinstance(module, nn.BatchNorm2d):
      module.weight.requires_grad_(False)
  return model


def network(name: str, num_classes: int, **more) -> nn.Module:
  """Returns a network with the layers of `alcurr.models.MODELS[name]`.

  Args:
    name: a name of MODELS.
    num_classes: V.
    **more: arguments of timm's network, if timm has it unchanged.
  """
  own = {
    "inception_resnet_v2": _inception_resnet_v2,
    "nasnet_mobile": NASNetMobile,
    "resnet50": _resnet50,
  }
  if name in own:
    return own[name](num_classes, **more)
  theirs, options = {
    "mobilenet": ("mobilenetv1_100", {"drop_rate": 1e-3}),
    "nasnet_large": ("nasnetalarge", {}),
    "se_resnext50_32x4d": ("seresnext50_32x4d", {}),
  }[name]
  return timm.create_model(theirs, num_classes=num_classes, **options, **more)


def make_program(
  *,
  model: str,
  batch_size: int,
  image_size: int,
  dtype: str,
  compiled: bool,
) -> Program:
  gpu = torch.cuda.is_available()
  device = torch.device("cuda" if gpu else "cpu")
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  if gpu:
    # Like XLA: float32 products in TF32, kernels chosen by measurement.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
  net = network(model, task.NUM_CLASSES).train()
  net = net.to(device, memory_format=torch.channels_last)
  params = [p for p in net.parameters() if p.requires_grad]
  optimizer = torch.optim.SGD(params, task.LEARNING_RATE, task.MOMENTUM)
  # A channels-last tensor has the strides of NHWC.
  image, label = map(torch.from_numpy, task.batch(batch_size, image_size))
  image = image.to(device).permute(0, 3, 1, 2)
  label = label.to(device, torch.int64)
  forward = torch.compile(net) if compiled else net
  cast = contextlib.nullcontext()
  if dtype == "bfloat16":
    cast = torch.autocast(device.type, torch.bfloat16)

  def run(steps: int) -> None:
    for _ in range(steps):
      optimizer.zero_grad()
      with cast:
        loss = functional.cross_entropy(forward(image), label)
      loss.backward()
      optimizer.step()
    if gpu:
      torch.cuda.synchronize()

  facts = {
    "framework": f"torch {torch.__version__}",
    "platform": "gpu" if gpu else "cpu",
    "device": torch.cuda.get_device_name() if gpu else "cpu",
    "params": sum(p.numel() for p in params),
  }
  return Program(run, facts, torch.cuda.max_memory_allocated if gpu else None)
