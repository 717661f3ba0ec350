"""Where a step's time goes: the arithmetic by hand, and a tiny run traced."""

import contextlib
import functools
import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import toy

from alcurr import samplers
from alcurr.data.pool import make_gather
from alcurr.training import loop, profiling, step, traces
from alcurr.training.run import RunSpec, compile_run, make_score
from alcurr.training.traces import Event
from alcurr.types import Images, Model

BATCH_SIZE, INPUTS, OUTPUTS = 32, 28 * 28, 30


@pytest.mark.parametrize(
  ("events", "own"),
  [
    ([], []),
    # A loop, two operations in it and one in the second.
    ([(0, 10), (1, 3), (4, 8), (5, 6)], [10 - 2 - 4, 2, 3, 1]),
    # The loop's first operation begins with it; written down after and before.
    ([(0, 10), (0, 4)], [6, 4]),
    ([(0, 4), (0, 10)], [4, 6]),
    # Two streams: the later one's time is not the earlier one's.
    ([(0, 5), (3, 8)], [3, 5]),
    # One that outlives what began after it, and a gap in which nothing runs.
    ([(0, 9), (2, 4), (12, 13)], [7, 2, 1]),
  ],
)
def test_the_time_of_an_event_is_what_no_later_one_has(events, own):
  made = [Event(str(i), *times) for i, times in enumerate(events)]
  assert traces.own_times(made) == own
  # Together they are the time in which anything went on.
  moments = np.arange(0, 14, 0.25)
  going = [any(a <= t < b for a, b in events) for t in moments]
  assert sum(own) == pytest.approx(0.25 * sum(going))


def test_operations_are_summed_and_shared():
  """A loop of two turns over a draw and a product, at 3 ms in all."""
  program = {
    "while.1": traces.Instruction("while", "jit(f)/while"),
    "draw.1": traces.Instruction("fusion", "jit(f)/while/body/draw/add"),
    "dot.2": traces.Instruction(
      "dot", "jit(f)/while/forward_backward/transpose(jvp(CNN))/dot_general"
    ),
  }
  events = [
    *(Event("while.1", 0, 3e6), Event("draw.1", 0, 5e5)),
    *(Event("dot.2", 5e5, 12e5), Event("draw.1", 15e5, 20e5)),
    *(Event("dot.2", 20e5, 27e5), Event("copy", 4e6, 5e6)),
  ]
  operations = profiling.operations_table(
    traces.by_operation(events), program, turns=2
  ).set_index("operation")
  assert operations.share.sum() == pytest.approx(1)
  assert operations.milliseconds.to_dict() == pytest.approx(
    {"while.1": 0.6, "draw.1": 1.0, "dot.2": 1.4, "copy": 1.0}
  )
  assert operations.calls.to_dict() == {
    **{"while.1": 1, "draw.1": 2, "dot.2": 2, "copy": 1}
  }
  # Without the loop's own time, and of 5 ms in all.
  assert profiling.busy_seconds(operations) / 5e-3 == pytest.approx(0.68)
  parts = profiling.parts_table(operations)
  assert parts.part.tolist() == ["draw", "backward", "rest"]
  assert parts.ms_per_step.tolist() == pytest.approx([0.5, 0.7, 0.8])


HLO = """\
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[4])->f32[4]}

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %add.1 = f32[4]{0} add(%p, %p), metadata={op_name="jit(f)/draw/add"}
}

%body (arg: (s32[], f32[4])) -> (s32[], f32[4]) {
  %arg = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %x = f32[4]{0:T(128)} get-tuple-element(%arg), index=1
  %copy.3 = f32[4]{0} copy(%x)
  %fusion.2 = f32[4]{0} fusion(%copy.3), kind=kLoop, calls=%fused
  ROOT %t = (s32[], f32[4]{0}) tuple(%x, %fusion.2)
}

ENTRY %main (q: (s32[], f32[4])) -> (s32[], f32[4]) {
  %q = (s32[], f32[4]{0}) parameter(0)
  ROOT %while.9 = (s32[], f32[4]{0}) while(%q), condition=%c, body=%body, \
metadata={op_name="jit(f)/signal/while"}
}
"""


def test_a_program_says_where_its_operations_come_from():
  """A fusion from its root, a copy from the loop that it is in."""
  program = traces.instructions(HLO)
  assert program["while.9"] == ("while", "jit(f)/signal/while")
  assert program["fusion.2"] == ("fusion", "jit(f)/draw/add")
  assert program["copy.3"] == ("copy", "jit(f)/signal/while")
  assert program["q"] == ("parameter", "")
  assert traces.part_of("jit(f)/vmap(draw)/signal/add", step.SCOPES) == "draw"
  assert traces.part_of("jit(f)/while/body/gather", step.SCOPES) == ""


@pytest.fixture(scope="module")
def made():
  """Softmax regression of 784 pixels on 30 classes, and its plan."""

  def init(key):
    return {"weight": jnp.zeros((INPUTS, OUTPUTS))}, {}

  def apply(key, params, model_state, image, *, train):
    return image.reshape(len(image), -1) @ params["weight"], model_state

  model, gather = Model(init, apply), make_gather()
  run = RunSpec(
    sampler=samplers.get_sampler(
      {
        "name": "active_bandit",
        "bandit": "softmax",
        "gain": "prediction_gain",
        "reward": "rank",
        "interval": 2,
        "warmup": 2,
      },
      "x",
      batch_size=BATCH_SIZE,
      num_steps=12,
    ),
    model=model,
    tx=optax.sgd(0.1),
    gather=gather,
    num_steps=12,
    batch_size=BATCH_SIZE,
    seeds=(0, 1),
    trials_by="map",
    num_evals=1,
    chunk_steps=4,
    score=make_score(model, gather, 64, "map"),
  )
  rng = np.random.default_rng(0)
  pools = {}
  for name, size in {"train": 640, "probe": 64, "valid": 64}.items():
    image = rng.integers(0, 256, (size, 28, 28, 1)).astype(np.uint8)
    pools[name] = toy.make_pool(size)._replace(source=Images(image))
  return run, compile_run(run, pools), pools


def _train(made, watch=None):
  """The run's result and its rows, but for the time."""
  rows = []
  result = loop.train(*made, rows.append, lambda *a: None, watch)
  return result, [row | {"train_seconds": 0} for row in rows]


def test_a_product_counts_two_flops_a_term(made):
  """Of B x 784 by 784 x 30: two in a plain step, forward and for the weights'
  gradient, and a third in a measured one.

  None for the images' gradient; what is not a product is small beside it.
  """
  cost = profiling.cost_table(*made).set_index("program")
  assert cost.index.tolist() == ["prepare", "measured", "plain", "chunk"]
  product = 2 * BATCH_SIZE * INPUTS * OUTPUTS
  assert cost.flops["plain"] == pytest.approx(2 * product, rel=0.1)
  assert cost.flops["measured"] == pytest.approx(3 * product, rel=0.1)
  assert cost.times_per_step.tolist()[:3] == [0.5, 0.5, 0.5]
  np.testing.assert_allclose(
    cost.flops_per_byte, cost.flops / cost.bytes_accessed
  )
  # A step reads the images, and all else that is its own.
  images = made[2]["train"].source.image.nbytes
  assert (cost.argument_bytes[1:] > images).all()


def test_one_chunk_is_watched_alone(made):
  watched, rows = [], []

  @contextlib.contextmanager
  def watch(steps):
    begun = len(rows)
    yield
    # What came before is all written down, and what is watched is not yet.
    watched.append((steps, begun, len(rows)))

  loop.train(*made, rows.append, lambda *a: None, watch)
  trials = len(made[0].seeds)
  assert watched == [(4, trials, trials)]
  assert [row["step"] for row in rows[::trials]] == [4, 8, 12]


@pytest.fixture(scope="module")
def profiled(made, tmp_path_factory):
  """A profile's folder, and what the run that it is of came to."""
  folder = tmp_path_factory.mktemp("run") / "profile"
  watch = functools.partial(profiling.profile, folder, "bandit", *made)
  return folder, _train(made, watch)


def test_a_profile_tells_of_one_chunk(profiled):
  folder, _ = profiled
  parts, operations = (
    pd.read_csv(folder / f"{name}.csv") for name in ("parts", "operations")
  )
  assert set(parts.part) <= set(profiling.PARTS)
  assert {"draw", "forward", "backward", "signal", "rest"} <= set(parts.part)
  for table in (parts, operations):
    assert table.share.sum() == pytest.approx(1, abs=1e-4)
  # Four steps of two trials, and neither other chunks nor evaluations.
  assert 4 <= operations[operations.part == "forward"].calls.max() <= 8
  # All that the trace names is in the program.
  assert operations.opcode.notna().all()
  text = (folder / "program.hlo.txt").read_text()
  assert all(f"%{name} = " in text for name in operations.operation)


def test_a_profile_sums_up(profiled):
  folder, _ = profiled
  operations = pd.read_csv(folder / "operations.csv")
  summary = json.loads((folder / "summary.json").read_text())
  assert (summary["steps"], summary["trials"]) == (4, 2)
  assert summary["busy_seconds"] == pytest.approx(
    profiling.busy_seconds(operations), rel=1e-3
  )
  assert summary["utilisation"] == pytest.approx(
    summary["busy_seconds"] / summary["seconds"]
  )
  assert summary["ms_per_step"] == pytest.approx(summary["seconds"] * 1e3 / 8)
  assert (folder / "cost.csv").exists()
  (trace,) = folder.glob("plugins/profile/*/perfetto_trace.json.gz")
  with gzip.open(trace) as file:
    assert json.load(file)["traceEvents"]


def test_a_profile_changes_no_result(made, profiled):
  _, (result, rows) = profiled
  plain, plain_rows = _train(made)
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get((result.state.params, rows)),
    jax.device_get((plain.state.params, plain_rows)),
  )
