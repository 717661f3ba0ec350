"""A table of bad input and the errors that it causes, for `bad_input_test`.

`DIR` stands for the case's own folder, to which `make` writes.
"""

import json
import os
import pathlib
import re
import struct
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import h5py
import numpy as np
import safetensors.numpy

QUICKSTART = "--config=configs/quickstart.py"


class Case(NamedTuple):
  kind: str  # config, data, weights, workdir, or another command
  given: str  # a description, or the options
  args: tuple[str, ...]  # of the command line, without --workdir
  code: str  # of the error, a key of ERROR_CODES
  place: str  # of the error
  make: Callable[[pathlib.Path], None] = lambda folder: None
  command: str = "main"  # or tune, predict


def _rows(table: str) -> list[list[str]]:
  """Returns the code, the place and the input of each line."""
  return [
    [cell.strip() for cell in line.split(" | ", 2)]
    for line in table.strip().splitlines()
  ]


def _split(text: str) -> list[str]:
  """Splits a text at its options, whose values may hold spaces."""
  return re.split(" (?=--)", text.replace("FEW", " ".join(FEW)))


def _words(text: str) -> list[str]:
  """Splits a text at its spaces."""
  return text.replace("QUICKSTART", QUICKSTART).split()


def _option(code: str, place: str, *options: str) -> Case:
  """Returns the case of the quickstart with options."""
  return Case("config", _code(*options), (QUICKSTART, *options), code, place)


def _tune(code: str, place: str, *args: str) -> Case:
  given = _code(*args) or "no argument"
  args = (*args, "--out=DIR/out") if args else args
  return Case(
    "alcurr tune",
    given,
    args,
    code,
    place,
    command="tune",
  )


def _predict(
  code: str,
  place: str,
  given: str,
  *args: str,
  make: Callable[[pathlib.Path], None] = lambda folder: None,
) -> Case:
  """Returns the case of a prediction by the run in DIR/run/runs/a."""
  args = ("DIR/run/runs/a", "--data=DIR/test.csv", "--out=DIR/a.csv", *args)
  kind = "alcurr predict"
  return Case(kind, given, args, code, place, make, "predict")


def _args(code: str, place: str, *args: str) -> Case:
  return Case("config", _code(*args) or "no argument", args, code, place)


def _code(*parts: str) -> str:
  return f"`{' '.join(parts)}`" if parts else ""


def _file(
  code: str, place: str, given: str, content: str | bytes, after: str = ""
) -> Case:
  """Returns the case of a config file, and of the text after its name."""

  def make(folder: pathlib.Path) -> None:
    data = content.encode() if isinstance(content, str) else content
    (folder / "x.py").write_bytes(data)

  return Case(
    "config", given, (f"--config=DIR/x.py{after}",), code, place, make
  )


def _changed(code: str, place: str, change: str) -> Case:
  """Returns the case of a file that changes the quickstart by a line."""
  return _file(
    code,
    place,
    f"`{change}` in the file",
    "from configs import quickstart\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    f"  {change}\n"
    "  return config\n",
  )


def _drawings(
  code: str,
  place: str,
  given: str,
  files: dict[str, str | bytes],
  *options: str,
) -> Case:
  """Returns the case of a folder of files, and further options."""

  def make(folder: pathlib.Path) -> None:
    data = folder / "data"
    data.mkdir()
    for name, content in files.items():
      raw = content.encode() if isinstance(content, str) else content
      (data / name).write_bytes(raw)

  args = (
    QUICKSTART,
    "--config.data.source=files",
    "--config.data.dir=DIR/data",
    "--config.data.classes=all",
    *options,
  )
  return Case("data", given, args, code, place, make)


def _bad_line(given: str, line: str | bytes) -> Case:
  """Returns the case of a class file that begins with a bad line."""
  return _drawings("data", "DIR/data/ant.ndjson:1", given, _two(line))


def _bitmap(code: str, given: str, content: bytes) -> Case:
  """Returns the case of two bitmap files, the first of this content."""
  name, good = "full_numpy_bitmap_{}.npy", _header("(1, 784)", bytes(784))
  bad = name.format("ant")
  files = {bad: content, name.format("bee"): good}
  return _drawings(code, f"DIR/data/{bad}", given, files)


def _set(
  code: str,
  place: str,
  given: str,
  where: str,
  make: Callable = lambda folder: None,
) -> Case:
  """Returns the case of a dataset of TensorFlow Datasets."""
  args = ("--config.data.source=tfds", f"--config.data.dir={where}")
  return Case("data", given, (QUICKSTART, *args), code, place, make)


def _npz_file(
  code: str, given: str, write: Callable[..., None], place: str = "DIR/a.npz"
) -> Case:
  """Returns the case of a file a.npz that `write(path)` writes."""
  args = ("--config.data.source=npz", "--config.data.dir=DIR/a.npz")
  return Case(
    "data",
    given,
    (QUICKSTART, *args),
    code,
    place,
    lambda folder: write(folder / "a.npz"),
  )


def _npz(images: np.ndarray, labels: object, **more) -> Callable[..., None]:
  return lambda path: np.savez(path, images=images, labels=labels, **more)


def _weights(given: str, write: Callable[..., None]) -> Case:
  """Returns the case of a file `w` of weights for a MobileNet."""
  args = ("--config.model.name=mobilenet", "--config.model.weights=DIR/w")
  # Images large enough for it.
  args = (QUICKSTART, *args, "--config.data.image_size=32")
  return Case(
    "weights",
    given,
    args,
    "argument",
    "model",
    lambda folder: write(folder / "w"),
  )


def _workdir(
  code: str,
  place: str,
  given: str,
  make: Callable[..., None],
  workdir: str = "DIR/run",
) -> Case:
  """Returns the case of a --workdir to which `make(folder)` writes."""
  args = (QUICKSTART, f"--workdir={workdir}")
  return Case("workdir", given, args, code, place, make)


def _line(*strokes: list, **more: object) -> str:
  return json.dumps(
    {"drawing": strokes or [[[0, 9, 4, 9], [0, 9, 9, 4]]]} | more
  )


def _lines(count: int = 40, **more: object) -> str:
  return "".join(_line(key_id=str(i), **more) + "\n" for i in range(count))


def _two(first: str | bytes, second: str | None = None) -> dict:
  return {"ant.ndjson": first, "bee.ndjson": second or _lines()}


# A drawing as .bin and as Kaggle's CSV have it.
_RECORD = struct.pack("<Q2sbIHH4B", 5012, b"US", 1, 9, 1, 2, 0, 9, 255, 3)
_ROWS = 'drawing,word\n"[[[0,9,4,9],[0,9,9,4]]]",\n'


def _header(shape: str, content: bytes = b"") -> bytes:
  """Returns a .npy file with a header that may be wrong."""
  text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
  text = text.ljust(117) + "\n"
  return (
    b"\x93NUMPY\x01\x00"
    + len(text).to_bytes(2, "little")
    + (text.encode() + content)
  )


def _zip(images: bytes) -> Callable[..., None]:
  """Writes an archive with a raw entry, and with good labels."""

  def write(path: pathlib.Path) -> None:
    np.savez(path, labels=np.arange(8) % 2)
    with zipfile.ZipFile(path, "a") as archive:
      archive.writestr("images.npy", images)

  return write


def _bomb(path: pathlib.Path, size: int) -> None:
  """Writes an archive whose images are claimed to have so many bytes."""
  np.savez_compressed(path, images=IMAGES, labels=LABELS)
  content = bytearray(path.read_bytes())
  place = content.find(b"PK\x01\x02")
  content[place + 24 : place + 28] = size.to_bytes(4, "little")
  path.write_bytes(content)


def _encrypted(path: pathlib.Path) -> None:
  """Writes an archive whose entries claim to be encrypted."""
  np.savez(path, images=IMAGES, labels=LABELS)
  content = bytearray(path.read_bytes())
  for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
    place = content.find(mark)
    while place >= 0:
      content[place + flags] |= 1
      place = content.find(mark, place + 1)
  path.write_bytes(content)


def _cut(write: Callable[..., None]) -> Callable[..., None]:
  def cut(path: pathlib.Path) -> None:
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

  return cut


def _bytes(content: bytes) -> Callable[..., None]:
  return lambda path: path.write_bytes(content)


def _safetensors(**tensors: np.ndarray) -> Callable[..., None]:
  return lambda path: safetensors.numpy.save_file(tensors, path)


def _keras(layers: dict[str, dict[str, object]]) -> Callable[..., None]:
  """Writes an .h5 as Keras does: layers of tensors by name."""

  def write(path: pathlib.Path) -> None:
    with h5py.File(path, "w") as file:
      file.attrs["layer_names"] = list(layers)
      for name, tensors in layers.items():
        group = file.create_group(name)
        group.attrs["weight_names"] = [f"{name}/{key}" for key in tensors]
        for key, tensor in tensors.items():
          if isinstance(tensor, dict):
            group.create_group(f"{name}/{key}")
          else:
            group[f"{name}/{key}"] = tensor

  return write


def _hdf5(path: pathlib.Path) -> None:
  with h5py.File(path, "w") as file:
    file["images"] = np.zeros(3)


def _run_holds(name: str, content: str | bytes) -> Callable[..., None]:
  """Writes a file into the workdir."""

  def make(folder: pathlib.Path) -> None:
    path = folder / "run" / name
    path.parent.mkdir(parents=True)
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(raw)

  return make


def _links(name: str) -> Callable[..., None]:
  """Writes a link into the workdir."""

  def make(folder: pathlib.Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / name).symlink_to(folder)

  return make


def _write_quickstart(folder: pathlib.Path) -> dict:
  from configs import quickstart

  (folder / "run").mkdir()
  config = quickstart.get_config().to_dict()
  (folder / "run" / "config.json").write_text(json.dumps(config))
  return config


def _finished(content: str) -> Callable[..., None]:
  """Writes a workdir of the quickstart with a finished run."""

  def make(folder: pathlib.Path) -> None:
    _write_quickstart(folder)
    path = folder / "run/runs/uniform/result.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)

  return make


def _other_seed(folder: pathlib.Path) -> None:
  config = _write_quickstart(folder) | {"seed": 5}
  (folder / "run" / "config.json").write_text(json.dumps(config))


IMAGES = np.arange(8 * 25, dtype=np.uint8).reshape(8, 5, 5)
LABELS = np.arange(8) % 2
FEW = ("--config.data.num_examples=1200", "--config.data.classes=4")


def _result(content: str) -> Callable[[pathlib.Path], None]:
  """Writes a result.json of the run that `_predict` names."""

  def make(folder: pathlib.Path) -> None:
    run = folder / "run/runs/a"
    run.mkdir(parents=True)
    (run / "result.json").write_text(content)

  return make


# Tables: the code, the place and the input, a case a line.

# The quickstart with these options.
OPTIONS = """
unknown  | stray | stray
unknown  | --workdr | --workdr=x
syntax   | --config.trials | --config.trials
type     | --profile | --profile=maybe
missing  | --flagfile | --flagfile=none.txt
unknown  | --config.trails | --config.trails=3
unknown  | --config.data.clases | --config.data.clases=5
unknown  | --config.samplers.bandit.epsilom | --config.samplers.bandit.epsilom=1
unknown  | --config.samplers.bandt | --config.samplers.bandt.epsilon=1
unknown  | --config.seed.x | --config.seed.x=1
unknown  | baseline | --config.baseline=unifrom
unknown  | model | --config.model.name=resnet
unknown  | optimizer.name | --config.optimizer.name=adma
unknown  | optimizer.schedule | --config.optimizer.schedule=step
unknown  | samplers.bandit | --config.samplers.bandit.name=bandit
unknown  | samplers.bandit.gain | --config.samplers.bandit.gain=pg
unknown  | samplers.bandit.partition | --config.samplers.bandit.partition=dificulty
unknown  | samplers.bandit.bandit | --config.samplers.bandit.bandit=softmax(lerning_rate=1)
unknown  | data.source | --config.data.source=web
type     | --config.seed | --config.seed=1.5
type     | --config.trials | --config.trials=three
type     | --config.data.valid_fraction | --config.data.valid_fraction=half
type     | --config.data.recognized_only | --config.data.recognized_only=maybe
type     | --config.data | --config.data=5
type     | samplers.bandit.gain.probe_size | --config.samplers.bandit.gain=influence(probe_size='x')
type     | samplers.bandit.reward.window | --config.samplers.bandit.reward=rank(window=1.5)
type     | model.width | --config.model.name=cnn(width='wide')
type     | optimizer.name.momentum | --config.optimizer.name=sgd(momentum='much')
argument | optimizer.name | --config.optimizer.name=adam(mu_dtype='float7')
syntax   | samplers.bandit.reward | --config.samplers.bandit.reward=rank(window=5, window=6)
syntax   | samplers.bandit.reward | --config.samplers.bandit.reward=rank(window={[]: 1})
syntax   | samplers.bandit.reward | --config.samplers.bandit.reward=open('/etc/passwd')
range    | trials | --config.trials=0
range    | batch_size | --config.batch_size=-1
range    | num_evals | --config.num_evals=0
range    | seed | --config.seed=-1
range    | seed | --config.seed=99999999999
unknown  | trials_by | --config.trials_by=pmap
unknown  | on_nonfinite | --config.on_nonfinite=ignore
range    | checkpoint.keep | --config.checkpoint.keep=0
unknown  | tracking | --config.tracking=tensorbord
conflict | tracking | --config.tracking=none,tensorboard
conflict | tracking_uri | --config.tracking_uri=http://x
range    | checkpoint.minutes | --config.checkpoint.minutes=-1
range    | checkpoint.steps | --config.checkpoint.steps=-5
unknown  | budget_basis | --config.budget_basis=seconds
range    | thresholds | --config.thresholds=high
argument | model | --config.model.name=cnn(width=-1)
argument | model | --config.model.name=cnn(width=1e999)
range    | optimizer.learning_rate | --config.optimizer.learning_rate=0
range    | optimizer.learning_rate | --config.optimizer.learning_rate=nan
argument | samplers.bandit | --config.samplers.bandit.epsilon=2
unknown  | samplers.bandit.epsilon | --config.samplers.bandit.epsilon=lots
argument | samplers.bandit.bandit | --config.samplers.bandit.bandit=softmax(learning_rate=1e999)
argument | samplers.bandit.reward | --config.samplers.bandit.reward=rank(window=1)
argument | samplers.bandit | --config.samplers.bandit.interval=0
argument | samplers.bandit.gain | --config.samplers.bandit.gain=influence(probe_size=0)
argument | samplers.bandit.gain | --config.samplers.bandit.gain=influence(prepare_interval=0)
unknown  | data.render | --config.data.render=never
unknown  | data.pool | --config.data.pool=disk
argument | augment | --config.augment=affine(rotate=200)
unknown  | augment | --config.augment=afine
unknown  | loss | --config.loss=crossentropy
unknown  | difficulty.scorer | --config.difficulty.scorer=doubt
argument | data | --config.data.image_size=0
argument | data | --config.data.stroke_decay=2
argument | data | --config.data.channels=ink,colour
conflict | data.channels | --config.data.channels=ink,speed
argument | data | --config.data.classes=99
type     | data.classes | --config.data.classes=cat
argument | data | --config.data.num_examples=5
memory   | data | --config.data.num_examples=99999999999999
unknown  | data.on_error | --config.data.on_error=ignore
range    | data.max_bytes | --config.data.max_bytes=0
range    | data.max_pixels | --config.data.max_pixels=0
range    | data.value_range | --config.data.value_range=255
range    | data.value_range | --config.data.value_range=1,0
syntax   | data.background | --config.data.background=paper
range    | data.max_per_class | --config.data.max_per_class=-1
argument | data | --config.data.scribble_fraction=2.0
range    | data.label_noise | --config.data.label_noise=1.0
unknown  | data.label_noise_kind | --config.data.label_noise_kind=pair
range    | data.imbalance | --config.data.imbalance=0.5
range    | data.copies | --config.data.copies=0
range    | data.train_examples | --config.data.train_examples=-1
argument | data | --config.data.probe_fraction=-0.1
syntax   | budget | --config.budget=fast
syntax   | budget | --config.budget=0 steps
range    | budget | --config.budget=9999999999 steps
range    | budget | --config.budget=3 examples
range    | budget | --config.budget=2147483647 steps
syntax   | difficulty.budget | --config.difficulty.budget=0 epochs
conflict | difficulty.seed | --config.difficulty.seed=1
unknown  | difficulty.train_on | --config.difficulty.train_on=test
conflict | difficulty.train_on | --config.difficulty.train_on=probe
conflict | difficulty.train_on | --config.difficulty.train_on=cross --config.difficulty.scorer=aum
unsupported | difficulty.file | --config.difficulty.file=scores.txt FEW
missing  | difficulty.file | --config.difficulty.file=none.csv FEW
range    | scores.irreducible.folds | --config.scores.irreducible.folds=1
conflict | scores.irreducible.seed | --config.scores.irreducible.seed=0
range    | scores_shared_by | --config.scores_shared_by=0
argument | data | --config.data.valid_fraction=1.0
argument | data | --config.data.valid_fraction=0.9
unknown  | data.label_noise_in | --config.data.label_noise_in=test
conflict | data.label_noise_in | --config.data.label_noise_in=probe
conflict | data.dir | --config.data.source=files
conflict | data.dir | --config.data.dir=somewhere
conflict | data.test_dir | --config.data.test_dir=somewhere
unknown  | train_on | --config.train_on=test
conflict | train_on | --config.train_on=train_and_probe
unknown  | model | --config.model.weights=x.h5
argument | model | --config.model.name=resnet50 --config.data.image_size=16
argument | samplers.bandit | --config.samplers.bandit.arms_per_batch=5
unknown  | samplers.bandit.epsilon | --config.samplers.bandit.epsilon=linear(value=1.0, num_steps=9)
unknown  | optimizer.schedule | --config.optimizer.schedule=constant(value=0.1)
argument | samplers.bandit | --config.budget=24 steps --config.samplers.bandit.warmup=24 FEW
argument | samplers.bandit | --config.samplers.bandit.interval=2000 FEW
argument | data | --config.data.num_examples=2 --config.data.classes=2
range    | data.train_examples | --config.data.train_examples=14000
range    | data.train_examples | --config.data.train_examples=10
argument | difficulty.num_arms | --config.difficulty.num_arms=50000
argument | samplers.bandit | --config.batch_size=2000 --config.samplers.bandit.warmup=0
range    | difficulty.budget | --config.batch_size=20000 FEW
missing  | samplers.uniform.policy.run | --config.samplers.uniform.name=fixed_policy(policy='replay')
"""

# The whole command line.
COMMAND_LINES = """
missing  | --config=configs/none.py | --config=configs/none.py
missing  | --config=configs/quikstart.py | --config=configs/quikstart.py
missing  | --config=configs | --config=configs
missing  | --config | --config=
syntax   | --config | --config
syntax   | --config=configs/quickstart.py | --config=configs/quickstart.py:scale=1
argument | --config=configs/paper.py | --config=configs/paper.py:part=three
argument | --config=configs/paper.py | --config=configs/paper.py:scale=0
argument | --config=configs/paper.py | --config=configs/paper.py:scale=big
argument | --config=configs/paper.py | --config=configs/paper.py:scales=1
argument | --config=configs/influence.py | --config=configs/influence.py:part=some
argument | --config=configs/ablation.py | --config=configs/ablation.py:norm=layer
argument | --config=configs/honest.py | --config=configs/honest.py:rates=
"""

# The quickstart in a file, changed by this line.
CHANGES = """
unknown  | trails | config.trails = 3
missing  | budget | del config.budget
unknown  | optimizer.momentum | config.optimizer.momentum = 0.9
syntax   | samplers | config.samplers['/tmp/x'] = config.samplers.uniform
unknown  | samplers.uniform.run | config.samplers.uniform.run = {'batchsize': 4}
type     | trials | config.trials = '3'
type     | trials | config.trials = True
type     | data | config.data = 5
missing  | samplers | config.samplers = {}
syntax   | --config=DIR/x.py, line 4 | config.samplers.uniform = 'uniform'
missing  | samplers.uniform.name | del config.samplers.uniform.name
type     | samplers.uniform.run | config.samplers.uniform.run = 5
type     | samplers.uniform.run.model | config.samplers.uniform.run = {'model': 'cnn'}
"""

TUNE = """
syntax   | tune lr | lr
syntax   | tune | rl
missing  | --config=configs/quikstart.py | lr --config=configs/quikstart.py
range    | --steps | lr QUICKSTART --steps=5
range    | --low | lr QUICKSTART --low=1 --high=0.1
unknown  | --sampler | lr QUICKSTART --sampler=bandti
syntax   | tune grid | grid QUICKSTART
syntax   | batch_size | grid QUICKSTART batch_size
conflict | batch_size | grid QUICKSTART batch_size=8,8
unsupported | trials | grid QUICKSTART trials=1,2
range    | batch_size | grid QUICKSTART batch_size=8,0
"""

CASES = [
  *(
    _option(code, place, *_split(text)) for code, place, text in _rows(OPTIONS)
  ),
  *(
    _args(code, place, *_split(text))
    for code, place, text in _rows(COMMAND_LINES)
  ),
  *(_changed(code, place, text) for code, place, text in _rows(CHANGES)),
  *(_tune(code, place, *_words(text)) for code, place, text in _rows(TUNE)),
  _args("missing", "--config"),
  Case(
    "data",
    "a folder that is not there",
    (
      *(QUICKSTART, "--config.data.source=files"),
      "--config.data.dir=DIR/none",
    ),
    "missing",
    "DIR/none",
  ),
  Case(
    "data",
    "a file where a folder is meant",
    (QUICKSTART, "--config.data.source=files", "--config.data.dir=DIR/f"),
    "missing",
    "DIR/f",
    lambda folder: (folder / "f").write_text(""),
  ),
  Case(
    "data",
    "a .npz that is not there",
    (QUICKSTART, "--config.data.source=npz", "--config.data.dir=DIR/a.npz"),
    "missing",
    "DIR/a.npz",
  ),
  Case(
    "weights",
    "a file that is not there",
    (
      QUICKSTART,
      "--config.model.name=resnet50(weights='none.h5')",
      "--config.data.image_size=64",
    ),
    "argument",
    "model",
  ),
  Case(
    "workdir",
    "a cache within a file",
    (QUICKSTART, "--config.cache_dir=README.md/cache"),
    "disk",
    "--config.cache_dir",
  ),
  Case(
    "workdir",
    "a run to replay that is not there",
    (
      QUICKSTART,
      "--config.samplers.bandit={'name': 'fixed_policy', 'policy': \"replay(run='DIR/run')\", 'partition': 'label'}",
    ),
    "argument",
    "samplers.bandit.policy",
  ),
  Case(
    "workdir",
    "a run to replay whose metrics are cut",
    (
      QUICKSTART,
      "--config.samplers.bandit={'name': 'fixed_policy', 'policy': \"replay(run='DIR/run')\", 'partition': 'label'}",
    ),
    "argument",
    "samplers.bandit.policy",
    _run_holds("metrics.jsonl", '{"step": 1, "policy": [0.5'),
  ),
  _tune("syntax", "tune"),
  _option(
    "syntax",
    "samplers.bandit.reward",
    f"--config.samplers.bandit.reward={'(' * 300}",
  ),
  _option("syntax", "budget", f"--config.budget={'9' * 400} steps"),
  _file(
    "syntax",
    "--config=DIR/x.py, line 1",
    "a config with a syntax error",
    "def get_config(:\n",
  ),
  _file("missing", "--config=DIR/x.py", "an empty config", ""),
  _file(
    "syntax",
    "--config=DIR/x.py, line 1",
    "a config of other bytes than UTF-8",
    b"x = '\xff'\n",
  ),
  _file(
    "syntax",
    "--config=DIR/x.py, line 2",
    "a config that raises",
    "def get_config():\n  return 1 / 0\n",
  ),
  _file(
    "syntax",
    "--config=DIR/x.py, line 1",
    "a config that imports what is not there",
    "import nonesuch\n",
  ),
  _file(
    "type",
    "--config=DIR/x.py",
    "`get_config` that returns nothing",
    "def get_config():\n  pass\n",
  ),
  _file(
    "type",
    "--config=DIR/x.py",
    "`get_config` that returns a dict",
    "def get_config():\n  return {}\n",
  ),
  _file(
    "missing",
    "augment",
    "a `ConfigDict` without fields",
    "from ml_collections import ConfigDict as get_config\n",
  ),
  _file(
    "syntax",
    "--config=DIR/x.py",
    "no argument, where `get_config` needs one",
    "def get_config(text):\n  return text\n",
  ),
  _drawings("missing", "DIR/data", "an empty folder", {}),
  _drawings(
    "missing", "DIR/data", "files of other kinds", {"ant.txt": "1,2\n"}
  ),
  _drawings("data", "DIR/data/ant.ndjson", "an empty file", _two("\n")),
  _drawings("data", "data.classes", "one class", {"ant.ndjson": _lines()}),
  _drawings(
    "unknown",
    "data.classes",
    "an unknown class",
    _two(_lines()),
    "--config.data.classes=be",
  ),
  _drawings(
    "missing",
    "data.classes",
    "no class",
    _two(_lines()),
    "--config.data.classes=",
  ),
  _drawings(
    "range",
    "data.classes",
    "more classes than files",
    _two(_lines()),
    "--config.data.classes=3",
  ),
  _drawings(
    "data",
    "DIR/data/ant.ndjson:41",
    "a truncated line",
    _two(_lines() + _line()[:-9]),
  ),
  _drawings(
    "argument",
    "samplers.bandit",
    "the same key for every drawing",
    _two(_lines().replace('"key_id"', '"key_id": "1", "x"')),
  ),
  _drawings(
    "argument", "data", "two drawings a class", _two(_lines(2), _lines(2))
  ),
  _drawings(
    "data",
    "DIR/data/ant.ndjson",
    "none that was recognized",
    _two(_lines(recognized=False)),
    "--config.data.recognized_only=True",
  ),
  _drawings(
    "data",
    "DIR/data/ant.ndjson",
    "all of a class skipped",
    _two("[1]\n"),
    "--config.data.on_error=skip",
  ),
  _drawings(
    "data",
    "data.classes",
    "a class whose name has a line break",
    _two(_lines()) | {"a\nb.ndjson": _lines()},
  ),
  _drawings(
    "data",
    "data.classes",
    "a class whose name is not UTF-8",
    _two(_lines()) | {"\udcff.ndjson": _lines()},
  ),
  _drawings(
    "data",
    "data.classes",
    "a class whose name is a blank",
    _two(_lines()) | {" .ndjson": _lines()},
  ),
  _drawings(
    "missing",
    "DIR/data",
    "files that were not prepared, with `data.source=prepared`",
    _two(_lines()),
    "--config.data.source=prepared",
  ),
  _drawings(
    "conflict",
    "DIR/data",
    "prepared data, with `data.source=files`",
    _two(_lines()) | {"manifest.json": "{}"},
  ),
  _drawings(
    "damaged",
    "DIR/data",
    "prepared data whose manifest is cut",
    {"manifest.json": '{"kind": "Stro'},
    "--config.data.source=prepared",
  ),
  _drawings(
    "damaged",
    "DIR/data",
    "prepared data whose manifest someone has edited",
    {"manifest.json": '{"kind": "Strokes", "checksums": {}, "digest": "0"}'},
    "--config.data.source=prepared",
  ),
  _drawings(
    "conflict",
    "DIR/data",
    "two files of a class",
    _two(_lines()) | {"full_raw_ant.ndjson": _lines()},
  ),
  _drawings(
    "data",
    "DIR/data/ant.bin, record 2",
    "a truncated .bin",
    {"ant.bin": _RECORD + _RECORD[:-1], "bee.bin": _RECORD},
  ),
  _drawings(
    "data",
    "DIR/data/ant.bin, record 1",
    "a .bin that is something else",
    {"ant.bin": b"a text, and no drawing" * 9999, "bee.bin": _RECORD},
  ),
  _drawings(
    "data",
    "DIR/data/ant.bin, record 1",
    "a .bin of zeros",
    {"ant.bin": bytes(99), "bee.bin": _RECORD},
  ),
  _drawings(
    "data",
    "DIR/data/ant.bin",
    "an empty .bin",
    {"ant.bin": b"", "bee.bin": _RECORD},
  ),
  _drawings(
    "data",
    "DIR/data/test_simplified.csv",
    "Kaggle's test file among the others",
    {"bee.csv": _ROWS, "test_simplified.csv": "key_id,countrycode,drawing\n"},
  ),
  _drawings(
    "data",
    "DIR/data/ant.csv",
    "a CSV of something else",
    {"ant.csv": "1,2\n", "bee.csv": _ROWS},
  ),
  _drawings(
    "data",
    "DIR/data/ant.csv:2",
    "a CSV whose drawing is no JSON",
    {"ant.csv": "drawing,word\ncat,cat\n", "bee.csv": _ROWS},
  ),
  _drawings(
    "data",
    "DIR/data/ant.csv:2",
    "a CSV with a quote that is not closed",
    {"ant.csv": _ROWS.replace(']",', "],"), "bee.csv": _ROWS},
  ),
  _drawings(
    "data",
    "DIR/data/ant.csv:2",
    "a CSV whose drawing has no quotes",
    {"ant.csv": _ROWS.replace('"', ""), "bee.csv": _ROWS},
  ),
  _drawings(
    "conflict",
    "DIR/data",
    "both drawings and bitmaps",
    _two(_lines())
    | {"full_numpy_bitmap_cat.npy": _header("(1, 784)", bytes(784))},
  ),
  _drawings(
    "data",
    "DIR/data/train.ndjson:1",
    "a file of another word than its name",
    _two(_lines()) | {"train.ndjson": _lines(word="cat")},
    "--config.data.on_error=skip",
  ),
  _drawings(
    "conflict",
    "DIR/data",
    "a browser's second download",
    _two(_lines()) | {"ant (1).ndjson": _lines()},
  ),
  Case(
    "data",
    "a FIFO among the drawings",
    (QUICKSTART, "--config.data.source=files", "--config.data.dir=DIR"),
    "data",
    "DIR/cat.ndjson",
    lambda folder: os.mkfifo(folder / "cat.ndjson"),
  ),
  _drawings(
    "data",
    "DIR/data/ant.ndjson",
    "a file of one drawing of each form",
    _two(_line() + "\n" + _line([[0, 1], [2, 3], [4, 5], [6, 7]])),
    "--config.data.on_error=skip",
  ),
  _drawings(
    "data",
    "DIR/data/ant.ndjson",
    "strokes that may be lists of x and of y, or points",
    _two(_line([[0, 9], [0, 9]])),
  ),
  _drawings(
    "unknown",
    "data.stroke_form",
    "a form of strokes that does not exist",
    _two(_lines()),
    "--config.data.stroke_form=columns",
  ),
  _drawings(
    "data",
    "DIR/data/ant.json:1",
    "an array of drawings that was cut off",
    {"ant.json": f"[{_line()}, {_line()}", "bee.json": f"[{_line()}]"},
  ),
  _drawings(
    "damaged",
    "DIR/data/ant.ndjson.gz",
    "a file of gzip that is none",
    {"ant.ndjson.gz": _lines(), "bee.ndjson": _lines()},
  ),
  _drawings(
    "conflict",
    "DIR/data",
    "a file of an unknown compression",
    _two(_lines()) | {"cat.ndjson.zst": _lines()},
  ),
  _bad_line("`recognized` that is a word", _line(recognized="no")),
  _bad_line("bytes that are not UTF-8", b'{"word": "\xff"}\n'),
  _bad_line("a line of JSON that is no object", "[1, 2]\n"),
  _bad_line("JSON nested 100,000 deep", "[" * 100_000),
  _bad_line("a drawing without strokes", '{"drawing": []}\n'),
  _bad_line("a drawing that is a text", '{"drawing": "cat"}\n'),
  _bad_line("a stroke without points", _line([[], []])),
  _bad_line("x and y of unequal length", _line([[0, 1], [0]])),
  _bad_line("a coordinate of 256", _line([[0, 256, 5, 6], [0, 1, 2, 3]])),
  _bad_line("a coordinate of 0.5", _line([[0, 0.5, 5, 6], [0, 1, 2, 3]])),
  _bad_line(
    "a coordinate that is NaN", _line([[0, np.nan, 5, 6], [0, 1, 2, 3]])
  ),
  _bad_line('a coordinate that is "7"', _line([[0, "7", 5, 6], [0, 1, 2, 3]])),
  _bad_line(
    "a raw coordinate of 1e400",
    _line([[0, 1, 2, 3]] * 3).replace("[[[0, 1", "[[[0, 1e400"),
  ),
  _bad_line(
    "a drawing of a million points",
    _line([[0, 255] * 500_000, [0, 255] * 500_000]),
  ),
  _bad_line(
    "a raw stroke of 100,000 leaps across the page",
    _line([[0, 900] * 50_000, [0, 9] * 50_000, [0, 1] * 50_000]),
  ),
  _bad_line("a key that is a list", _line(key_id=[1])),
  _bitmap("damaged", "an empty .npy", b""),
  _bitmap("damaged", "a truncated .npy", _header("(2, 784)", bytes(784))),
  _bitmap(
    "damaged",
    "a .npy whose header claims 2^62 rows",
    _header(f"({2**62}, 784)"),
  ),
  _bitmap(
    "damaged", "a .npy whose header claims -1 rows", _header("(-1, 784)")
  ),
  _bitmap("data", "a .npy without rows", _header("(0, 784)")),
  _bitmap(
    "data", "a .npy of 700 pixels a row", _header("(1, 700)", bytes(700))
  ),
  _bitmap(
    "damaged", "a .npy whose header is a program", _header("__import__('os')")
  ),
  _bitmap(
    "data",
    "a .npy of float64",
    _header("(1, 98)", bytes(784)).replace(b"|u1", b"<f8"),
  ),
  _bitmap(
    "damaged",
    "a .npy of Python objects, a pickle",
    _header("(1, 784)").replace(b"'|u1'", b"'|O' "),
  ),
  _set(
    "unknown",
    "data.dir",
    "a set of TensorFlow Datasets that is not there",
    "mnits",
  ),
  _set(
    "unknown",
    "data.dir",
    "a folder that is no set of TensorFlow Datasets",
    "DIR",
  ),
  _set(
    "unknown", "data.dir", "a version of a set that there is not", "mnist:9.9.9"
  ),
  _set("missing", "data.dir", "a set that is not prepared", "mnist"),
  _set(
    "damaged",
    "DIR/1.0.0",
    "a set whose `dataset_info.json` is cut",
    "DIR/1.0.0",
    lambda folder: (
      (folder / "1.0.0").mkdir(),
      (folder / "1.0.0" / "dataset_info.json").write_text("{"),
    ),
  ),
  _npz_file("damaged", "an empty .npz", _bytes(b"")),
  _npz_file("data", "a folder in place of a .npz", lambda path: path.mkdir()),
  _npz_file(
    "damaged", "a .npy called .npz", _bytes(_header("(1, 784)", bytes(784)))
  ),
  _npz_file("damaged", "an encrypted .npz", _encrypted),
  _npz_file("damaged", "a truncated .npz", _cut(_npz(IMAGES, LABELS))),
  _npz_file(
    "data", "a .npz of other names", lambda path: np.savez(path, a=IMAGES)
  ),
  _npz_file(
    "damaged",
    "labels that are Python objects, a pickle",
    _npz(IMAGES, np.array([None] * 8)),
  ),
  _npz_file(
    "damaged",
    "images whose header claims a billion rows",
    _zip(_header("(1000000000, 5, 5)", bytes(9))),
  ),
  _npz_file("data", "images of 16 bits", _npz(IMAGES * np.uint16(257), LABELS)),
  _npz_file("data", "images of 0 and 1", _npz(IMAGES % 2, LABELS)),
  _npz_file("data", "channels first", _npz(IMAGES[:, None], LABELS)),
  _npz_file("data", "a FIFO in place of a .npz", os.mkfifo),
  _npz_file(
    "data",
    "a small .npz that expands to 3 GB",
    lambda path: _bomb(path, 3 * 2**30),
  ),
  _npz_file(
    "data", "images of floats to 255", _npz(IMAGES.astype(float), LABELS)
  ),
  _npz_file(
    "data", "images that hold NaN", _npz(np.full((8, 5, 5), np.nan), LABELS)
  ),
  _npz_file("data", "images of two axes", _npz(IMAGES[0], LABELS)),
  _npz_file(
    "argument",
    "images of 2 x 2 pixels",
    _npz(
      np.random.default_rng(0).integers(0, 255, (400, 2, 2), np.uint8),
      np.arange(400) % 2,
    ),
    place="model",
  ),
  _npz_file("data", "no images", _npz(IMAGES[:0], LABELS[:0])),
  _npz_file("data", "fewer labels than images", _npz(IMAGES, LABELS[:3])),
  _npz_file("data", "labels with halves", _npz(IMAGES, LABELS / 2)),
  _npz_file("data", "a label of -1", _npz(IMAGES, LABELS - 1)),
  _npz_file("data", "a label that is NaN", _npz(IMAGES, LABELS * np.nan)),
  _npz_file("data", "one-hot labels", _npz(IMAGES, np.eye(2)[LABELS])),
  _npz_file(
    "data",
    "labels that differ in a blank",
    _npz(IMAGES, np.array(["a", "a ", "b", "b"] * 2)),
  ),
  _npz_file("data", "one label", _npz(IMAGES, LABELS * 0)),
  _npz_file(
    "data",
    "a label that is no text",
    _npz(IMAGES, np.array(["a", "\ud800"] * 4)),
  ),
  _npz_file("data", "the same image eight times", _npz(IMAGES * 0, LABELS)),
  _weights("a folder", lambda path: path.mkdir()),
  _weights("an empty file", _bytes(b"")),
  _weights("a pickle of PyTorch", _bytes(b"PK\x03\x04" + bytes(99))),
  _weights("HDF5 of something else", _hdf5),
  _weights("truncated HDF5", _cut(_hdf5)),
  _weights("truncated safetensors", _cut(_safetensors(a=np.zeros(99)))),
  _weights(
    "safetensors whose header is no JSON",
    _bytes((8).to_bytes(8, "little") + b"{]]]]]]]"),
  ),
  _weights(
    "safetensors whose header claims 2^60 bytes",
    _bytes((2**60).to_bytes(8, "little") + b"{}"),
  ),
  _weights("layers without weights", _keras({"conv1": {}})),
  _weights(
    "a kernel of another shape",
    _keras({"conv1": {"kernel": np.zeros((3, 3, 3, 4), np.float32)}}),
  ),
  _weights(
    "a group where a tensor is meant", _keras({"conv1": {"kernel": {}}})
  ),
  _workdir(
    "disk",
    "--workdir",
    "a file",
    lambda folder: (folder / "run").write_text(""),
  ),
  _workdir(
    "disk",
    "--workdir",
    "a folder within a file",
    lambda folder: (folder / "f").write_text(""),
    "DIR/f/run",
  ),
  _workdir(
    "disk",
    "--workdir",
    "a name of 300 letters",
    lambda folder: None,
    f"DIR/{'x' * 300}",
  ),
  _workdir(
    "disk",
    "--workdir",
    "a link to nothing",
    lambda folder: (folder / "a").symlink_to(folder / "b"),
    "DIR/a",
  ),
  _workdir(
    "disk",
    "--workdir",
    "a name that Orbax reads as another",
    lambda folder: None,
    "DIR/back\\slash",
  ),
  _workdir("syntax", "--workdir", "no name", lambda folder: None, ""),
  Case(
    "workdir",
    "a database in a folder that no URL can name",
    (QUICKSTART, "--workdir=DIR/a?b", "--config.tracking=mlflow"),
    "disk",
    "tracking",
  ),
  _workdir(
    "exists",
    "--workdir",
    "figures that are a link",
    _links("figures"),
  ),
  _workdir("exists", "--workdir", "a lock that is a link", _links(".lock")),
  _workdir(
    "exists",
    "--workdir",
    "a folder whose `runs` are not an experiment's",
    _run_holds("runs/thesis.tex", "x"),
  ),
  _workdir(
    "damaged",
    "DIR/run/config.json",
    "a `config.json` that is cut",
    _run_holds("config.json", '{"seed":'),
  ),
  _workdir(
    "damaged",
    "DIR/run/config.json",
    "a `config.json` that is a list",
    _run_holds("config.json", "[]"),
  ),
  _workdir(
    "damaged",
    "DIR/run/config.json",
    "a `config.json` that is not UTF-8",
    _run_holds("config.json", b"\xff"),
  ),
  _workdir(
    "damaged",
    "DIR/run/config.json",
    "a `config.json` nested 100,000 deep",
    _run_holds("config.json", "[" * 100_000),
  ),
  _workdir(
    "mismatch", "--workdir", "an experiment of another seed", _other_seed
  ),
  _workdir(
    "damaged",
    "DIR/run/runs/uniform/result.json",
    "a `result.json` that is cut",
    _finished('{"sampler":'),
  ),
  _predict("missing", "DIR/run/runs/a/result.json", "a run that is not there"),
  _predict(
    "missing",
    "DIR/run/runs/a/result.json",
    "a run that is not finished",
    make=lambda folder: (folder / "run/runs/a/checkpoints").mkdir(parents=True),
  ),
  _predict(
    "damaged",
    "DIR/run/runs/a/result.json",
    "a `result.json` that is cut",
    make=_result("{"),
  ),
  _predict(
    "missing",
    "DIR/run/config.json",
    "a run without its experiment",
    make=_result('{"steps": 1, "trials": []}'),
  ),
  _predict(
    "exists",
    "--out",
    "a submission that is there",
    make=lambda folder: (folder / "a.csv").write_text(""),
  ),
  _predict("missing", "--out", "`--out=DIR/no/a.csv`", "--out=DIR/no/a.csv"),
  _predict(
    "syntax",
    "predict",
    "`--trials=1,1`",
    "--trials=1,1",
  ),
]
