"""Parsers return a result or a declared error, whatever they are given.

A hundred examples each by default; `FUZZ_EXAMPLES=20000 pytest
tests/fuzz_test.py` looks longer. Former failures are in tests/bad_input.py.
"""

import inspect
import json
import os
import struct
import tracemalloc

import bad_input
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alcurr.bandits import BANDITS
from alcurr.bandits.gains import GAINS
from alcurr.bandits.rewards import REWARDS
from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.schedules import SCHEDULES
from alcurr.data import array_files, pool
from alcurr.data.pool import Dataset
from alcurr.data.quickdraw import items, kaggle, reader
from alcurr.experiments.config import budgets
from alcurr.experiments.workdir import check_workdir
from alcurr.models import MODELS, weight_files
from alcurr.report import page
from alcurr.samplers.policies import POLICIES
from alcurr.training.optimizers import OPTIMIZERS
from configs import default, quickstart

fuzz = settings(
  max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
  deadline=None,
  # Each example may overwrite the files.
  suppress_health_check=[
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
  ],
)

JSON = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text(max_size=5)
  | st.integers(0, 255),
  lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(
      st.sampled_from(["drawing", "key_id", "recognized", "x"]), inner
    )
  ),
  max_leaves=20,
)
COORDINATES = st.lists(
  st.integers(-1, 256) | st.floats(allow_nan=False) | JSON, max_size=4
)
DRAWINGS = st.lists(st.lists(COORDINATES, max_size=4), max_size=3)
ROWS = st.fixed_dictionaries(
  {"drawing": DRAWINGS | JSON}, optional={"key_id": JSON, "recognized": JSON}
)


@st.composite
def damaged(draw, contents):
  """Draws a content, and changes, removes or inserts bytes."""
  data = bytearray(draw(st.sampled_from(contents)))
  for _ in range(draw(st.integers(0, 4))):
    place = draw(st.integers(0, len(data)))
    end = place + draw(st.integers(0, 8))
    data[place:end] = draw(st.binary(max_size=8))
  return bytes(
    data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
  )


LINES = [
  bad_input._line([[0, 9, 255], [0, 9, 3]], key_id="5012").encode(),
  bad_input._line([[0, 9.5], [1, 2], [0, 16]], [[3], [4], [9]]).encode(),
  b'{"word":"x","key_id":"\\ud83d\\ude00","drawing":[[[1],[2]]]}',
]


@fuzz
@given(
  st.lists(
    ROWS.map(lambda row: json.dumps(row).encode())
    | damaged(LINES)
    | st.binary(max_size=30),
    max_size=4,
  ),
  st.booleans(),
  st.booleans(),
)
def test_ndjson(tmp_path, lines, skip, recognized_only):
  path = tmp_path / "x.ndjson"
  path.write_bytes(b"\n".join(lines))
  _check_class(path, skip, recognized_only)


def _check_class(path, skip, recognized_only=False):
  """Checks that a file is refused, or that its drawings are well packed."""
  on_error = "skip" if skip else "raise"
  try:
    read = reader.read_class(
      path, recognized_only=recognized_only, on_error=on_error
    )
  except UserError as error:
    assert str(error).startswith(str(path))
    return
  source = read.source
  assert source.points.dtype == np.uint8
  assert source.stroke_start[-1] == len(source.points)
  assert (np.diff(source.stroke_start.astype(np.int64)) > 0).all()
  assert (np.diff(source.drawing_start) > 0).all()
  assert (
    len(read.key)
    == len(read.flags["recognized"])
    == len(source.drawing_start) - 1
  )


HEADS = [b"drawing,word\n", b"key_id,word,recognized,drawing\r\n"]
CSV_LINES = [
  b'"[[[0, 9, 255], [0, 9, 3]]]",cat\n',
  b'5012,cat,True,"[[[0,9.5],[1,2],[0,16]]]"\r\n',
]


@fuzz
@given(
  st.sampled_from(HEADS) | damaged(HEADS),
  st.lists(
    DRAWINGS.map(lambda d: b'"%s",cat\n' % json.dumps(d).encode())
    | damaged(CSV_LINES)
    | st.binary(max_size=30),
    max_size=4,
  ),
  st.booleans(),
)
def test_csv_of_drawings(tmp_path, head, lines, skip):
  path = tmp_path / "cat.csv"
  path.write_bytes(head + b"".join(lines))
  _check_class(path, skip)
  path.write_bytes(b"key_id,drawing\n" + b"".join(lines))
  try:
    drawings, key = kaggle.read_test(path)
  except UserError as error:
    assert str(error).startswith(str(path))
    return
  assert len(key) == len(drawings.drawing_start) - 1 > 0


RECORDS = [
  struct.pack("<Q2sbIHH4B", 5012, b"US", 1, 9, 1, 2, 0, 9, 255, 3),
  struct.pack("<Q2sbIHH2BH2B", 2**64 - 1, b"\0\xff", 0, 9, 2, 1, 0, 9, 1, 3, 4),
]


@fuzz
@given(
  st.lists(
    st.sampled_from(RECORDS) | damaged(RECORDS) | st.binary(max_size=40),
    max_size=4,
  ),
  st.booleans(),
  st.booleans(),
)
def test_bin(tmp_path, parts, skip, recognized_only):
  path = tmp_path / "x.bin"
  path.write_bytes(b"".join(parts))
  _check_class(path, skip, recognized_only)


def _saved(save, suffix, tmp_path_factory, *values, **named):
  path = tmp_path_factory.mktemp("good") / f"a{suffix}"
  save(path, *values, **named)
  return path.read_bytes()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
  images = np.arange(48, dtype=np.uint8).reshape(4, 3, 4)
  return [
    _saved(save, ".npz", tmp_path_factory, images=x, labels=labels)
    for save in (np.savez, np.savez_compressed)
    for x in (images, (images / 255).astype(np.float16))
    for labels in (np.arange(4) % 2, np.array(["a", "b"] * 2))
  ]


@fuzz
@given(st.data())
def test_npz(tmp_path, archives, data):
  path = tmp_path / "a.npz"
  path.write_bytes(data.draw(damaged(archives) | st.binary(max_size=40)))
  try:
    dataset = array_files.load_npz(path)
  except UserError as error:
    assert str(error).startswith(str(path))
    return
  assert isinstance(dataset, Dataset) and len(dataset.class_names) > 1


HEADERS = st.one_of(
  st.from_regex(r"\A\(-?[0-9]{1,20}, ?(784|[0-9]{1,20}),? ?\)\Z"),
  st.text(max_size=20),
  st.sampled_from(["(True, 784)", "(1.0, 784)", "[1, 784]", "(1, 784, 1)"]),
)


@fuzz
@given(
  HEADERS.map(lambda shape: bad_input._header(shape, bytes(784)))
  | damaged([bad_input._header("(1, 784)", bytes(784))])
  | st.binary(max_size=20)
)
def test_npy(tmp_path, content):
  path = tmp_path / "a.npy"
  path.write_bytes(content)
  try:
    rows = array_files.load_bitmap(path)
  except UserError as error:
    assert str(error).startswith(str(path))
    return
  assert rows.dtype == np.uint8 and rows.shape[1] == 784


@fuzz
@given(st.lists(st.text(max_size=3), unique=True), st.text() | st.integers())
@example([], "0\x1f")
def test_choices_of_classes(known, classes):
  try:
    chosen = pool.choose_classes(sorted(known), classes)
  except UserError:
    return
  assert set(chosen) <= set(known) and chosen == sorted(chosen)


BUDGETS = st.text() | st.from_regex(
  r"\A\s?[0-9._٣]{0,400} (epoch|example|step)s?\Z"
)


@fuzz
@given(BUDGETS, st.integers(1, 2**20), st.integers(1, 2**40))
def test_budgets(budget, batch_size, num_examples):
  try:
    steps = budgets.num_steps(budget, batch_size, num_examples)
  except UserError:
    return
  assert 1 <= steps < 2**31


REGISTRIES = (
  BANDITS,
  GAINS,
  OPTIMIZERS,
  POLICIES,
  REWARDS,
  SCHEDULES,
  {name: MODELS[name] for name in ("cnn", "mobilenet")},
)
VALUES = st.one_of(
  JSON.map(repr),
  st.sampled_from(["1e999", "-0.0", "1j", "{[]: 1}", "b'x'", "f()", "..."]),
  st.text(max_size=9),
)


@st.composite
def calls(draw):
  """Draws a registry and a call of a factory, mostly with its arguments."""
  registry = draw(st.sampled_from(REGISTRIES))
  name = draw(st.sampled_from(sorted(registry)))
  known = list(inspect.signature(registry[name]).parameters)
  named = st.sampled_from([*known, "x", "*x"])
  arguments = draw(st.lists(st.tuples(named, VALUES), max_size=3))
  return registry, f"{name}({', '.join(f'{k}={v}' for k, v in arguments)})"


CONTEXT = {
  "input_shape": (32, 32, 1),
  "num_classes": 3,
  "learning_rate": 0.1,
  "value": 0.1,
  "num_steps": 9,
  "batch_size": 4,
}


@fuzz
@given(calls() | st.tuples(st.sampled_from(REGISTRIES), st.text()))
@example((MODELS, "mobilenet(weights=1j)"))
@example((MODELS, "mobilenet(weights=...)"))
def test_specs(call):
  registry, spec = call
  try:
    specs.make(spec, registry, "field", **CONTEXT)
  except UserError as error:
    assert str(error).startswith("field")


@fuzz
@given(
  st.text()
  | st.lists(
    st.tuples(st.sampled_from(["noise", "part", "rates", "x"]), st.text())
  ).map(lambda pairs: ",".join(f"{k}={v}" for k, v in pairs))
)
def test_the_arguments_of_a_config(text):
  defaults = {"noise": 0.3, "part": "all", "passes": 3, "rates": (1.0,)}
  try:
    read = default.arguments(text, **defaults)
  except ValueError:
    return
  assert {k: type(v) for k, v in read.items()} == {
    k: type(v) for k, v in defaults.items()
  }


CONFIG = quickstart.get_config()


@fuzz
@given(
  JSON.map(lambda value: json.dumps(value).encode())
  | damaged([json.dumps(CONFIG.to_dict()).encode()])
  | st.binary(max_size=20)
)
def test_the_config_of_a_workdir(tmp_path, content):
  path = tmp_path / "config.json"
  path.write_bytes(content)
  try:
    check_workdir(tmp_path, CONFIG)
  except UserError:
    return
  assert json.loads(content) == json.loads(json.dumps(CONFIG.to_dict()))


@fuzz
@given(
  damaged([b"sampler,top1\nuniform,0.5\n", b'"sampler"\n1\nNone\n'])
  | st.binary(max_size=30)
)
def test_csv(tmp_path, content):
  config = {"samplers": {}, "baseline": "uniform"}
  (tmp_path / "config.json").write_text(json.dumps(config))
  (tmp_path / "summary.csv").write_bytes(content)
  assert page.read_summary(tmp_path).empty


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  tensors = {"a.weight": np.zeros((2, 3), np.float32)}
  keras = {"conv1": {"kernel": np.zeros((2, 3), np.float32)}}
  return [
    _saved(
      lambda path: safetensors.numpy.save_file(tensors, path),
      ".safetensors",
      tmp_path_factory,
    ),
    _saved(bad_input._keras(keras), ".h5", tmp_path_factory),
  ]


@fuzz
@given(st.data())
def test_weights(tmp_path, weights, data):
  path = tmp_path / "w"
  path.write_bytes(data.draw(damaged(weights) | st.binary(max_size=40)))
  try:
    file = weight_files.read(str(path))
  except ValueError as error:
    assert str(path) in str(error)
    return
  assert all(isinstance(layer, dict) for layer in file.layers.values())


def _peak(call) -> int:
  """Returns the peak memory, in bytes, of a call that may raise UserError."""
  tracemalloc.start()
  try:
    call()
  except UserError:
    pass
  finally:
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
  return peak


@pytest.mark.parametrize(
  "unit",
  [
    *(b"[],", b"-6,"),
    *(
      pytest.param(unit, marks=pytest.mark.slow)
      for unit in (b"{},", b'"ab",', b"1e1,", b'{"a":1},', b"[[1],[2]],")
    ),
  ],
)
@pytest.mark.parametrize("inside", [b'{"drawing":[%s0]}', b'{"x":[%s0]}'])
def test_the_memory_of_a_line_is_bounded(tmp_path, unit, inside):
  path = tmp_path / "x.ndjson"
  line = inside % (unit * (2**18 // len(unit)))
  path.write_bytes(line)
  peak = _peak(lambda: reader.read_class(path))
  assert peak < 64 * len(line)


@pytest.mark.parametrize("unit", [b"[],", b"-6,", b"[[1],[2]],"])
def test_the_memory_of_a_row_is_bounded(tmp_path, unit):
  path = tmp_path / "x.csv"
  path.write_bytes(b'drawing,word\n"[%s0]",cat' % (unit * (2**18 // len(unit))))
  peak = _peak(lambda: reader.read_class(path))
  assert peak < 64 * path.stat().st_size


@pytest.mark.parametrize(("count", "points"), [(65535, 0), (29, 65535)])
def test_the_memory_of_a_record_is_bounded(tmp_path, count, points):
  path = tmp_path / "x.bin"
  stroke = struct.pack("<H", points) + bytes(2 * points)
  path.write_bytes(struct.pack("<Q2sbIH", 1, b"US", 1, 9, count))
  with path.open("ab") as file:
    file.write(stroke * count)
  size = path.stat().st_size
  assert _peak(lambda: reader.read_class(path)) < 8 * size + 2**20


def test_a_long_record_is_not_read_whole(tmp_path):
  path = tmp_path / "x.bin"
  stroke = struct.pack("<H", 65535) + bytes(2 * 65535)
  head = struct.pack("<Q2sbIH", 1, b"US", 1, 9, 400)
  path.write_bytes(head + stroke * 400)
  peak = _peak(lambda: reader.read_class(path, on_error="skip"))
  assert peak < 8 * items.LONGEST < path.stat().st_size


def test_a_long_line_is_not_read_whole(tmp_path):
  path = tmp_path / "x.ndjson"
  path.write_bytes(b"[" * (5 * items.LONGEST) + b"\n")
  peak = _peak(lambda: reader.read_class(path, on_error="skip"))
  assert peak < 5 * items.LONGEST


def test_leaps_of_a_raw_stroke_take_little_memory(tmp_path):
  path = tmp_path / "x.ndjson"
  leaps = [[0, 9000] * 20_000, [0, 9] * 20_000, [0, 1] * 20_000]
  path.write_text(bad_input._line(leaps))
  assert _peak(lambda: reader.read_class(path)) < 64 * path.stat().st_size


def test_a_wrong_header_takes_no_memory(tmp_path):
  path = tmp_path / "a.npz"
  bad_input._zip(bad_input._header("(1000000000, 5, 5)", bytes(9)))(path)
  assert _peak(lambda: array_files.load_npz(path)) < 1e6
  path = tmp_path / "full_numpy_bitmap_x.npy"
  path.write_bytes(bad_input._header(f"({2**40}, 784)", bytes(784)))
  assert _peak(lambda: array_files.load_bitmap(path)) < 1e6


def test_the_memory_of_images_is_bounded(tmp_path):
  path = tmp_path / "a.npz"
  images = np.random.default_rng(0).random((400, 30, 30))
  np.savez_compressed(path, images=images, labels=np.arange(400) % 2)
  assert _peak(lambda: array_files.load_npz(path)) < 2.2 * images.nbytes
