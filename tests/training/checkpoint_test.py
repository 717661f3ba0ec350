"""A run that was cut resumes bit-identically, from good checkpoints only.

The reference is always a run, or a file, that no checkpoint ever touched.
"""

import itertools
import json
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
import toy
from absl import logging
from ml_collections import ConfigDict
from sampler_table import SAMPLERS

from alcurr.core import environment, files
from alcurr.core.errors import MachineError, UserError
from alcurr.data import cache
from alcurr.training import (
  checkpoint,
  checkpoint_writer,
  exposure,
  loop,
  losses,
)
from alcurr.training.checkpoint import Checkpoint, RunState
from alcurr.training.checkpoint_writer import CheckpointWriter
from alcurr.training.run import compile_run

STEPS = 16
SCORES = {
  name
  for spec in SAMPLERS.values()
  for name in toy.make_sampler(
    spec, "x", batch_size=16, num_steps=STEPS
  ).spec.scores
}
POOLS = {
  "train": toy.make_pool(scores=sorted(SCORES)),
  "probe": toy.make_pool(60, seed=2),
  "valid": toy.make_pool(100, seed=1),
}
SETTINGS = ConfigDict({"minutes": 0.0, "steps": 4, "keep": 2})
FINGERPRINT = {"steps": STEPS}


def _compile(sampler="uniform", trials_by="map", **changes):
  """A run of four chunks, two evaluations and two trials."""
  changes = {"chunk_steps": 4} | changes
  run = toy.make_run(SAMPLERS[sampler], 16, STEPS, trials_by, **changes)
  return run, compile_run(run, POOLS)


def _template(state):
  return RunState(state, exposure.init_exposure(2, POOLS["train"].label.size))


def _train(run, compiled, folder, chunks=None):
  """Starts or resumes a run in a folder, for a number of chunks."""
  saved, path = folder / "checkpoints", folder / "rows.jsonl"
  template = _template(compiled.state)
  start = checkpoint.restore(saved, template, FINGERPRINT, path)
  calls = iter(range(100))
  with (
    files.json_lines(path, start and start.log_position) as lines,
    CheckpointWriter(
      saved, SETTINGS, FINGERPRINT, lines.log_position
    ) as checkpoints,
  ):
    return loop.train(
      run,
      compiled,
      POOLS,
      lines.write,
      lambda *_: None,
      resume=loop.ResumeOptions(
        start, checkpoints, lambda: next(calls) == chunks
      ),
    )


def _assert_same(left, right):
  assert jax.tree.structure(left) == jax.tree.structure(right)
  for a, b in zip(toy.arrays(left), toy.arrays(right), strict=True):
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


def _without_seconds(rows):
  return [{k: v for k, v in r.items() if k != "train_seconds"} for r in rows]


def _rows(folder):
  text = (folder / "rows.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def _steps(folder):
  return {path.name for path in (folder / "checkpoints").iterdir()}


# Without a signal and with one, and each layout of trials once. The rest runs
# with the faults, since compilation takes the time.
FAST = {("uniform", "map"), ("bandit", "vmap")}


@pytest.mark.parametrize(
  ("sampler", "trials_by"),
  [
    pytest.param(*how, marks=() if how in FAST else pytest.mark.faults)
    for how in itertools.product(SAMPLERS, ("map", "vmap"))
  ],
)
def test_a_run_that_was_cut_resumes_bit_identically(
  sampler, trials_by, tmp_path
):
  run, compiled = _compile(sampler, trials_by)
  rows = []
  whole = loop.train(run, compiled, POOLS, rows.append, lambda *_: None)
  assert _train(run, compiled, tmp_path, chunks=2) is None
  assert [row["step"] for row in _rows(tmp_path)] == [4, 4, 8, 8]
  seconds = _rows(tmp_path)[-1]["train_seconds"]
  # A kill may leave rows after the last checkpoint, the last of them torn.
  with (tmp_path / "rows.jsonl").open("a") as file:
    file.write('{"step": 12, "trial": 0}\n{"step": 12, "tr')
  rest = _train(run, compiled, tmp_path)
  _assert_same((rest.state, rest.exposure), (whole.state, whole.exposure))
  files.write_json(tmp_path / "rows.json", _without_seconds(rows))
  assert _without_seconds(_rows(tmp_path)) == files.read_json(
    tmp_path / "rows.json"
  )
  assert rest.train_seconds > seconds > 0


def test_a_loss_resumes_with_its_memory(tmp_path):
  loss = losses.elr(num_classes=toy.NUM_CLASSES)
  run, compiled = _compile("uniform_replacement", loss=loss)
  whole = loop.train(run, compiled, POOLS, lambda row: None, lambda *_: None)
  assert _train(run, compiled, tmp_path, chunks=2) is None
  rest = _train(run, compiled, tmp_path)
  _assert_same(rest.state, whole.state)
  assert np.asarray(rest.state.loss_state).any()


@pytest.fixture(scope="module")
def compiled_run():
  return _compile()


@pytest.fixture(scope="module")
def _finished(compiled_run, tmp_path_factory):
  folder = tmp_path_factory.mktemp("finished")
  _train(*compiled_run, folder, chunks=3)
  return folder, _train(*compiled_run, folder)


@pytest.fixture
def finished(_finished, tmp_path):
  """A finished run's folder, with checkpoints after 12 and 16 steps."""
  shutil.copytree(_finished[0], tmp_path / "run")
  # The best on the validation metric may be an earlier one.
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


def _content(folder):
  """Returns the files that are read; the others hold times of Orbax."""
  return [*_files(folder / "state"), folder / "manifest.json"]


@pytest.mark.parametrize("damage", [_truncate, _flip, _delete])
def test_the_checkpoint_before_a_damaged_one_is_used(
  damage, compiled_run, _finished, finished, caplog
):
  """Any of its files may be the damaged one."""
  latest = finished / "checkpoints/16"
  names = [path.relative_to(finished) for path in _content(latest)]
  template = _template(compiled_run[1].state)
  caplog.set_level("WARNING", logger=logging.get_absl_logger().name)
  for name in names:
    good = (finished / name).read_bytes()
    if not good and damage is not _delete:
      continue
    damage(finished / name)
    caplog.clear()
    copied = shutil.copytree(finished / "checkpoints/16", finished / "copied")
    saved = checkpoint.restore(
      finished / "checkpoints", template, FINGERPRINT, finished / "rows.jsonl"
    )
    assert saved.step == 12 and _steps(finished) == {"12"}
    assert len(caplog.records) == 2 and "16 is damaged" in caplog.text
    copied.rename(finished / "checkpoints/16")
    (finished / name).write_bytes(good)
  _train(*compiled_run, finished)  # nothing remains to be done
  shutil.rmtree(finished / "checkpoints/16")
  _assert_same(_train(*compiled_run, finished).state, _finished[1].state)


def test_files_that_hold_no_state_may_be_damaged(
  compiled_run, _finished, finished
):
  folder = finished / "checkpoints/12"
  shutil.rmtree(finished / "checkpoints/16")
  for path in set(_files(folder)) - set(_content(folder)):
    _delete(path)
  template = _template(compiled_run[1].state)
  rows = finished / "rows.jsonl"
  saved = checkpoint.restore(folder.parent, template, FINGERPRINT, rows)
  assert saved.step == 12
  _assert_same(_train(*compiled_run, finished).state, _finished[1].state)


def test_a_damaged_older_checkpoint_does_no_harm(
  compiled_run, _finished, finished
):
  shutil.rmtree(finished / "checkpoints/16")
  (finished / "checkpoints/8").mkdir()
  (finished / "checkpoints/8/manifest.json").write_text("[1")
  _assert_same(_train(*compiled_run, finished).state, _finished[1].state)


def test_nothing_is_changed_if_all_are_damaged(compiled_run, finished):
  for step in ("12", "16"):
    _flip(finished / "checkpoints" / step / "manifest.json")
  before = {path: path.read_bytes() for path in _files(finished)}
  with pytest.raises(MachineError) as raised:
    _train(*compiled_run, finished)
  assert raised.value.code == "damaged"
  assert raised.value.place == str(finished / "checkpoints")
  assert {path: path.read_bytes() for path in _files(finished)} == before


def test_checkpoints_after_lost_rows_are_damaged(compiled_run, finished):
  path = finished / "rows.jsonl"
  path.write_text("".join(path.open().readlines()[:-1]))
  template = _template(compiled_run[1].state)
  saved = checkpoint.restore(
    finished / "checkpoints", template, FINGERPRINT, path
  )
  assert saved.step == 12
  path.unlink()
  with pytest.raises(MachineError) as raised:
    _train(*compiled_run, finished)
  assert raised.value.code == "damaged" and "rows.jsonl" in raised.value.text


def test_unfinished_checkpoints_are_ignored_and_removed(compiled_run, finished):
  path = finished / "checkpoints/20.orbax-checkpoint-tmp"
  (path / "state").mkdir(parents=True)
  (path / "manifest.json").write_text("{")
  state = _train(*compiled_run, finished).state
  assert state.step.tolist() == [STEPS, STEPS]
  assert _steps(finished) == {"12", "16"}


@pytest.mark.parametrize(
  ("fingerprint", "change"),
  [
    ({"steps": 17}, lambda state: state),
    (FINGERPRINT, lambda state: state._replace(params=state.opt_state)),
  ],
)
def test_checkpoints_of_another_run_are_refused(
  fingerprint, change, compiled_run, finished
):
  folder, rows = finished / "checkpoints", finished / "rows.jsonl"
  template = _template(change(compiled_run[1].state))
  with pytest.raises(UserError) as raised:
    checkpoint.restore(folder, template, fingerprint, rows)
  assert (raised.value.code, raised.value.place) == ("mismatch", str(folder))


@pytest.mark.parametrize("name", ["numerics", "threads"])
def test_another_environment_is_refused(
  name, compiled_run, finished, monkeypatch
):
  other = environment.current() | {name: "other"}
  monkeypatch.setattr(environment, "current", lambda: other)
  folder, before = finished / "checkpoints", _steps(finished)
  with pytest.raises(UserError) as raised:
    _train(*compiled_run, finished)
  assert (raised.value.code, raised.value.place) == ("mismatch", str(folder))
  assert name in raised.value.text and _steps(finished) == before


def _forge(path, **changes):
  """Changes the manifest of a checkpoint and seals it again."""
  manifest = files.read_json(path / "manifest.json") | changes
  del manifest["digest"]
  kept = {k: v for k, v in manifest.items() if v != "dropped"}
  digest = cache.digest(kept)
  files.write_json(path / "manifest.json", {**kept, "digest": digest})


def _reseal(path):
  _forge(path, files=checkpoint._hashes(path))


def _rename(path):
  path.rename(path.with_name("20"))


def _no_arrays(path):
  shutil.rmtree(path / "state")
  (path / "state").mkdir()
  _reseal(path)


def _of_an_earlier_step(path):
  """The arrays, and all that their manifest says, but for the step."""
  shutil.rmtree(path / "state")
  shutil.copytree(path.with_name("12") / "state", path / "state")
  _reseal(path)


def _links(path):
  away = path.parents[1] / "away"
  shutil.rmtree(away, ignore_errors=True)
  (path / "state").rename(away)
  (path / "state").mkdir()
  for part in away.iterdir():
    (path / "state" / part.name).symlink_to(part)
  manifest = files.read_json(path / "manifest.json")["files"]
  _forge(path, files={n: h for n, h in manifest.items() if n.count("/") == 1})


def _change_array(path, name, **changes):
  """Changes what the store says of an array, not the array."""
  base = f"file://{path / 'state'}/"
  store = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
  key = f"{name}/.zarray"
  about = json.loads(store.read(key).result().value)
  store.write(key, json.dumps(about | changes)).result()
  _reseal(path)


HUGE = [2, 2**40]
FORGERIES = {
  "renamed": _rename,
  "of another step": lambda path: _forge(path, step=20),
  "without files": lambda path: _forge(path, files={}),
  "without arrays": _no_arrays,
  "with arrays of another step": _of_an_earlier_step,
  "made of links": _links,
  "a huge array": lambda path: _change_array(
    path, "exposure/count", shape=HUGE, chunks=HUGE
  ),
  "a huge chunk": lambda path: _change_array(
    path, "exposure/count", chunks=HUGE
  ),
  "another type": lambda path: _change_array(
    path, "exposure/count", dtype="<i4"
  ),
  "without a position": lambda path: _forge(path, log_position=None),
  "at the rows of another step": lambda path: _forge(
    path,
    log_position=files.read_json(path.with_name("12") / "manifest.json")[
      "log_position"
    ],
  ),
  "more active trials": lambda path: _forge(path, active_trials=1),
  **{
    f"{name} {value}": lambda path, name=name, value=value: _forge(
      path, **{name: value}
    )
    for name in ("seconds", "log_position", "fingerprint", "environment")
    for value in ("dropped", [1])
  },
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_checkpoint_is_a_damaged_one(
  forgery, compiled_run, _finished, finished
):
  """Its manifest is sealed, so that its contents must give it away."""
  FORGERIES[forgery](finished / "checkpoints/16")
  template = _template(compiled_run[1].state)
  saved = checkpoint.restore(
    finished / "checkpoints", template, FINGERPRINT, finished / "rows.jsonl"
  )
  assert saved.step == 12 and _steps(finished) == {"12"}


@pytest.mark.parametrize("name", ["016", "1_6", "٣", "file"])
def test_other_names_are_no_checkpoints(name, compiled_run, finished):
  folder = finished / "checkpoints"
  if name == "file":
    (folder / "20").write_text("")
  else:
    (folder / name).mkdir()
  assert checkpoint.steps(folder) == [12, 16]


STATE = {
  "half": jnp.arange(3, dtype=jnp.bfloat16) / 7,
  "empty": jnp.zeros((2, 0)),
  "keys": jax.random.split(jax.random.key(3), 2),
  "flag": jnp.array([True, False]),
  "inner": (jnp.int32(-5), jnp.array([jnp.nan, -0.0, jnp.inf])),
}
EXPOSURE = exposure.init_exposure(2, 5)._replace(
  count=np.arange(10, dtype=np.uint32).reshape(2, 5),
  squares=np.array([2**60 + 1, 3]),
)
TEMPLATE = RunState(jax.eval_shape(lambda: STATE), EXPOSURE)


def _settings(minutes=0.0, steps=1, keep=1):
  return ConfigDict({"minutes": minutes, "steps": steps, "keep": keep})


def _write(folder, scores, *, active=(2,) * 9, last=False, **settings):
  """Saves after each step from 1 on, evaluated to these scores."""
  with CheckpointWriter(folder, _settings(**settings), {}) as checkpoints:
    for step, score in enumerate(scores, start=1):
      if checkpoints.should_save(step, score is not None) or last:
        state = STATE | {"half": STATE["half"] + step}
        run_state = RunState(state, EXPOSURE)
        checkpoints.save(
          Checkpoint(step, run_state, 1.0, score, active[step - 1]), last
        )
  return {int(path.name) for path in folder.iterdir()}


def test_every_kind_of_leaf_is_restored(tmp_path):
  _write(tmp_path, [None], last=True)
  saved = checkpoint.restore(tmp_path, TEMPLATE, {})
  _assert_same(saved.run_state.state, STATE | {"half": STATE["half"] + 1})
  _assert_same(saved.run_state.exposure, EXPOSURE)
  assert (saved.step, saved.seconds, saved.valid) == (1, 1.0, None)


@pytest.mark.parametrize(
  ("scores", "keep", "kept"),
  [
    ([0.3, 0.2, 0.1, 0.2], 2, {1, 3, 4}),
    ([0.1, 0.4, 0.4, 0.2, 0.3], 1, {2, 5}),  # the first of equal ones
    ([0.1, 0.2, 0.3], 2, {2, 3}),
    ([0.0, 0.0, 0.0], 1, {1, 3}),
  ],
)
def test_the_last_and_the_best_are_kept(scores, keep, kept, tmp_path):
  assert _write(tmp_path, scores, keep=keep, last=True) == kept


def test_the_best_is_written_even_if_it_was_not_due(tmp_path):
  """It is written with the next one, and has the state of its own step."""
  scores = [0.5, 0.9, 0.1, 0.2]
  assert _write(tmp_path, scores, steps=4) == {2, 4}
  shutil.rmtree(tmp_path / "4")
  saved = checkpoint.restore(tmp_path, TEMPLATE, {})
  np.testing.assert_array_equal(
    saved.run_state.state["half"], STATE["half"] + 2
  )


def test_the_last_before_each_divergence_is_kept(tmp_path):
  active = (3, 3, 2, 2, 1, 1, 1)
  # The first is the best of equal ones.
  assert _write(tmp_path, [0.5] * 6, active=active) == {1, 2, 4, 6}
  # The next process knows them too.
  assert _write(tmp_path, [0.5] * 7, active=active) == {1, 2, 4, 7}


def test_the_next_process_knows_the_best(tmp_path):
  assert _write(tmp_path, [0.5, 0.1]) == {1, 2}
  assert _write(tmp_path, [None, None, 0.4]) == {1, 3}


def test_saves_by_time_by_steps_or_never(tmp_path, monkeypatch):
  minute = iter(range(100))
  monkeypatch.setattr(
    checkpoint_writer.time, "monotonic", lambda: 60 * next(minute)
  )

  def decisions(minutes, steps):
    settings = _settings(minutes, steps)
    with CheckpointWriter(tmp_path, settings, {}) as checkpoints:
      return [checkpoints.should_save(step, False) for step in (5, 10, 15)]

  assert decisions(2.0, 0) == [False, True, True]
  assert decisions(0.0, 10) == [False, True, True]
  assert decisions(0.0, 0) == [False, False, False]


def _save(folder, before_save=lambda: None):
  """Fails to write a checkpoint after one step, and returns the error."""
  with (
    pytest.raises(MachineError) as raised,
    CheckpointWriter(folder, _settings(), {}) as checkpoints,
  ):
    before_save()
    checkpoints.save(Checkpoint(1, RunState(STATE, EXPOSURE), 1.0, None, 2))
  assert (raised.value.code, raised.value.place) == ("disk", str(folder / "1"))
  return raised.value


def test_a_folder_deleted_before_a_save_is_reported(tmp_path):
  folder = tmp_path / "run"
  _save(folder, lambda: shutil.rmtree(folder))
  assert not folder.exists()


def test_a_folder_deleted_while_orbax_writes_is_reported(tmp_path, monkeypatch):
  """Orbax would create it again, incomplete."""
  folder = tmp_path / "run"
  save = checkpoint_writer.ocp.CheckpointManager.save

  def deleting(self, *args, **kwargs):
    shutil.rmtree(folder)
    return save(self, *args, **kwargs)

  monkeypatch.setattr(checkpoint_writer.ocp.CheckpointManager, "save", deleting)
  _save(folder)
  assert not folder.exists() or not list(folder.iterdir())


def test_a_full_disk_is_reported_before_orbax_fails(tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    checkpoint_writer.shutil,
    "disk_usage",
    lambda path: usage._replace(free=10_000),
  )
  assert "No space left on device" in _save(tmp_path).text
  assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_background_is_reported(tmp_path, monkeypatch):
  """Nothing remains that looks like a checkpoint."""

  def failing(path, manifest):
    raise OSError("gone")

  monkeypatch.setattr(checkpoint, "write_manifest", failing)
  assert "gone" in _save(tmp_path).text
  assert list(tmp_path.iterdir()) == []


def test_orbax_logs_no_traceback_of_an_error_that_it_raises(
  tmp_path, monkeypatch, caplog
):
  """Its other records, and those of others, are logged."""
  logger = logging.get_absl_logger()
  caplog.set_level("WARNING", logger=logger.name)
  orbax = checkpoint_writer.ocp.__file__

  def failing(self, *args, **kwargs):
    for place in (orbax, "/orbax/elsewhere.py"):
      error = OSError("gone")
      record = logger.makeRecord(
        "absl",
        logging.converter.STANDARD_ERROR,
        place,
        1,
        "%s",
        (place,),
        (OSError, error, None),
      )
      logger.handle(record)
    logging.warning("logged by alcurr")
    raise OSError("gone")

  monkeypatch.setattr(checkpoint_writer.ocp.CheckpointManager, "save", failing)
  assert "gone" in _save(tmp_path).text
  assert orbax not in caplog.text
  assert "/elsewhere.py" in caplog.text and "logged by alcurr" in caplog.text


def test_errors_of_pending_writes_are_not_printed(tmp_path, monkeypatch):
  """TensorStore's threads raise them after a failed write."""
  printed = []
  monkeypatch.setattr(sys, "unraisablehook", printed.append)
  closed, other = (
    types.SimpleNamespace(exc_value=RuntimeError(text))
    for text in ("Event loop is closed", "other")
  )
  with CheckpointWriter(tmp_path, _settings(), {}):
    sys.unraisablehook(closed)
    sys.unraisablehook(other)
  assert printed == [other]
  sys.unraisablehook(closed)
  assert printed == [other, closed]
