"""Trackers beside a run: all rows in order, and no harm to it whatever."""

import json
import logging
import threading

import left
import pytest

from alcurr.experiments import loggers
from alcurr.experiments.loggers import background


class Recorder:
  """Keeps what it is told; fails at one point, or hangs there."""

  look = "look here"

  def __init__(self, fails=None, hangs=None):
    self.calls, self._fails, self._hangs = [], fails, hangs

  def _take(self, *call):
    if call[0] == self._hangs:
      threading.Event().wait()
    if call[0] == self._fails:
      raise ConnectionError("the server is away.\nmuch more of it")
    self.calls.append(call)

  def load(self):
    self._take("load")
    return self

  def __call__(self, experiment):
    self._take("make")
    return self

  def begin(self, name, rows):
    self._take("begin", name, list(rows))

  def write(self, name, rows):
    self._take("write", name, list(rows))

  def end(self, name, result):
    self._take("end", name, result)

  def report(self):
    self._take("report")

  def close(self):
    self._take("close")

  def told(self):
    """What it was told in all, however the rows were bundled."""
    rows, others = {}, []
    for method, *call in self.calls:
      if method in ("begin", "write"):
        rows.setdefault(call[0], []).extend(call[1])
      if method != "write":
        others.append((method, call[0] if call else None))
    return rows, others


@pytest.fixture
def register(monkeypatch):
  def register(name, recorder):
    kind = loggers.Kind(recorder.load, "json", "")
    monkeypatch.setitem(loggers.TRACKERS, name, kind)
    return recorder

  return register


@pytest.fixture
def workdir(tmp_path):
  return left.write(tmp_path / "it")


def _run(workdir, names, kept=2):
  """As an experiment tells of itself: uniform is new, the bandit goes on."""
  experiment = loggers.Experiment(workdir, {})
  with background.Trackers(
    experiment, names, pause=0.001, patience=0.5
  ) as trackers:
    trackers.start()
    for name, before in (("uniform", 0), ("bandit", kept)):
      path = workdir / "runs" / name / "metrics.jsonl"
      lines = path.read_bytes().splitlines(keepends=True)
      trackers.begin(name, len(b"".join(lines[:before])))
      for row in left.rows(name)[before:]:
        trackers.write(name, row)
      trackers.end(name)
    trackers.report()


ORDER = [
  *(("load", None), ("make", None), ("begin", "uniform"), ("end", "uniform")),
  *(("begin", "bandit"), ("end", "bandit"), ("report", None), ("close", None)),
]


def _warnings(caplog):
  return [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_they_are_told_every_row_once_and_in_order(register, workdir, caplog):
  one, two = register("one", Recorder()), register("two", Recorder())
  _run(workdir, ["one", "two"])
  for recorder in (one, two):
    rows, others = recorder.told()
    assert rows == {name: left.rows(name) for name in left.NAMES}
    assert others == ORDER
  assert not _warnings(caplog)


def test_a_replay_tells_the_same(register, workdir):
  live, later = register("live", Recorder()), Recorder()
  _run(workdir, ["live"])
  background.replay(later.load()(None), workdir, list(left.NAMES))
  assert later.told() == live.told()


def test_a_cut_line_is_not_told(workdir):
  with (workdir / "runs/bandit/metrics.jsonl").open("a") as file:
    file.write('{"step": 50')
  (workdir / "runs/uniform/metrics.jsonl").unlink()
  (workdir / "report.html").unlink()
  later = Recorder()
  background.replay(later, workdir, list(left.NAMES))
  assert later.told() == (
    {"bandit": left.rows("bandit")},
    [("begin", "bandit"), ("end", "bandit"), ("close", None)],
  )


@pytest.mark.parametrize(
  "point", ["load", "make", "begin", "write", "end", "report", "close"]
)
def test_one_that_fails_is_told_of_once_and_the_other_goes_on(
  point, register, workdir, caplog
):
  register("bad", Recorder(fails=point))
  good = register("good", Recorder())
  _run(workdir, ["bad", "good"])
  assert good.told()[0] == {name: left.rows(name) for name in left.NAMES}
  (record,) = _warnings(caplog)
  assert record.levelname == "WARNING" and not record.exc_info
  said = record.getMessage()
  assert said.startswith("bad: ConnectionError: the server is away. The run")
  assert said.endswith(
    f"python -m alcurr.experiments.loggers {workdir} --to=bad"
  )
  assert "\n" not in said


@pytest.mark.parametrize("point", ["load", "make", "write", "close"])
def test_one_that_hangs_is_left(point, register, workdir, caplog):
  register("slow", Recorder(hangs=point))
  good = register("good", Recorder())
  _run(workdir, ["slow", "good"])
  assert good.told()[1] == ORDER
  (record,) = _warnings(caplog)
  assert "slow: nothing came of it for 0.5 seconds" in record.getMessage()


def test_nothing_is_made_of_an_experiment_that_is_refused(register, tmp_path):
  one = register("one", Recorder())
  with (
    pytest.raises(KeyError),
    background.Trackers(loggers.Experiment(tmp_path, {}), ["one"]),
  ):
    raise KeyError
  assert one.calls == [("load",)]


def test_files_that_are_damaged_are_a_failure_too(register, workdir, caplog):
  one = register("one", Recorder())
  (workdir / "runs/uniform/result.json").write_text("{")
  _run(workdir, ["one"])
  assert one.told()[1][-1] == ("begin", "uniform")
  (record,) = _warnings(caplog)
  assert "JSONDecodeError" in record.getMessage()


def test_numbers_that_json_lacks_are_told_as_in_the_log(register, workdir):
  one = register("one", Recorder())
  with background.Trackers(
    loggers.Experiment(workdir, {}), ["one"]
  ) as trackers:
    trackers.write("x", {"train_loss": float("nan"), "step": 1})
  rows = one.told()[0]["x"]
  assert (
    rows
    == [{"train_loss": None, "step": 1}]
    == json.loads(json.dumps(rows, allow_nan=False))
  )
