"""A run that was cut goes on to the same bits, from checkpoints that are good.

The reference is always a run, or a file, that no checkpoint came near.
"""

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from absl import logging
from sampler_laws_test import SAMPLERS
from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError
from alcurr.training import checkpoint, exposure, loop
from alcurr.training.run import compile_run

STEPS = 16
POOLS = {
  "train": toy.make_pool(),
  "probe": toy.make_pool(60, seed=2),
  "valid": toy.make_pool(100, seed=1),
}
EVERY = {"minutes": 0.0, "steps": 4, "keep": 2}
FACTS = {"steps": STEPS}


def _plan(sampler="uniform", trials_by="map"):
  """A run of four chunks, two evaluations and two trials."""
  run = toy.make_run(SAMPLERS[sampler], 16, STEPS, trials_by, chunk_steps=4)
  return run, compile_run(run, POOLS)


def _template(state):
  return checkpoint.RunState(
    state, exposure.init_exposure(2, POOLS["train"].label.size)
  )


def _train(run, plan, folder, chunks=None, every=EVERY):
  """Goes on with a run in a folder, for so many chunks."""
  kept, path = folder / "checkpoints", folder / "rows.jsonl"
  start = checkpoint.restore(kept, _template(plan.state), FACTS, path)
  calls = iter(range(100))
  with (
    files.json_lines(path, start and start.log_position) as lines,
    checkpoint.CheckpointWriter(
      kept, ConfigDict(every), FACTS, lines.log_position
    ) as checkpoints,
  ):
    return loop.train(
      *(run, plan, POOLS, lines.write, lambda *_: None),
      resume=loop.ResumeOptions(
        start, checkpoints, lambda: next(calls) == chunks
      ),
    )


def _same(left, right):
  assert jax.tree.structure(left) == jax.tree.structure(right)
  for a, b in zip(toy.arrays(left), toy.arrays(right), strict=True):
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


def _but_seconds(rows):
  return [{k: v for k, v in r.items() if k != "train_seconds"} for r in rows]


def _rows(folder):
  text = (folder / "rows.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def _steps(folder):
  return {path.name for path in (folder / "checkpoints").iterdir()}


# One of each file of samplers, and a layout of trials; all others
# where faults are asked for, as it is compiling that takes the time.
FAST = {
  *(("uniform", "map"), ("bandit", "vmap")),
  *(("curriculum", "vmap"), ("bucketed_curriculum_paced", "map")),
}


@pytest.mark.parametrize(
  ("sampler", "trials_by"),
  [
    pytest.param(*how, marks=() if how in FAST else pytest.mark.faults)
    for how in itertools.product(SAMPLERS, ("map", "vmap"))
  ],
)
def test_a_run_that_was_cut_is_the_whole(sampler, trials_by, tmp_path):
  run, plan = _plan(sampler, trials_by)
  rows = []
  whole = loop.train(run, plan, POOLS, rows.append, lambda *_: None)
  assert _train(run, plan, tmp_path, chunks=2) is None
  assert [row["step"] for row in _rows(tmp_path)] == [4, 4, 8, 8]
  seconds = _rows(tmp_path)[-1]["train_seconds"]
  # What a kill leaves: rows that no checkpoint knows, the last one torn.
  with (tmp_path / "rows.jsonl").open("a") as file:
    file.write('{"step": 12, "trial": 0}\n{"step": 12, "tr')
  rest = _train(run, plan, tmp_path)
  _same((rest.state, rest.exposure), (whole.state, whole.exposure))
  files.write_json(tmp_path / "rows.json", _but_seconds(rows))
  assert _but_seconds(_rows(tmp_path)) == files.read_json(
    tmp_path / "rows.json"
  )
  assert rest.train_seconds > seconds > 0


@pytest.fixture(scope="module")
def made():
  return _plan()


@pytest.fixture(scope="module")
def _kept(made, tmp_path_factory):
  folder = tmp_path_factory.mktemp("kept")
  _train(*made, folder, chunks=3)
  return folder, _train(*made, folder)


@pytest.fixture
def kept(_kept, tmp_path):
  """A finished run's folder, with checkpoints after 12 and 16 steps."""
  shutil.copytree(_kept[0], tmp_path / "run")
  # The best on valid may be an earlier one.
  assert _steps(tmp_path / "run") >= {"12", "16"}
  shutil.rmtree(tmp_path / "run/checkpoints/8", ignore_errors=True)
  return tmp_path / "run"


def _truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes(content)


def _delete(path):
  path.unlink()


def _files(folder):
  return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("harm", [_truncate, _flip, _delete])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
  harm, made, _kept, kept, caplog
):
  """Whichever of its files was harmed."""
  names = [p.relative_to(kept) for p in _files(kept / "checkpoints/16")]
  template = _template(made[1].state)
  caplog.set_level("WARNING", logger=logging.get_absl_logger().name)
  for name in names:
    good = (kept / name).read_bytes()
    if not good and harm is not _delete:
      continue
    harm(kept / name)
    caplog.clear()
    newest = shutil.copytree(kept / "checkpoints/16", kept / "harmed")
    saved = checkpoint.restore(
      kept / "checkpoints", template, FACTS, kept / "rows.jsonl"
    )
    assert saved.step == 12 and _steps(kept) == {"12"}
    assert len(caplog.records) == 2 and "16 is damaged" in caplog.text
    newest.rename(kept / "checkpoints/16")
    (kept / name).write_bytes(good)
  _train(*made, kept)  # nothing is left to do
  shutil.rmtree(kept / "checkpoints/16")
  _same(_train(*made, kept).state, _kept[1].state)


def test_an_older_one_that_is_damaged_does_no_harm(made, _kept, kept):
  shutil.rmtree(kept / "checkpoints/16")
  (kept / "checkpoints/8").mkdir()
  (kept / "checkpoints/8/manifest.json").write_text("[1")
  _same(_train(*made, kept).state, _kept[1].state)


def test_where_none_is_good_nothing_is_touched(made, kept):
  for step in ("12", "16"):
    _flip(kept / "checkpoints" / step / "manifest.json")
  before = {path: path.read_bytes() for path in _files(kept)}
  with pytest.raises(MachineError, match="no checkpoint is good") as fault:
    _train(*made, kept)
  assert str(kept / "checkpoints") in str(fault.value)
  assert {path: path.read_bytes() for path in _files(kept)} == before


def test_rows_that_were_lost_take_their_checkpoints_with_them(made, kept):
  path = kept / "rows.jsonl"
  path.write_text("".join(path.open().readlines()[:-1]))
  template = _template(made[1].state)
  saved = checkpoint.restore(kept / "checkpoints", template, FACTS, path)
  assert saved.step == 12
  path.unlink()
  with pytest.raises(MachineError, match=r"rows\.jsonl has lost rows"):
    _train(*made, kept)


def test_what_was_half_written_is_none_and_goes(made, kept):
  for name in (".20", "state.orbax-checkpoint-tmp-1"):
    (kept / "checkpoints" / name / "state").mkdir(parents=True)
  (kept / "checkpoints/.20/.manifest.json.123").write_text("{")
  assert _train(*made, kept).state.step.tolist() == [STEPS, STEPS]
  assert _steps(kept) == {"12", "16", "state.orbax-checkpoint-tmp-1"}


@pytest.mark.parametrize(
  ("facts", "template", "what"),
  [
    ({"steps": 17}, lambda s: s, "steps"),
    (FACTS, lambda s: s._replace(params=s.opt_state), "arrays"),
  ],
)
def test_checkpoints_of_another_run_are_refused(
  facts, template, what, made, kept
):
  with pytest.raises(UserError, match=f"of a run with other {what}"):
    checkpoint.restore(
      kept / "checkpoints",
      _template(template(made[1].state)),
      facts,
      kept / "rows.jsonl",
    )


STATE = {
  "half": jnp.arange(3, dtype=jnp.bfloat16) / 7,
  "empty": jnp.zeros((2, 0)),
  "keys": jax.random.split(jax.random.key(3), 2),
  "flag": jnp.array([True, False]),
  "inner": (jnp.int32(-5), jnp.array([jnp.nan, -0.0, jnp.inf])),
}


TALLY = exposure.init_exposure(2, 5)._replace(
  count=np.arange(10, dtype=np.uint32).reshape(2, 5),
  squares=np.array([2**60 + 1, 3]),
)


def _write(folder, scores, *, going=(2,) * 9, last=False, **every):
  """Saves after each step from 1 on, evaluated to these scores."""
  every = ConfigDict({"minutes": 0.0, "steps": 1, "keep": 1} | every)
  with checkpoint.CheckpointWriter(folder, every, {}) as checkpoints:
    for step, score in enumerate(scores, start=1):
      if checkpoints.should_save(step, score is not None) or last:
        state = STATE | {"half": STATE["half"] + step}
        kept = checkpoint.RunState(state, TALLY)
        checkpoints.save(checkpoint.Checkpoint(step, kept, 1.0, score, going[step - 1]), last=last)
  return {int(path.name) for path in folder.iterdir()}


TEMPLATE = checkpoint.RunState(jax.eval_shape(lambda: STATE), TALLY)


def test_every_kind_of_leaf_comes_back(tmp_path):
  _write(tmp_path, [None], last=True)
  saved = checkpoint.restore(tmp_path, TEMPLATE, {})
  _same(saved.run_state.state, STATE | {"half": STATE["half"] + 1})
  _same(saved.run_state.exposure, TALLY)
  assert (saved.step, saved.seconds, saved.valid) == (1, 1.0, None)


@pytest.mark.parametrize(
  ("scores", "keep", "left"),
  [
    ([0.3, 0.2, 0.1, 0.2], 2, {1, 3, 4}),
    ([0.1, 0.4, 0.4, 0.2, 0.3], 1, {2, 5}),  # of equals the first
    ([0.1, 0.2, 0.3], 2, {2, 3}),
    ([0.0, 0.0, 0.0], 1, {1, 3}),
  ],
)
def test_the_last_and_the_best_stay(scores, keep, left, tmp_path):
  assert _write(tmp_path, scores, keep=keep) == left


def test_the_best_is_written_though_none_was_due_then(tmp_path):
  """Between two that are; and the state is the one of its step."""
  scores = [0.5, 0.9, 0.1, 0.2]
  assert _write(tmp_path, scores, steps=4) == {2, 4}
  shutil.rmtree(tmp_path / "4")
  saved = checkpoint.restore(tmp_path, TEMPLATE, {})
  np.testing.assert_array_equal(saved.run_state.state["half"], STATE["half"] + 2)


def test_the_last_one_before_a_trial_went_wrong_stays(tmp_path):
  going = (3, 3, 2, 2, 1, 1, 1)
  # The first is the best, of equals.
  assert _write(tmp_path, [0.5] * 6, going=going) == {1, 2, 4, 6}
  # Known again by the next process.
  assert _write(tmp_path, [0.5] * 7, going=going) == {1, 2, 4, 7}


def test_the_best_is_known_again(tmp_path):
  assert _write(tmp_path, [0.5, 0.1]) == {1, 2}
  assert _write(tmp_path, [None, None, 0.4]) == {1, 3}


def test_by_time_by_steps_or_never(tmp_path, monkeypatch):
  minute = iter(range(100))
  monkeypatch.setattr(
    checkpoint.time, "monotonic", lambda: 60 * next(minute)
  )

  def due(minutes, steps):
    every = ConfigDict({"minutes": minutes, "steps": steps, "keep": 1})
    with checkpoint.CheckpointWriter(tmp_path, every, {}) as checkpoints:
      return [checkpoints.should_save(step, False) for step in (5, 10, 15)]

  assert due(2.0, 0) == [False, True, True]
  assert due(0.0, 10) == [False, True, True]
  assert due(0.0, 0) == [False, False, False]


def test_a_checkpoint_that_cannot_be_written_is_told(tmp_path):
  folder = tmp_path / "run"
  every = ConfigDict({"minutes": 0.0, "steps": 1, "keep": 1})
  with (
    pytest.raises(MachineError, match="1: the checkpoint was not written: "),
    checkpoint.CheckpointWriter(folder, every, {}) as checkpoints,
  ):
    shutil.rmtree(folder)
    checkpoints.save(checkpoint.Checkpoint(1, checkpoint.RunState(STATE, TALLY), 1.0, None, 2))
  assert not folder.exists()


def _save(folder):
  """One checkpoint, by steps."""
  every = ConfigDict({"minutes": 0.0, "steps": 1, "keep": 1})
  with checkpoint.CheckpointWriter(folder, every, {}) as checkpoints:
    checkpoints.save(checkpoint.Checkpoint(1, checkpoint.RunState(STATE, TALLY), 1.0, None, 2))


def test_a_disk_without_room_is_told_before_orbax_fails(tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    checkpoint.shutil, "disk_usage", lambda path: usage._replace(free=10_000)
  )
  with pytest.raises(
    MachineError, match=r"No space left on device: .* 0\.0 MB free"
  ):
    _save(tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_threads_of_orbax_log_nothing_that_is_raised(
  tmp_path, monkeypatch, caplog
):
  """What it logs of its own, and what others do, is still told."""

  logger = logging.get_absl_logger()
  caplog.set_level("WARNING", logger=logger.name)

  def failing(self, path, *args, **kwargs):
    for place in (checkpoint.ocp.__file__, "/orbax/elsewhere.py"):
      error = OSError("gone")
      details = (OSError, error, None)
      record = logger.makeRecord(
        *("absl", logging.converter.STANDARD_ERROR, place, 1),
        *("%s", (place,), details),
      )
      logger.handle(record)
    logging.warning("told by all")
    raise OSError("gone")

  monkeypatch.setattr(checkpoint.ocp.Checkpointer, "save", failing)
  with pytest.raises(MachineError, match="gone"):
    _save(tmp_path)
  assert checkpoint.ocp.__file__ not in caplog.text
  assert "/elsewhere.py" in caplog.text and "told by all" in caplog.text


def test_a_folder_deleted_while_orbax_writes_is_no_checkpoint(
  tmp_path, monkeypatch
):
  """Orbax makes it anew, with nothing but what it had still to write."""
  save = checkpoint.ocp.Checkpointer.save

  def deleted_under(self, path, *args, **kwargs):
    shutil.rmtree(path.parent)
    save(self, path, *args, **kwargs)

  monkeypatch.setattr(checkpoint.ocp.Checkpointer, "save", deleted_under)
  with pytest.raises(MachineError, match="deleted under the run"):
    _save(tmp_path)
  assert list(tmp_path.iterdir()) == []
