"""A group of loggers: every row in order, and no failure reaches the run."""

import logging

import pytest
import saved

from alcurr.experiments import loggers


class Recorder(loggers.Logger):
  """Records its events; raises at one of them."""

  how_to_view = "a command"

  def __init__(self, fails=None):
    self.events, self._fails = [], fails

  def _record(self, *event):
    if event[0] == self._fails:
      raise ConnectionError("no answer.\nmore of it")
    self.events.append(event)

  def make(self, experiment):
    self._record("make")
    return self

  def begin(self, name, rows):
    self._name = name
    self._record("begin", name, list(rows))

  def write(self, row):
    self._record("write", self._name, [row])

  def end(self, result):
    self._record("end", self._name, result)

  def report(self):
    self._record("report")

  def close(self):
    self._record("close")

  def rows(self):
    rows = {}
    for event, *arguments in self.events:
      if event in ("begin", "write"):
        rows.setdefault(arguments[0], []).extend(arguments[1])
    return rows

  def order(self):
    """The events without the rows: (event, sampler)."""
    return [
      (event, arguments[0] if arguments else None)
      for event, *arguments in self.events
      if event != "write"
    ]


@pytest.fixture
def register(monkeypatch):
  def register(name, recorder):
    kind = loggers.LoggerKind(recorder.make, "json")
    monkeypatch.setitem(loggers.LOGGERS, name, kind)
    return recorder

  return register


@pytest.fixture
def workdir(tmp_path):
  return saved.write(tmp_path / "it")


def _run(workdir, names, resumed_after=2):
  """Logs as an experiment does: uniform is new, the bandit is resumed."""
  experiment = loggers.Experiment(workdir, {})
  with loggers.LoggerGroup(experiment, names) as group:
    for name, before in (("uniform", 0), ("bandit", resumed_after)):
      rows = saved.rows(name)
      group.begin(name, rows[:before])
      for row in rows[before:]:
        group.write(row)
      group.end({"sampler": name})
    group.report()


ORDER = [
  *(("make", None), ("begin", "uniform"), ("end", "uniform")),
  *(("begin", "bandit"), ("end", "bandit"), ("report", None), ("close", None)),
]


def _warnings(caplog):
  return [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_each_logger_receives_every_row_once_and_in_order(
  register, workdir, caplog
):
  recorders = register("one", Recorder()), register("two", Recorder())
  _run(workdir, ["one", "two"])
  for recorder in recorders:
    assert recorder.rows() == {name: saved.rows(name) for name in saved.NAMES}
    assert recorder.order() == ORDER
  assert not _warnings(caplog)


def test_a_replay_sends_the_same(register, workdir):
  live, later = register("live", Recorder()), register("later", Recorder())
  _run(workdir, ["live"])
  with loggers.LoggerGroup(loggers.Experiment(workdir, {}), ["later"]) as group:
    for name in saved.NAMES:
      group.replay(workdir / "runs" / name)
    group.report()
  assert later.rows() == live.rows() and later.order() == live.order()


def test_a_cut_line_is_not_sent(workdir):
  with (workdir / "runs/bandit/metrics.jsonl").open("a") as file:
    file.write('{"step": 50')
  (workdir / "runs/uniform/metrics.jsonl").unlink()
  (workdir / "runs/bandit/result.json").unlink()
  recorder = Recorder()
  for name in saved.NAMES:
    recorder.replay(workdir / "runs" / name)
  assert recorder.events == [("begin", "bandit", saved.rows("bandit"))]


@pytest.mark.parametrize(
  "event", ["make", "begin", "write", "end", "report", "close"]
)
def test_a_failing_logger_is_disabled_after_one_warning(
  event, register, workdir, caplog
):
  bad = register("bad", Recorder(fails=event))
  good = register("good", Recorder())
  _run(workdir, ["bad", "good"])
  assert good.rows() == {name: saved.rows(name) for name in saved.NAMES}
  (record,) = _warnings(caplog)
  assert record.levelname == "WARNING" and not record.exc_info
  message = record.getMessage()
  assert message.startswith("bad: ConnectionError: no answer. ")
  assert message.endswith(f"{workdir} --to=bad")
  assert "\n" not in message
  # It receives nothing after the failure.
  assert bad.order() == [
    known for known in ORDER[: len(bad.order())] if known[0] != event
  ]


def test_damaged_files_disable_a_logger_too(register, workdir, caplog):
  recorder = register("one", Recorder())
  (workdir / "runs/uniform/result.json").write_text("{")
  experiment = loggers.Experiment(workdir, {})
  with loggers.LoggerGroup(experiment, ["one"]) as group:
    for name in saved.NAMES:
      group.replay(workdir / "runs" / name)
  assert recorder.order() == [("make", None), ("begin", "uniform")]
  (record,) = _warnings(caplog)
  assert "JSONDecodeError" in record.getMessage()


def test_nothing_is_created_for_a_refused_experiment(register, tmp_path):
  recorder = register("one", Recorder())
  experiment = loggers.Experiment(tmp_path, {})
  with pytest.raises(KeyError), loggers.LoggerGroup(experiment, ["one"]):
    raise KeyError
  assert recorder.events == []


def test_an_interrupted_run_is_closed(register, workdir):
  recorder = register("one", Recorder())
  experiment = loggers.Experiment(workdir, {})
  with (
    pytest.raises(KeyboardInterrupt),
    loggers.LoggerGroup(experiment, ["one"]) as group,
  ):
    group.begin("bandit", [])
    raise KeyboardInterrupt
  assert recorder.order() == [
    *(("make", None), ("begin", "bandit"), ("close", None)),
  ]


def test_rows_are_sent_as_json_has_them(register, workdir):
  recorder = register("one", Recorder())
  experiment = loggers.Experiment(workdir, {})
  with loggers.LoggerGroup(experiment, ["one"]) as group:
    group.begin("x", [])
    group.write({"train_loss": float("nan"), "step": 1})
  assert recorder.rows() == {"x": [{"train_loss": None, "step": 1}]}
