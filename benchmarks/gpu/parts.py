"""The parts of the measurement, the most telling first.

A part is the command line of another benchmark. With `small` it has the same
form and takes seconds on a CPU.
"""

from typing import NamedTuple


class Part(NamedTuple):
  """A command whose table is a part of the results.

  Attributes:
    name: of the part; its table is `<name>.csv`.
    command: module and arguments, without --out.
    seconds: the most that it may take.
    packages: that it needs besides alcurr's own.
    cached: whether it may use compiled programs of earlier parts; not if it
      measures the time to compile.
    workdir: whether it takes --workdir, a folder to resume from.
  """

  name: str
  command: tuple[str, ...]
  seconds: float
  packages: tuple[str, ...] = ()
  cached: bool = True
  workdir: bool = False


DTYPES = ("float32", "bfloat16")
# The paper's network and image size.
_MODEL = "--model mobilenet --image_size 64"
_SMALL_MODEL = "--model cnn --image_size 12"
_AIMS = "uniform;random_gain;gradient_prediction_gain;prediction_gain"


def make_parts(small: bool) -> list[Part]:
  """Returns the parts in the order in which they run.

  Those in small have names of the others.
  """
  parts = [
    *_steps(small),
    *_trials(small),
    *([] if small else [_suite("suite_tenth", small)]),
    *_peers(small),
    _trace(small),
    _memory(small),
    _scale(small),
    *_networks(small),
    _lowerings(small),
    *_every_sampler(small),
    _suite("suite", small),
  ]
  # A CPU may be busy with something else.
  return [p._replace(seconds=600) for p in parts] if small else parts


def _part(name: str, command: str, seconds: float, **more) -> Part:
  module, *options = command.split(" ")
  return Part(name, (f"benchmarks.{module}", *options), seconds, **more)


def _step(batch_size: int, dtype: str, small: bool) -> str:
  """Returns the command of `benchmarks.step` without what it compares."""
  if small:
    batch_size //= 16
  how = "--rounds 10 --seconds 0.3"
  if small:
    how = "--rounds 2 --seconds 0.01 --chunk_steps 2 --num_examples 400"
  model = _SMALL_MODEL if small else _MODEL
  return (
    f"step {model} --no-flops {how} --batch_sizes {batch_size} --dtype {dtype}"
  )


def _settings(small: bool) -> list[tuple[int, str]]:
  """Returns batch sizes and dtypes; in small, each occurs once."""
  every = [(512, "float32"), (512, "bfloat16"), (32, "float32")]
  return [*([every[0]] if small else every), (32, "bfloat16")]


def _steps(small: bool) -> list[Part]:
  samplers = "uniform;prediction_gain" if small else _AIMS
  return [
    _part(
      f"step_{batch_size}_{dtype}",
      f"{_step(batch_size, dtype, small)} --trials 1 --samplers {samplers}",
      80,
    )
    for batch_size, dtype in _settings(small)
  ]


def _trials(small: bool) -> list[Part]:
  trials = "1,2" if small else "1,3"
  return [
    _part(
      f"trials_{batch_size}_{dtype}",
      f"{_step(batch_size, dtype, small)} --samplers= --trials {trials}",
      60,
    )
    for batch_size, dtype in _settings(small)[small:]
  ]


def _suite(name: str, small: bool) -> Part:
  """Returns the paper's runs, at full size or at a tenth of it."""
  scale = "1" if name == "suite" else "0.1,image=64,model=mobilenet,batch=512"
  if small:
    scale = "0.002,part=table2"
  command = f"suite --arguments scale={scale}"
  full = name == "suite"
  return _part(name, command, 3600 if full else 180, cached=False, workdir=full)


def _peers(small: bool) -> list[Part]:
  names = ["alcurr uniform", "PyTorch"]
  if not small:
    names += ["torch.compile", "alcurr bandit", "PyTorch bandit"]
  how = "--rounds 6 --seconds 1 --per_class 200"
  if small:
    how = "--rounds 1 --seconds 0.01 --per_class 10"
  parts = []
  for batch_size in (32,) if small else (32, 512):
    size = batch_size // 8 if small else batch_size
    part = _part(
      f"peers_{batch_size}",
      f"peers {how} --batch_sizes {size} --budget 0 --contestants",
      75,
      packages=("torch",),
      cached=False,
    )
    parts.append(part._replace(command=(*part.command, ",".join(names))))
  return parts


def _networks(small: bool) -> list[Part]:
  """Returns the paper's network against PyTorch's."""
  how = "--rounds 6 --seconds 0.5"
  if small:
    how = "--rounds 1 --seconds 0.01 --least 1 --no-compile"
  size = "--batch_sizes 2 --image_size 32" if small else "--batch_sizes 512"
  return [
    _part(
      f"models_{dtype}",
      f"models --models mobilenet {size} {how} --dtype {dtype}",
      75,
      packages=("torch", "timm"),
      cached=False,
    )
    for dtype in (DTYPES[:1] if small else DTYPES)
  ]


def _trace(small: bool) -> Part:
  model = _SMALL_MODEL if small else _MODEL
  how = "--batch_size 16 --steps 2 --num_examples 400" if small else ""
  return _part("trace", f"gpu.trace {model} {how}".rstrip(), 45)


def _memory(small: bool) -> Part:
  model = _SMALL_MODEL if small else _MODEL
  how = "--batch_sizes 16 --num_examples 400 --dtypes float32" if small else ""
  return _part("memory", f"gpu.memory {model} {how}".rstrip(), 60)


def _scale(small: bool) -> Part:
  sizes = "1000,2000" if small else "10000,50000000"
  how = "--rounds 2 --seconds 0.01" if small else "--rounds 5 --seconds 0.05"
  samplers = "--samplers uniform,active_bandit"
  return _part("scale", f"scale --sizes {sizes} {samplers} {how}", 75)


def _lowerings(small: bool) -> Part:
  how = (
    "--network mobilenet --dtypes float32,bfloat16 --batch_sizes 512 "
    "--image_sizes 64,128 --rounds 5 --seconds 0.02"
  )
  if small:
    how = (
      "--network nasnet_mobile --batch_sizes 2 --image_sizes 16 "
      "--rounds 1 --seconds 0.001"
    )
  return _part("lowerings", f"lowerings --kinds depthwise {how}", 90)


def _every_sampler(small: bool) -> list[Part]:
  """Returns the small CNN's step with every sampler."""
  if small:
    return []
  how = "--no-flops --rounds 8 --seconds 0.1 --trials 1"
  return [
    _part(f"samplers_{size}", f"step {how} --batch_sizes {size}", 90)
    for size in (32, 512)
  ]
