"""Bad input, and the one sentence that is said of each: a table.

  python tests/bad_input.py > ERRORS.md

`DIR` stands for a folder of the case's own, in which `make` writes; `…` for
words that others than we choose.
"""

import json
import pathlib
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
  given: str  # in words or options
  args: tuple[str, ...]  # of the command line, but for --workdir
  said: str
  make: Callable[[pathlib.Path], None] = lambda folder: None
  command: str = "main"  # or a module beside it


def _option(said: str, *options: str) -> Case:
  """Of the quickstart."""
  return Case("config", _code(*options), (QUICKSTART, *options), said)


def _tune(said: str, *args: str) -> Case:
  given = _code(*args) or "no argument"
  args = (*args, "--out=DIR/out") if args else args
  return Case(
    "python -m alcurr.experiments.tune", given, args, said, command="tune"
  )


def _predict(
  said: str,
  given: str,
  *args: str,
  make: Callable[[pathlib.Path], None] = lambda folder: None,
) -> Case:
  """What is said of a run in DIR/run/runs/a, if `args` are options alone."""
  args = ("DIR/run/runs/a", "--data=DIR/test.csv", "--out=DIR/a.csv", *args)
  kind = "python -m alcurr.experiments.predict"
  return Case(kind, given, args, said, make, "predict")


def _args(said: str, *args: str) -> Case:
  return Case("config", _code(*args) or "no argument", args, said)


def _code(*parts: str) -> str:
  return f"`{' '.join(parts)}`" if parts else ""


def _file(said: str, given: str, content: str | bytes, after: str = "") -> Case:
  """A config file of this content, and what stands after its name."""

  def make(folder: pathlib.Path) -> None:
    data = content.encode() if isinstance(content, str) else content
    (folder / "x.py").write_bytes(data)

  return Case("config", given, (f"--config=DIR/x.py{after}",), said, make)


def _changed(said: str, given: str, change: str) -> Case:
  """A config file that changes the quickstart by a line of Python."""
  return _file(
    said,
    given,
    "from configs import quickstart\n"
    "def get_config():\n"
    "  config = quickstart.get_config()\n"
    f"  {change}\n"
    "  return config\n",
  )


def _drawings(
  said: str, given: str, files: dict[str, str | bytes], *options: str
) -> Case:
  """A folder of files; `options` come after those that name it."""

  def make(folder: pathlib.Path) -> None:
    data = folder / "data"
    data.mkdir()
    for name, content in files.items():
      raw = content.encode() if isinstance(content, str) else content
      (data / name).write_bytes(raw)

  args = (
    *(QUICKSTART, "--config.data.source=files", "--config.data.dir=DIR/data"),
    *("--config.data.classes=all", *options),
  )
  return Case("data", given, args, said, make)


def _bitmap(said: str, given: str, content: bytes) -> Case:
  """A folder of two bitmap files, the first of this content."""
  name, good = "full_numpy_bitmap_{}.npy", _header("(1, 784)", bytes(784))
  files = {name.format("ant"): content, name.format("bee"): good}
  return _drawings(said, given, files)


def _set(
  said: str, given: str, where: str, make: Callable = lambda folder: None
) -> Case:
  """A set of TensorFlow Datasets."""
  args = ("--config.data.source=tfds", f"--config.data.dir={where}")
  return Case("data", given, (QUICKSTART, *args), said, make)


def _arrays(said: str, given: str, write: Callable[..., None]) -> Case:
  """A file a.npz that `write(path)` leaves."""
  args = ("--config.data.source=npz", "--config.data.dir=DIR/a.npz")
  return Case(
    *("data", given, (QUICKSTART, *args), said),
    lambda folder: write(folder / "a.npz"),
  )


def _npz(images: np.ndarray, labels: object, **more) -> Callable[..., None]:
  return lambda path: np.savez(path, images=images, labels=labels, **more)


def _weights(said: str, given: str, write: Callable[..., None]) -> Case:
  """A file `w` of weights for a MobileNet."""
  args = ("--config.model.name=mobilenet", "--config.model.weights=DIR/w")
  # Images large enough for it.
  args = (QUICKSTART, *args, "--config.data.image_size=32")
  return Case(
    *("weights", given, args, said), lambda folder: write(folder / "w")
  )


def _workdir(
  said: str, given: str, make: Callable[..., None], workdir: str = "DIR/run"
) -> Case:
  """A --workdir that `make(folder)` has left something in."""
  args = (QUICKSTART, f"--workdir={workdir}")
  return Case("workdir", given, args, said, make)


def _line(*strokes: list, **more: object) -> str:
  return json.dumps({"drawing": strokes or [[[0, 9], [0, 9]]]} | more)


def _lines(count: int = 40, **more: object) -> str:
  return "".join(_line(key_id=str(i), **more) + "\n" for i in range(count))


def _two(first: str | bytes, second: str | None = None) -> dict:
  return {"ant.ndjson": first, "bee.ndjson": second or _lines()}


# A drawing as .bin and as Kaggle's CSV have it.
_RECORD = struct.pack("<Q2sbIHH4B", 5012, b"US", 1, 9, 1, 2, 0, 9, 255, 3)
_ROWS = 'drawing,word\n"[[[0,9],[0,9]]]",cat\n'


def _header(shape: str, content: bytes = b"") -> bytes:
  """A .npy file of a header that may lie."""
  text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
  text = text.ljust(117) + "\n"
  return (
    b"\x93NUMPY\x01\x00"
    + len(text).to_bytes(2, "little")
    + (text.encode() + content)
  )


def _zip(images: bytes) -> Callable[..., None]:
  """An archive of an entry as it is, beside good labels."""

  def write(path: pathlib.Path) -> None:
    np.savez(path, labels=np.arange(8) % 2)
    with zipfile.ZipFile(path, "a") as archive:
      archive.writestr("images.npy", images)

  return write


def _encrypted(path: pathlib.Path) -> None:
  """An archive whose entries say that they are encrypted."""
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
  """An .h5 as Keras's, of layers with tensors by name."""

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
  """A workdir in which a file is."""

  def make(folder: pathlib.Path) -> None:
    path = folder / "run" / name
    path.parent.mkdir(parents=True)
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(raw)

  return make


def _write_quickstart(folder: pathlib.Path) -> dict:
  from configs import quickstart

  (folder / "run").mkdir()
  config = quickstart.get_config().to_dict()
  (folder / "run" / "config.json").write_text(json.dumps(config))
  return config


def _finished(content: str) -> Callable[..., None]:
  """A workdir of the quickstart with a finished run of this result."""

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


# The cases of each kind; `python tests/bad_input.py` prints them as a page.
def _result(content: str) -> Callable[[pathlib.Path], None]:
  """A result.json of the run that `_predict` names."""

  def make(folder: pathlib.Path) -> None:
    run = folder / "run/runs/a"
    run.mkdir(parents=True)
    (run / "result.json").write_text(content)

  return make


CASES = [
  # --- the command line
  _args("Name an experiment: --config=configs/quickstart.py."),
  _args(
    "--config=configs/none.py: there is no such file.",
    "--config=configs/none.py",
  ),
  _args(
    "--config=configs/quikstart.py: there is no such file. Did you mean configs/quickstart.py?",
    "--config=configs/quikstart.py",
  ),
  _args("--config=configs is a folder; name a file in it.", "--config=configs"),
  _args("Name an experiment: --config=configs/quickstart.py.", "--config="),
  _args("Missing value for flag --config.", "--config"),
  _args(
    "Found --config.trials=3 in argv before a value for --config was specified.",
    "--config.trials=3",
    QUICKSTART,
  ),
  _option("Unknown argument 'stray'; options begin with --.", "stray"),
  _option(
    "Unknown command line flag 'workdr'. Did you mean: workdir ?", "--workdr=x"
  ),
  _option("Missing value for flag --config.trials.", "--config.trials"),
  _option("--profile=maybe: write true or false.", "--profile=maybe"),
  _option(
    "--flagfile: [Errno 2] No such file or directory: 'none.txt'; name a file.",
    "--flagfile=none.txt",
  ),
  # --- files of configs
  _file(
    "--config=DIR/x.py, line 1: SyntaxError: …; mend the file.",
    "a config with a syntax error",
    "def get_config(:\n",
  ),
  _file(
    "--config=DIR/x.py has no get_config(): write one that returns an ml_collections.ConfigDict, as configs/default.py does.",
    "an empty config",
    "",
  ),
  _file(
    "--config=DIR/x.py, line 1: SyntaxError: …; mend the file.",
    "a config of other bytes than UTF-8",
    b"x = '\xff'\n",
  ),
  _file(
    "--config=DIR/x.py, line 2: ZeroDivisionError: division by zero; mend the file.",
    "a config that raises",
    "def get_config():\n  return 1 / 0\n",
  ),
  _file(
    "--config=DIR/x.py, line 1: ModuleNotFoundError: …; mend the file.",
    "a config that imports what is not there",
    "import nonesuch\n",
  ),
  _file(
    "--config=DIR/x.py: get_config() returned NoneType; it must return an ml_collections.ConfigDict, as configs/default.py does.",
    "`get_config` that returns nothing",
    "def get_config():\n  pass\n",
  ),
  _file(
    "--config=DIR/x.py: get_config() returned dict; it must return an ml_collections.ConfigDict, as configs/default.py does.",
    "`get_config` that returns a dict",
    "def get_config():\n  return {}\n",
  ),
  _file(
    "config.seed is missing; start from configs/default.py, which has every field.",
    "a `ConfigDict` without fields",
    "from ml_collections import ConfigDict as get_config\n",
  ),
  _file(
    "--config=DIR/x.py needs arguments after its name, --config=DIR/x.py:...",
    "no argument, where `get_config` needs one",
    "def get_config(text):\n  return text\n",
  ),
  _args(
    "--config=configs/quickstart.py takes nothing after its name, got ':scale=1'.",
    f"{QUICKSTART}:scale=1",
  ),
  _args(
    "--config=configs/paper.py: part must be table1, table2 or all, got 'three'.",
    "--config=configs/paper.py:part=three",
  ),
  _args(
    "--config=configs/paper.py: scale must be positive, got 0.0.",
    "--config=configs/paper.py:scale=0",
  ),
  _args(
    "--config=configs/paper.py: 'scale=big' after the config's name: scale is of type float.",
    "--config=configs/paper.py:scale=big",
  ),
  _args(
    "--config=configs/paper.py: 'scales=1' after the config's name: write part, scale, image, model, batch with their values, such as part=all.",
    "--config=configs/paper.py:scales=1",
  ),
  _args(
    "--config=configs/influence.py: part must be one of settings, arms, controls, all, and probe clean or noisy, got 'some' and 'clean'.",
    "--config=configs/influence.py:part=some",
  ),
  _args(
    "--config=configs/ablation.py: norm must be all or one of batch, group, got 'layer'.",
    "--config=configs/ablation.py:norm=layer",
  ),
  _args(
    "--config=configs/honest.py: 'rates=' after the config's name: rates needs values.",
    "--config=configs/honest.py:rates=",
  ),
  # --- names
  _option(
    "--config.trails: there is no such field. Did you mean --config.trials?",
    "--config.trails=3",
  ),
  _option(
    "--config.data.clases: there is no such field. Did you mean --config.data.classes?",
    "--config.data.clases=5",
  ),
  _option(
    "--config.samplers.bandit.epsilom: there is no such field. Did you mean --config.samplers.bandit.epsilon?",
    "--config.samplers.bandit.epsilom=1",
  ),
  _option(
    "--config.samplers.bandt: there is no such field. Did you mean --config.samplers.bandit?",
    "--config.samplers.bandt.epsilon=1",
  ),
  _option("--config.seed.x: there is no such field.", "--config.seed.x=1"),
  _changed(
    "config.trails: there is no such field. Did you mean trials?",
    "`config.trails = 3` in the file",
    "config.trails = 3",
  ),
  _changed(
    "config.budget is missing; start from configs/default.py, which has every field.",
    "`del config.budget` in the file",
    "del config.budget",
  ),
  _changed(
    "config.optimizer.momentum: there is no such field.",
    "`config.optimizer.momentum = 0.9` in the file",
    "config.optimizer.momentum = 0.9",
  ),
  _option(
    "baseline: no sampler 'unifrom' in this experiment. Known: bandit, bandit_mean, uniform. Did you mean uniform?",
    "--config.baseline=unifrom",
  ),
  _option(
    "model: no 'resnet'. Known: cnn, inception_resnet_v2, mobilenet, nasnet_large, nasnet_mobile, resnet50, se_resnext50_32x4d. Did you mean resnet50?",
    "--config.model.name=resnet",
  ),
  _option(
    "optimizer.name: no 'adma'. Known: adam, adamw, lamb, lion, rmsprop, sgd. Did you mean adam?",
    "--config.optimizer.name=adma",
  ),
  _option(
    "optimizer.schedule: no 'step'. Known: constant, cosine, exponential, linear.",
    "--config.optimizer.schedule=step",
  ),
  _option(
    "samplers.bandit: no 'bandit'. Known: active_bandit, bucketed_curriculum, class_reweighting, curriculum, fixed_policy, uniform. Did you mean active_bandit?",
    "--config.samplers.bandit.name=bandit",
  ),
  _option(
    "samplers.bandit.gain: no 'pg'. Known: first_order_gain, gradient_prediction_gain, influence, mean_prediction_gain, prediction_gain, random_gain, self_prediction_gain, target_prediction_gain.",
    "--config.samplers.bandit.gain=pg",
  ),
  _option(
    "samplers.bandit.partition: no 'dificulty'. Known: difficulty, difficulty_in_pool, label, label_difficulty, shuffled. Did you mean difficulty?",
    "--config.samplers.bandit.partition=dificulty",
  ),
  _option(
    "samplers.bandit.bandit: softmax takes no 'lerning_rate'. Known: learning_rate. Did you mean learning_rate?",
    "--config.samplers.bandit.bandit=softmax(lerning_rate=1)",
  ),
  _option(
    "data.source: no 'web'. Known: files, folder, npz, prepared, synthetic, tfds.",
    "--config.data.source=web",
  ),
  _changed(
    "samplers: '/tmp/x' names a folder; use letters, digits, _ - and ., at most 100.",
    "a sampler called `/tmp/x`",
    "config.samplers['/tmp/x'] = config.samplers.uniform",
  ),
  _changed(
    "samplers.uniform.run: no 'batchsize'. Known: baseline, batch_size, budget, model, optimizer, train_on. Did you mean batch_size?",
    "a sampler's run with a field of its own that there is not",
    "config.samplers.uniform.run = {'batchsize': 4}",
  ),
  # --- types
  _option("--config.seed=1.5: write a whole number.", "--config.seed=1.5"),
  _option(
    "--config.trials=three: write a whole number.", "--config.trials=three"
  ),
  _option(
    "--config.data.valid_fraction=half: write a number.",
    "--config.data.valid_fraction=half",
  ),
  _option(
    "--config.data.recognized_only=maybe: write true or false.",
    "--config.data.recognized_only=maybe",
  ),
  _option("--config.data=5: write another value (…).", "--config.data=5"),
  _changed(
    "--config=DIR/x.py, line 4: TypeError: …; mend the file.",
    "`config.trials = '3'` in the file",
    "config.trials = '3'",
  ),
  _changed(
    "config.trials must be a whole number, got True.",
    "`config.trials = True` in the file",
    "config.trials = True",
  ),
  _changed(
    "--config=DIR/x.py, line 4: TypeError: …; mend the file.",
    "`config.data = 5` in the file",
    "config.data = 5",
  ),
  _changed(
    "config.samplers is empty; give it at least one sampler by name.",
    "no sampler at all",
    "config.samplers = {}",
  ),
  _changed(
    "--config=DIR/x.py, line 4: TypeError: …; mend the file.",
    "a sampler that is a text",
    "config.samplers.uniform = 'uniform'",
  ),
  _changed(
    "samplers.uniform: give it a name. Known: active_bandit, bucketed_curriculum, class_reweighting, curriculum, fixed_policy, uniform.",
    "a sampler without a name",
    "del config.samplers.uniform.name",
  ),
  _changed(
    "samplers.uniform.run must be a ConfigDict of baseline, batch_size, budget, model, optimizer, train_on, got 5.",
    "a sampler's run that is 5",
    "config.samplers.uniform.run = 5",
  ),
  _changed(
    "samplers.uniform.run.model must be what config.model is, got 'cnn'.",
    "a sampler's run with `model = 'cnn'`",
    "config.samplers.uniform.run = {'model': 'cnn'}",
  ),
  _option(
    "samplers.bandit.gain: influence: probe_size must be a whole number, got 'x'.",
    "--config.samplers.bandit.gain=influence(probe_size='x')",
  ),
  _option(
    "samplers.bandit.reward: rank: window must be a whole number or None, got 1.5.",
    "--config.samplers.bandit.reward=rank(window=1.5)",
  ),
  _option(
    "model: cnn: width must be a number, got 'wide'.",
    "--config.model.name=cnn(width='wide')",
  ),
  _option(
    "optimizer.name: sgd: momentum must be a number or None, got 'much'.",
    "--config.optimizer.name=sgd(momentum='much')",
  ),
  _option(
    "optimizer.name: adam: ….",
    "--config.optimizer.name=adam(mu_dtype='float7')",
  ),
  _option(
    "samplers.bandit.reward='rank(window=5, window=6)': write a name, or a name with its arguments such as rank(window=500).",
    "--config.samplers.bandit.reward=rank(window=5, window=6)",
  ),
  _option(
    "samplers.bandit.reward='rank(window={[]: 1})': write a name, or a name with its arguments such as rank(window=500).",
    "--config.samplers.bandit.reward=rank(window={[]: 1})",
  ),
  _option(
    "samplers.bandit.reward='(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((...': write a name, or a name with its arguments such as rank(window=500).",
    f"--config.samplers.bandit.reward={'(' * 300}",
  ),
  _option(
    "samplers.bandit.reward=\"open('/etc/passwd')\": write a name, or a name with its arguments such as rank(window=500).",
    "--config.samplers.bandit.reward=open('/etc/passwd')",
  ),
  # --- ranges
  _option("trials must be at least 1, got 0.", "--config.trials=0"),
  _option("batch_size must be at least 1, got -1.", "--config.batch_size=-1"),
  _option("evaluations must be at least 1, got 0.", "--config.num_evals=0"),
  _option(
    "seed must be from 0 to 4294967295, for each trial, got -1.",
    "--config.seed=-1",
  ),
  _option(
    "seed must be from 0 to 4294967295, for each trial, got 99999999999.",
    "--config.seed=99999999999",
  ),
  _option(
    "trials_by must be vmap or map, got 'pmap'.", "--config.trials_by=pmap"
  ),
  _option(
    "on_nonfinite must be stop or skip_update, got 'ignore'.",
    "--config.on_nonfinite=ignore",
  ),
  _option(
    "checkpoint.keep must be at least 1, got 0.", "--config.checkpoint.keep=0"
  ),
  _option(
    "tracking: no 'tensorbord'. Known: mlflow, none, tensorboard. Did you mean "
    "tensorboard?",
    "--config.tracking=tensorbord",
  ),
  _option(
    "tracking='none,tensorboard': name each tracker once, with commas between "
    "them, or none alone.",
    "--config.tracking=none,tensorboard",
  ),
  _option(
    "tracking_uri='http://x' is MLflow's; add --config.tracking=mlflow, or "
    "leave it out.",
    "--config.tracking_uri=http://x",
  ),
  _option(
    "checkpoint.minutes must be 0 (never) or more, got -1.0.",
    "--config.checkpoint.minutes=-1",
  ),
  _option(
    "checkpoint.steps must be 0 (never) or more, got -5.",
    "--config.checkpoint.steps=-5",
  ),
  _option(
    "budget_basis must be examples or flops, got 'seconds'.",
    "--config.budget_basis=seconds",
  ),
  _option(
    "thresholds='high': write accuracies between 0 and 1 with spaces between them, such as \"0.5 0.8\".",
    "--config.thresholds=high",
  ),
  _option(
    "model: cnn: width must be positive and finite, got -1.",
    "--config.model.name=cnn(width=-1)",
  ),
  _option(
    "model: cnn: width must be positive and finite, got inf.",
    "--config.model.name=cnn(width=1e999)",
  ),
  _option(
    "optimizer.learning_rate must be positive, got 0.0.",
    "--config.optimizer.learning_rate=0",
  ),
  _option(
    "optimizer.learning_rate must be positive, got nan.",
    "--config.optimizer.learning_rate=nan",
  ),
  _option(
    "samplers.bandit: active_bandit: epsilon must be in [0, 1], got 2.0.",
    "--config.samplers.bandit.epsilon=2",
  ),
  _option(
    "samplers.bandit.epsilon: no 'lots'. Known: constant, cosine, exponential, linear.",
    "--config.samplers.bandit.epsilon=lots",
  ),
  _option(
    "samplers.bandit.bandit: softmax: learning_rate must be positive and finite, got inf.",
    "--config.samplers.bandit.bandit=softmax(learning_rate=1e999)",
  ),
  _option(
    "samplers.bandit.reward: rank: window must be at least 2, got 1.",
    "--config.samplers.bandit.reward=rank(window=1)",
  ),
  _option(
    "samplers.bandit: active_bandit: every must be at least 1, got 0.",
    "--config.samplers.bandit.interval=0",
  ),
  _option(
    "samplers.bandit.gain: influence: probe_size must be at least 1, got 0.",
    "--config.samplers.bandit.gain=influence(probe_size=0)",
  ),
  _option(
    "samplers.bandit.gain: influence: refresh must be at least 1, got 0.",
    "--config.samplers.bandit.gain=influence(prepare_interval=0)",
  ),
  _option(
    "data.render must be in_step or ahead, got 'never'.",
    "--config.data.render=never",
  ),
  _option(
    "data.pool must be device or host, got 'disk'.",
    "--config.data.pool=disk",
  ),
  _option(
    "augment: affine: rotate must be in [0, 180] degrees, got 200.",
    "--config.augment=affine(rotate=200)",
  ),
  _option(
    "augment: no 'afine'. Known: affine, none. Did you mean affine?",
    "--config.augment=afine",
  ),
  _option(
    "loss: no 'crossentropy'. Known: cross_entropy, squared_error. Did you mean cross_entropy?",
    "--config.loss=crossentropy",
  ),
  _option(
    "difficulty.scorer: no 'margin'. Known: el2n, loss.",
    "--config.difficulty.scorer=margin",
  ),
  _option(
    "data: image size must be at least 1, got 0.", "--config.data.image_size=0"
  ),
  _option(
    "data: stroke_decay must be in [0, 1], got 2.0.",
    "--config.data.stroke_decay=2",
  ),
  _option(
    "data: channels: no 'colour'; name some of ink, order, speed.",
    "--config.data.channels=ink,colour",
  ),
  _option(
    "data.channels: drawings without times have no speed, and only raw ones have times; take those, or leave speed out.",
    "--config.data.channels=ink,speed",
  ),
  _option(
    "data: num_classes must be from 2 to 30, got 99.",
    "--config.data.classes=99",
  ),
  _option(
    "data.classes='cat': synthetic classes are chosen by their number, at most 30.",
    "--config.data.classes=cat",
  ),
  _option(
    "data: num_examples must be at least num_classes (30), got 5.",
    "--config.data.num_examples=5",
  ),
  _option(
    "data: there is not the memory for it (…); take less of it.",
    "--config.data.num_examples=99999999999999",
  ),
  _option(
    "data.on_error must be raise or skip, got 'ignore'.",
    "--config.data.on_error=ignore",
  ),
  _option(
    "data.max_per_class must not be negative, got -1.",
    "--config.data.max_per_class=-1",
  ),
  _option(
    "data: scribble_fraction must be in [0, 1], got 2.0.",
    "--config.data.scribble_fraction=2.0",
  ),
  _option(
    "data.label_noise must be in [0, 1), got 1.0.",
    "--config.data.label_noise=1.0",
  ),
  _option(
    "data.train_examples must not be negative, got -1.",
    "--config.data.train_examples=-1",
  ),
  _option(
    "data: valid_fraction and test_fraction must be positive, probe_fraction not negative, and leave some of the data to train on, got 0.05, 0.2 and -0.1.",
    "--config.data.probe_fraction=-0.1",
  ),
  # --- budgets, and what does not go together
  _option(
    'budget=\'fast\': write a positive number of epochs, examples or steps, such as "1 epoch" or "500000 examples".',
    "--config.budget=fast",
  ),
  _option(
    'budget=\'0 steps\': write a positive number of epochs, examples or steps, such as "1 epoch" or "500000 examples".',
    "--config.budget=0 steps",
  ),
  _option(
    'budget=\'99999999999999999999999999999999999999999999999999999999999999999999999999999...\': write a positive number of epochs, examples or steps, such as "1 epoch" or "500000 examples".',
    f"--config.budget={'9' * 400} steps",
  ),
  _option(
    "budget='9999999999 steps' is more than 2147483647 steps; take a smaller one.",
    "--config.budget=9999999999 steps",
  ),
  _option(
    "budget='3 examples' is less than one batch of 32; take a larger budget or a smaller batch.",
    "--config.budget=3 examples",
  ),
  _option(
    'difficulty.budget=\'0 epochs\': write a positive number of epochs, examples or steps, such as "1 epoch" or "500000 examples".',
    "--config.difficulty.budget=0 epochs",
  ),
  _option(
    "difficulty.seed 1 is also a trial's; take one outside 0 to 2.",
    "--config.difficulty.seed=1",
  ),
  _option(
    "data: valid_fraction and test_fraction must be positive, probe_fraction not negative, and leave some of the data to train on, got 1.0, 0.2 and 0.0.",
    "--config.data.valid_fraction=1.0",
  ),
  _option(
    "data: valid_fraction and test_fraction must be positive, probe_fraction not negative, and leave some of the data to train on, got 0.9, 0.2 and 0.0.",
    "--config.data.valid_fraction=0.9",
  ),
  _option(
    "data.label_noise_in: no 'test' to plant mistakes in; name train, probe or valid, with commas.",
    "--config.data.label_noise_in=test",
  ),
  _option(
    "data.label_noise_in: there is no probe split; give it a share, data.probe_fraction.",
    "--config.data.label_noise_in=probe",
  ),
  _option(
    "data.dir is empty: say where the data is, --config.data.dir=PATH.",
    "--config.data.source=files",
  ),
  _option(
    "data.dir='somewhere' is not read by data.source=synthetic; add --config.data.source=files, prepared, npz, folder or tfds, or leave it out.",
    "--config.data.dir=somewhere",
  ),
  _option(
    "train_on must be one of train, train_and_probe, got 'test'.",
    "--config.train_on=test",
  ),
  _option(
    "samplers.bandit: train_on='train_and_probe' needs a probe split of its own, data.probe_fraction above 0.",
    "--config.train_on=train_and_probe",
  ),
  _option(
    "model: cnn takes no 'weights'. Known: conv, dtype, norm, width.",
    "--config.model.weights=x.h5",
  ),
  _option(
    "model: resnet50: images must be at least 17 x 17 pixels, got 16 x 16.",
    "--config.model.name=resnet50",
    "--config.data.image_size=16",
  ),
  _option(
    "samplers.bandit: active_bandit: arms_per_batch must divide batch_size 32, got 5.",
    "--config.samplers.bandit.arms_per_batch=5",
  ),
  _option(
    "samplers.bandit.epsilon: linear takes no 'num_steps'. Known: end, value.",
    "--config.samplers.bandit.epsilon=linear(value=1.0, num_steps=9)",
  ),
  _option(
    "optimizer.schedule: constant takes no 'value'. It takes nothing.",
    "--config.optimizer.schedule=constant(value=0.1)",
  ),
  # What only the data can tell, and still before anything is compiled.
  _option(
    "samplers.bandit: active_bandit: warmup 100 and every 1 leave none of the run's 24 steps to learn in; take smaller ones, or a larger budget.",
    "--config.budget=24 steps",
    *FEW,
  ),
  _option(
    "samplers.bandit: active_bandit: warmup 100 and every 2000 leave none of the run's 28 steps to learn in; take smaller ones, or a larger budget.",
    "--config.samplers.bandit.interval=2000",
    *FEW,
  ),
  _option(
    "data: class 'house' has no example in the valid split; give it more examples, of keys that differ, or the split a larger fraction.",
    "--config.data.num_examples=60",
  ),
  _option(
    "data.train_examples=14000 is more than the 11178 of the training split; take fewer, or more data.",
    "--config.data.train_examples=14000",
  ),
  _option(
    "data.train_examples=20 leaves class 'house' no example; take more.",
    "--config.data.train_examples=20",
  ),
  _option(
    "difficulty: num_arms 5000 is larger than the smallest class, 'pentagon' with 354 examples to train on; take fewer arms or more drawings.",
    "--config.difficulty.num_arms=5000",
  ),
  _option(
    "samplers.bandit: the smallest of the 10 arms of 'difficulty' has 1104 examples, too few for a draw of 2000; take fewer arms, a smaller batch, or replacement=True.",
    "--config.batch_size=2000",
    "--config.samplers.bandit.warmup=0",
    "--config.samplers.bandit_mean.warmup=0",
  ),
  _option(
    "difficulty.budget='1 epoch' is less than one batch of 20000; take a larger budget or a smaller batch.",
    "--config.batch_size=20000",
    *FEW,
  ),
  _option(
    "samplers.uniform.policy: given: missing a required argument: 'weights'.",
    "--config.samplers.uniform.name=fixed_policy(policy='given')",
  ),
  # --- drawings
  Case(
    "data",
    "a folder that is not there",
    (
      *(QUICKSTART, "--config.data.source=files"),
      "--config.data.dir=DIR/none",
    ),
    "DIR/none: no such directory.",
  ),
  Case(
    "data",
    "a file where a folder is meant",
    (QUICKSTART, "--config.data.source=files", "--config.data.dir=README.md"),
    "README.md: cannot be listed (Not a directory); name a folder that can.",
  ),
  _drawings(
    "DIR/data holds no <class>.ndjson, .csv, .bin or bitmap .npy files.",
    "an empty folder",
    {},
  ),
  _drawings(
    "DIR/data holds no <class>.ndjson, .csv, .bin or bitmap .npy files.",
    "files of other kinds",
    {"ant.txt": "1,2\n"},
  ),
  _drawings(
    "DIR/data/ant.ndjson: the class has no usable drawing; give it some, or leave it out.",
    "an empty file",
    _two("\n"),
  ),
  _drawings(
    "there is one class alone, 'ant'; give at least two to tell apart.",
    "one class",
    {"ant.ndjson": _lines()},
  ),
  _drawings(
    "no class 'be' among the 2; did you mean 'bee'?",
    "an unknown class",
    _two(_lines()),
    "--config.data.classes=be",
  ),
  _drawings(
    'classes names none; write "all", a number, or names.',
    "no class",
    _two(_lines()),
    "--config.data.classes=",
  ),
  _drawings(
    "classes must be from 2 to the 2 there are, or all, got 3.",
    "more classes than files",
    _two(_lines()),
    "--config.data.classes=3",
  ),
  _drawings(
    "DIR/data/ant.ndjson:41: broken JSON; mend it, or leave such drawings out with data.on_error=skip.",
    "a truncated line",
    _two(_lines() + _line()[:-9]),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: broken JSON; mend it, or leave such drawings out with data.on_error=skip.",
    "bytes that are not UTF-8",
    _two(b'{"word": "\xff"}\n'),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: not an object with a drawing; mend it, or leave such drawings out with data.on_error=skip.",
    "a line of JSON that is no object",
    _two("[1, 2]\n"),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: broken JSON; mend it, or leave such drawings out with data.on_error=skip.",
    "JSON nested 100,000 deep",
    _two("[" * 100_000),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: no strokes; mend it, or leave such drawings out with data.on_error=skip.",
    "a drawing without strokes",
    _two('{"drawing": []}\n'),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: no strokes; mend it, or leave such drawings out with data.on_error=skip.",
    "a drawing that is a text",
    _two('{"drawing": "cat"}\n'),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a stroke without points; mend it, or leave such drawings out with data.on_error=skip.",
    "a stroke without points",
    _two(_line([[], []])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: x and y of unequal length; mend it, or leave such drawings out with data.on_error=skip.",
    "x and y of unequal length",
    _two(_line([[0, 1], [0]])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a coordinate out of range (0 to 255, whole); mend it, or leave such drawings out with data.on_error=skip.",
    "a coordinate of 256",
    _two(_line([[0, 256], [0, 1]])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a coordinate out of range (0 to 255, whole); mend it, or leave such drawings out with data.on_error=skip.",
    "a coordinate of 0.5",
    _two(_line([[0, 0.5], [0, 1]])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a coordinate is not finite; mend it, or leave such drawings out with data.on_error=skip.",
    "a coordinate that is NaN",
    _two(_line([[0, np.nan], [0, 1]])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a coordinate is not a number; mend it, or leave such drawings out with data.on_error=skip.",
    'a coordinate that is "7"',
    _two(_line([[0, "7"], [0, 1]])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a coordinate is not finite; mend it, or leave such drawings out with data.on_error=skip.",
    "a raw coordinate of 1e400",
    _two(_line([[0, 1], [0, 1], [0, 1]]).replace("[[[0, 1]", "[[[0, 1e400]")),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a line of more than 4194304 bytes; mend it, or leave such drawings out with data.on_error=skip.",
    "a drawing of a million points",
    _two(_line([[0, 255] * 500_000, [0, 255] * 500_000])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: a stroke of more than 100000 pixels; mend it, or leave such drawings out with data.on_error=skip.",
    "a raw stroke of 100,000 leaps across the page",
    _two(_line([[0, 900] * 50_000, [0, 9] * 50_000, [0, 1] * 50_000])),
  ),
  _drawings(
    "DIR/data/ant.ndjson:1: key_id is neither text nor number; mend it, or leave such drawings out with data.on_error=skip.",
    "a key that is a list",
    _two(_line(key_id=[1])),
  ),
  _drawings(
    "data: class 'ant' has no example in the valid split; give it more examples, of keys that differ, or the split a larger fraction.",
    "the same key for every drawing",
    _two(_lines().replace('"key_id"', '"key_id": "1", "x"')),
  ),
  _drawings(
    "data: class 'ant' has no example in the valid split; give it more examples, of keys that differ, or the split a larger fraction.",
    "two drawings a class",
    _two(_lines(2), _lines(2)),
  ),
  _drawings(
    "DIR/data/ant.ndjson: the class has no usable drawing; give it some, or leave it out.",
    "none that was recognized",
    _two(_lines(recognized=False)),
    "--config.data.recognized_only=True",
  ),
  _drawings(
    "DIR/data/ant.ndjson: the class has no usable drawing; give it some, or leave it out.",
    "all of a class skipped",
    _two("[1]\n"),
    "--config.data.on_error=skip",
  ),
  _drawings(
    "a class is called 'a\\nb'; rename it so that it can be printed.",
    "a class whose name has a line break",
    _two(_lines()) | {"a\nb.ndjson": _lines()},
  ),
  _drawings(
    "a class is called '\\udcff'; rename it so that it can be printed.",
    "a class whose name is not UTF-8",
    _two(_lines()) | {"\udcff.ndjson": _lines()},
  ),
  _drawings(
    "a class is called ' '; rename it so that it can be printed.",
    "a class whose name is a blank",
    _two(_lines()) | {" .ndjson": _lines()},
  ),
  # --- bitmaps
  _drawings(
    "DIR/data holds no prepared data; make it with python -m alcurr.data prepare.",
    "files that were not prepared, with `data.source=prepared`",
    _two(_lines()),
    "--config.data.source=prepared",
  ),
  _drawings(
    "DIR/data holds prepared data; read it with data.source=prepared.",
    "prepared data, with `data.source=files`",
    _two(_lines()) | {"manifest.json": "{}"},
  ),
  _drawings(
    "DIR/data: the prepared data is damaged (…); delete it and prepare it again.",
    "prepared data whose manifest is cut",
    {"manifest.json": '{"kind": "Stro'},
    "--config.data.source=prepared",
  ),
  _drawings(
    "DIR/data: the prepared data is damaged (its manifest was changed); delete it and prepare it again.",
    "prepared data whose manifest someone has edited",
    {"manifest.json": '{"kind": "Strokes", "checksums": {}, "digest": "0"}'},
    "--config.data.source=prepared",
  ),
  _drawings(
    "DIR/data: ant.ndjson and full_raw_ant.ndjson are of one class; keep one of them.",
    "two files of a class",
    _two(_lines()) | {"full_raw_ant.ndjson": _lines()},
  ),
  _drawings(
    "DIR/data/ant.bin, record 2: a record cut short; mend it, or leave such drawings out with data.on_error=skip.",
    "a truncated .bin",
    {"ant.bin": _RECORD + _RECORD[:-1], "bee.bin": _RECORD},
  ),
  _drawings(
    "DIR/data/ant.bin, record 1: a record cut short; mend it, or leave such drawings out with data.on_error=skip.",
    "a .bin that is something else",
    {"ant.bin": b"a text, and no drawing" * 9999, "bee.bin": _RECORD},
  ),
  _drawings(
    "DIR/data/ant.bin, record 1: no strokes; mend it, or leave such drawings out with data.on_error=skip.",
    "a .bin of zeros",
    {"ant.bin": bytes(99), "bee.bin": _RECORD},
  ),
  _drawings(
    "DIR/data/ant.bin: the class has no usable drawing; give it some, or leave it out.",
    "an empty .bin",
    {"ant.bin": b"", "bee.bin": _RECORD},
  ),
  _drawings(
    "DIR/data/test_simplified.csv: its first line must name the columns of Kaggle's, and has no word; give a file with drawing and word.",
    "Kaggle's test file among the others",
    {"bee.csv": _ROWS, "test_simplified.csv": "key_id,countrycode,drawing\n"},
  ),
  _drawings(
    "DIR/data/ant.csv: its first line must name the columns of Kaggle's, and has no drawing and no word; give a file with drawing and word.",
    "a CSV of something else",
    {"ant.csv": "1,2\n", "bee.csv": _ROWS},
  ),
  _drawings(
    "DIR/data/ant.csv:2: broken JSON; mend it, or leave such drawings out with data.on_error=skip.",
    "a CSV whose drawing is no JSON",
    {"ant.csv": "drawing,word\ncat,cat\n", "bee.csv": _ROWS},
  ),
  _drawings(
    "DIR/data/ant.csv:2: broken CSV; mend it, or leave such drawings out with data.on_error=skip.",
    "a CSV with a quote that is not closed",
    {"ant.csv": _ROWS.replace(']",', "],"), "bee.csv": _ROWS},
  ),
  _drawings(
    "DIR/data/ant.csv:2: not as many fields as columns; mend it, or leave such drawings out with data.on_error=skip.",
    "a CSV whose drawing has no quotes",
    {"ant.csv": _ROWS.replace('"', ""), "bee.csv": _ROWS},
  ),
  _drawings(
    "DIR/data holds both .ndjson and .npy files; keep them apart.",
    "both drawings and bitmaps",
    _two(_lines())
    | {"full_numpy_bitmap_cat.npy": _header("(1, 784)", bytes(784))},
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: not a whole .npy file of plain numbers (…).",
    "an empty .npy",
    b"",
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: not a whole .npy file of plain numbers (…).",
    "a truncated .npy",
    _header("(2, 784)", bytes(784)),
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: not a whole .npy file of plain numbers (…).",
    "a .npy whose header claims 2^62 rows",
    _header(f"({2**62}, 784)"),
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: not a whole .npy file of plain numbers (…).",
    "a .npy whose header claims -1 rows",
    _header("(-1, 784)"),
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: it holds no drawing.",
    "a .npy without rows",
    _header("(0, 784)"),
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: a bitmap file is [N, 784] uint8, this is [1, 700] uint8.",
    "a .npy of 700 pixels a row",
    _header("(1, 700)", bytes(700)),
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: not a whole .npy file of plain numbers (…).",
    "a .npy whose header is a program",
    _header("__import__('os')"),
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: a bitmap file is [N, 784] uint8, this is [1, 98] float64.",
    "a .npy of float64",
    _header("(1, 98)", bytes(784)).replace(b"|u1", b"<f8"),
  ),
  _bitmap(
    "DIR/data/full_numpy_bitmap_ant.npy: not a whole .npy file of plain numbers (…).",
    "a .npy of Python objects, a pickle",
    _header("(1, 784)").replace(b"'|u1'", b"'|O' "),
  ),
  # --- TensorFlow Datasets
  _set(
    "data.dir=mnits is neither a folder with a dataset_info.json nor the name of a set of TensorFlow Datasets, such as mnist. Did you mean mnist?",
    "a set of TensorFlow Datasets that is not there",
    "mnits",
  ),
  _set(
    "data.dir=DIR is neither a folder with a dataset_info.json nor the name of a set of TensorFlow Datasets, such as mnist.",
    "a folder that is no set of TensorFlow Datasets",
    "DIR",
  ),
  _set(
    "data.dir=mnist:9.9.9: …cannot be loaded at version 9.9.9, only: …; name another.",
    "a version of a set that there is not",
    "mnist:9.9.9",
  ),
  _set(
    "mnist is not prepared in …; prepare it with tfds build mnist --file_format=array_record, or name the folder of the set.",
    "a set that is not prepared",
    "mnist",
  ),
  _set(
    "DIR/1.0.0: the set is damaged (…); prepare it again.",
    "a set whose `dataset_info.json` is cut",
    "DIR/1.0.0",
    lambda folder: (
      (folder / "1.0.0").mkdir(),
      (folder / "1.0.0" / "dataset_info.json").write_text("{"),
    ),
  ),
  # --- npz
  Case(
    "data",
    "a .npz that is not there",
    (QUICKSTART, "--config.data.source=npz", "--config.data.dir=DIR/a.npz"),
    "DIR/a.npz: no such file.",
  ),
  _arrays(
    "DIR/a.npz: not a whole .npz file of plain arrays (…).",
    "an empty .npz",
    _bytes(b""),
  ),
  _arrays(
    "DIR/a.npz: not a whole .npz file of plain arrays (…).",
    "a folder in place of a .npz",
    lambda path: path.mkdir(),
  ),
  _arrays(
    "DIR/a.npz: not a whole .npz file of plain arrays (it is one array, not an archive of them).",
    "a .npy called .npz",
    _bytes(_header("(1, 784)", bytes(784))),
  ),
  _arrays(
    "DIR/a.npz: not a whole .npz file of plain arrays (…).",
    "an encrypted .npz",
    _encrypted,
  ),
  _arrays(
    "DIR/a.npz: not a whole .npz file of plain arrays (…).",
    "a truncated .npz",
    _cut(_npz(IMAGES, LABELS)),
  ),
  _arrays(
    "DIR/a.npz: it must hold the arrays images and labels (or image and label, or x and y), and holds a.",
    "a .npz of other names",
    lambda path: np.savez(path, a=IMAGES),
  ),
  _arrays(
    "DIR/a.npz: not a whole .npz file of plain arrays (labels.npy holds Python objects).",
    "labels that are Python objects, a pickle",
    _npz(IMAGES, np.array([None] * 8)),
  ),
  _arrays(
    "DIR/a.npz: not a whole .npz file of plain arrays (images.npy claims [1000000000, 5, 5] uint8, but holds 9 bytes).",
    "images whose header claims a billion rows",
    _zip(_header("(1000000000, 5, 5)", bytes(9))),
  ),
  _arrays(
    "DIR/a.npz: images must be uint8 or float, got int32.",
    "images of int32",
    _npz(IMAGES.astype(np.int32), LABELS),
  ),
  _arrays(
    "DIR/a.npz: float images must be in [0, 1], got 0 to 199; scale them, or use uint8.",
    "images of floats to 255",
    _npz(IMAGES.astype(float), LABELS),
  ),
  _arrays(
    "DIR/a.npz: images hold NaN; mend them, or leave those images out.",
    "images that hold NaN",
    _npz(np.full((8, 5, 5), np.nan), LABELS),
  ),
  _arrays(
    "DIR/a.npz: images must be [N, H, W] or [N, H, W, C] and not empty, got shape [5, 5].",
    "images of two axes",
    _npz(IMAGES[0], LABELS),
  ),
  _arrays(
    "model: cnn: images must be at least 4 x 4 pixels, got 2 x 2.",
    "images of 2 x 2 pixels",
    _npz(
      np.random.default_rng(0).integers(0, 255, (400, 2, 2), np.uint8),
      np.arange(400) % 2,
    ),
  ),
  _arrays(
    "DIR/a.npz: images must be [N, H, W] or [N, H, W, C] and not empty, got shape [0, 5, 5, 1].",
    "no images",
    _npz(IMAGES[:0], LABELS[:0]),
  ),
  _arrays(
    "DIR/a.npz: labels must be one for each of the 8 images, got shape [3].",
    "fewer labels than images",
    _npz(IMAGES, LABELS[:3]),
  ),
  _arrays(
    "DIR/a.npz: labels must be integers or strings, got float64; numbers to be predicted take a run of your own, see the README.",
    "labels of floats",
    _npz(IMAGES, LABELS.astype(float)),
  ),
  _arrays(
    "DIR/a.npz: labels count from 0, got -1.",
    "a label of -1",
    _npz(IMAGES, LABELS - 1),
  ),
  _arrays(
    "DIR/a.npz: class '1' has no example; number the classes without gaps.",
    "a label of a million",
    _npz(IMAGES, LABELS * 10**6),
  ),
  _arrays(
    "DIR/a.npz: there is one class alone, '0'; give at least two to tell apart.",
    "one label",
    _npz(IMAGES, LABELS * 0),
  ),
  _arrays(
    "DIR/a.npz: a class is called '\\ud800'; rename it so that it can be printed.",
    "a label that is no text",
    _npz(IMAGES, np.array(["a", "\ud800"] * 4)),
  ),
  _arrays(
    "data: class '0' has no example in the valid split; give it more examples, of keys that differ, or the split a larger fraction.",
    "the same image eight times",
    _npz(IMAGES * 0, LABELS),
  ),
  # --- weights
  Case(
    "weights",
    "a file that is not there",
    (
      QUICKSTART,
      "--config.model.name=resnet50(weights='none.h5')",
      "--config.data.image_size=64",
    ),
    "model: resnet50: there is no file none.h5.",
  ),
  _weights(
    "model: mobilenet: DIR/w is a folder and not a file: what Keras writes (.h5, .weights.h5) and what timm does (.safetensors) can be read.",
    "a folder",
    lambda path: path.mkdir(),
  ),
  _weights(
    "model: mobilenet: DIR/w is neither HDF5 nor safetensors: what Keras writes (.h5, .weights.h5) and what timm does (.safetensors) can be read.",
    "an empty file",
    _bytes(b""),
  ),
  _weights(
    "model: mobilenet: DIR/w is neither HDF5 nor safetensors: what Keras writes (.h5, .weights.h5) and what timm does (.safetensors) can be read.",
    "a pickle of PyTorch",
    _bytes(b"PK\x03\x04" + bytes(99)),
  ),
  _weights(
    "model: mobilenet: DIR/w is HDF5, but not as Keras writes weights: what Keras writes (.h5, .weights.h5) and what timm does (.safetensors) can be read.",
    "HDF5 of something else",
    _hdf5,
  ),
  _weights(
    "model: mobilenet: DIR/w is damaged: ….", "truncated HDF5", _cut(_hdf5)
  ),
  _weights(
    "model: mobilenet: DIR/w is damaged: ….",
    "truncated safetensors",
    _cut(_safetensors(a=np.zeros(99))),
  ),
  _weights(
    "model: mobilenet: DIR/w is damaged: ….",
    "safetensors whose header is no JSON",
    _bytes((8).to_bytes(8, "little") + b"{]]]]]]]"),
  ),
  _weights(
    "model: mobilenet: DIR/w is damaged: ….",
    "safetensors whose header claims 2^60 bytes",
    _bytes((2**60).to_bytes(8, "little") + b"{}"),
  ),
  _weights(
    "model: mobilenet: DIR/w does not fit the network: conv1 kernel is missing, which is to be conv1/kernel of shape (3, 3, 3, 32); expected Keras's MobileNet (mobilenet_1_0_224_tf_no_top.h5) of the same width and blocks.",
    "layers without weights",
    _keras({"conv1": {}}),
  ),
  _weights(
    "model: mobilenet: DIR/w does not fit the network: conv1 kernel has shape (3, 3, 3, 4) and is to be conv1/kernel of shape (3, 3, 3, 32); expected Keras's MobileNet (mobilenet_1_0_224_tf_no_top.h5) of the same width and blocks.",
    "a kernel of another shape",
    _keras({"conv1": {"kernel": np.zeros((3, 3, 3, 4), np.float32)}}),
  ),
  _weights(
    "model: mobilenet: DIR/w is damaged: ….",
    "a group where a tensor is meant",
    _keras({"conv1": {"kernel": {}}}),
  ),
  # --- workdirs
  _workdir(
    "DIR/run cannot be used: DIR/run is a file; choose another --workdir.",
    "a file",
    lambda folder: (folder / "run").write_text(""),
  ),
  _workdir(
    "DIR/f/run cannot be used: DIR/f is a file; choose another --workdir.",
    "a folder within a file",
    lambda folder: (folder / "f").write_text(""),
    "DIR/f/run",
  ),
  _workdir(
    "DIR/… cannot be used: File name too long; choose another --workdir.",
    "a name of 300 letters",
    lambda folder: None,
    f"DIR/{'x' * 300}",
  ),
  _workdir(
    "DIR/run holds files that are not an experiment's; choose an empty or new --workdir.",
    "a folder of other files",
    _run_holds("thesis.tex", "x"),
  ),
  _workdir(
    "DIR/run/config.json is damaged: ….",
    "a `config.json` that is cut",
    _run_holds("config.json", '{"seed":'),
  ),
  _workdir(
    "DIR/run/config.json is damaged: ….",
    "a `config.json` that is a list",
    _run_holds("config.json", "[]"),
  ),
  _workdir(
    "DIR/run/config.json is damaged: ….",
    "a `config.json` that is not UTF-8",
    _run_holds("config.json", b"\xff"),
  ),
  _workdir(
    "DIR/run/config.json is damaged: ….",
    "a `config.json` nested 100,000 deep",
    _run_holds("config.json", "[" * 100_000),
  ),
  _workdir(
    "DIR/run holds an experiment of another config (seed is 5 there, 0 here); choose another --workdir.",
    "an experiment of another seed",
    _other_seed,
  ),
  _workdir(
    "DIR/run/runs/uniform/result.json is damaged; delete it, and that run is done again.",
    "a `result.json` that is cut",
    _finished('{"sampler":'),
  ),
  Case(
    "workdir",
    "a cache within a file",
    (QUICKSTART, "--config.cache_dir=README.md/cache"),
    "README.md/cache cannot be used: …README.md is a file; choose another --config.cache_dir.",
  ),
  Case(
    "workdir",
    "a run to replay that is not there",
    (
      QUICKSTART,
      "--config.samplers.bandit={'name': 'fixed_policy', 'policy': \"replay(run='DIR/run')\", 'arms': 'label'}",
    ),
    "samplers.bandit.policy: replay: no run to replay: DIR/run/metrics.jsonl does not exist.",
  ),
  Case(
    "workdir",
    "a run to replay whose metrics are cut",
    (
      QUICKSTART,
      "--config.samplers.bandit={'name': 'fixed_policy', 'policy': \"replay(run='DIR/run')\", 'arms': 'label'}",
    ),
    "samplers.bandit.policy: replay: DIR/run/metrics.jsonl holds no policies to replay, or is damaged.",
    _run_holds("metrics.jsonl", '{"step": 1, "policy": [0.5'),
  ),
  # --- other commands
  _tune(
    "the following arguments are required: lr|grid|search; see python -m alcurr.experiments.tune --help."
  ),
  _tune(
    "the following arguments are required: --config; see python -m alcurr.experiments.tune lr --help.",
    "lr",
  ),
  _tune(
    "argument lr|grid|search: invalid choice: 'rl' (choose from …); see python -m alcurr.experiments.tune --help.",
    "rl",
  ),
  _tune(
    "--config=configs/quikstart.py: there is no such file. Did you mean configs/quickstart.py?",
    *("lr", "--config=configs/quikstart.py"),
  ),
  _tune(
    "--steps must be at least 20, got 5.", *("lr", QUICKSTART, "--steps=5")
  ),
  _tune(
    "--low and --high must be rising rates above 0, got 1.0 and 0.1.",
    *("lr", QUICKSTART, "--low=1", "--high=0.1"),
  ),
  _tune(
    "--sampler: no 'bandti' in the config. Known: …, uniform.",
    *("lr", QUICKSTART, "--sampler=bandti"),
  ),
  _tune(
    "the following arguments are required: FIELD=VALUE,...; see python -m alcurr.experiments.tune grid --help.",
    *("grid", QUICKSTART),
  ),
  _tune(
    "'batch_size': write each field once, with its values, such as optimizer.learning_rate=1e-3,3e-3.",
    *("grid", QUICKSTART, "batch_size"),
  ),
  _tune(
    "'batch_size=8,8': a value comes twice; write each once.",
    *("grid", QUICKSTART, "batch_size=8,8"),
  ),
  _tune(
    "trials is the same for all; set it by --config.trials.",
    *("grid", QUICKSTART, "trials=1,2"),
  ),
  _tune(
    "batch_size must be at least 1, got 0.",
    *("grid", QUICKSTART, "batch_size=8,0"),
  ),
  _predict(
    "DIR/run/runs/a/result.json cannot be read (No such file or directory); name the folder of a finished run in its experiment, WORKDIR/runs/SAMPLER.",
    "a run that is not there",
  ),
  _predict(
    "DIR/run/runs/a is not finished; run its experiment's command again to go on.",
    "a run that is not finished",
    make=lambda folder: (folder / "run/runs/a/checkpoints").mkdir(parents=True),
  ),
  _predict(
    "DIR/run/runs/a/result.json is damaged; put it back, or name another run.",
    "a `result.json` that is cut",
    make=_result("{"),
  ),
  _predict(
    "DIR/run/config.json cannot be read (No such file or directory); name the folder of a finished run in its experiment, WORKDIR/runs/SAMPLER.",
    "a run without its experiment",
    make=_result('{"steps": 1, "trials": []}'),
  ),
  _predict(
    "--out DIR/a.csv is there already; name a new file.",
    "a submission that is there",
    make=lambda folder: (folder / "a.csv").write_text(""),
  ),
  _predict(
    "--out DIR/no/a.csv: there is no folder DIR/no; make it.",
    "`--out=DIR/no/a.csv`",
    "--out=DIR/no/a.csv",
  ),
  _predict(
    "argument --trials: write trials with commas, each once, such as 0,2; got '1,1'; see python -m alcurr.experiments.predict --help.",
    "`--trials=1,1`",
    "--trials=1,1",
  ),
]


def page() -> str:
  """The table in Markdown."""
  lines = [
    "# What is said of bad input",
    "",
    "Written by `python tests/bad_input.py > ERRORS.md` from the table that",
    "the tests run. Each ends with exit status 2, this one sentence after",
    "`alcurr:`, and nothing left behind. `DIR` is a folder of the case's own,",
    "`…` what others than we say. They are of `python -m alcurr.main`, but for",
    "those that name another command.",
  ]
  for kind in dict.fromkeys(case.kind for case in CASES):
    lines += ["", f"## {kind}", "", "| given | said |", "|---|---|"]
    lines += [
      f"| {_cell(case.given)} | `{_cell(case.said)}` |"
      for case in CASES
      if case.kind == kind
    ]
  return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
  """Within a table's cell; a long text is cut."""
  text = text if len(text) < 300 else f"{text[:100]}…{text[-100:]}"
  return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
  print(page(), end="")
