"""TensorBoard: event files in DIR/tensorboard, made anew from the rows.

    tensorboard/experiment/          the config as text, drawings of the pool
    tensorboard/<sampler>/<trial>/   a run: curves, policy, hyperparameters

A run that goes on after it was cut off is written anew from its first row, so
that nothing is lost that the last process did not come to write, and nothing
is there twice.
"""

import json
import pathlib
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

from alcurr.experiments.loggers import Experiment, Row, pictures, scalars
from alcurr.report.gallery import Gallery, read_gallery

FOLDER = "tensorboard"
# Beside the sampler's own arguments: what tells runs from each other.
_HPARAMS = (
  *("trial", "batch_size", "budget", "budget_basis", "train_on"),
  *("model.name", "optimizer.name", "optimizer.learning_rate", "augment"),
  *("data.source", "data.classes", "data.label_noise"),
)
_LIVE = ("accuracy/top1", "accuracy/top3", "loss/valid", "test/top1")


class TensorBoard:
  """A `Tracker`; each point is at its number of examples seen."""

  def __init__(self, experiment: Experiment) -> None:
    workdir, config = experiment.workdir, experiment.config
    self._workdir, self._config = workdir, config
    self.look = f"tensorboard --logdir={shlex.quote(f'{workdir}/{FOLDER}')}"
    self._gallery: Gallery | None = None
    self._runs: dict[str, list[_Run]] = {}  # by sampler, by trial
    of_all = _Run(_make(workdir / FOLDER, "experiment"))
    of_all.text("config", f"```json\n{json.dumps(config, indent=2)}\n```")
    of_all.flush()
    self._of_all: _Run | None = of_all  # until the drawings are there

  def _show_drawings(self) -> None:
    if self._of_all:
      self._gallery = read_gallery(self._workdir)
      for name, image in pictures.draw_classes(self._gallery).items():
        self._of_all.image(f"visual/drawings of {name}", image, _DRAWINGS)
      self._of_all.close()
      self._of_all = None

  def begin(self, name: str, rows: Sequence[Row]) -> None:
    self._close(name)
    self._show_drawings()
    # The first point of the curves is now, or was as long ago as it took.
    began = time.time() - (scalars.seconds(rows[-1]) if rows else 0)
    for trial in range(self._config["trials"]):
      folder = _make(self._workdir / FOLDER, name, str(trial))
      policy = pictures.PolicyMap(self._workdir, name, self._gallery)
      run = _Run(folder, began, policy)
      self._runs.setdefault(name, []).append(run)
      run.hparams(_hparams(scalars.run_settings(self._config, name, trial)))
    self.write(name, rows)

  def write(self, name: str, rows: Sequence[Row]) -> None:
    for row in rows:
      self._runs[name][row["trial"]].row(row)
    for run in self._runs[name]:
      run.flush()

  def end(self, name: str, result: dict[str, Any]) -> None:
    for run, trial in zip(self._runs[name], result["trials"], strict=True):
      run.end(result, trial)
    self._close(name)

  def report(self) -> None:
    """Its figures are of what is here already."""

  def close(self) -> None:
    for name in list(self._runs):
      self._close(name)

  def _close(self, name: str) -> None:
    for run in self._runs.pop(name, []):
      run.close()


_DRAWINGS = "Above those of the lowest difficulty, below of the highest."


def _make(folder: pathlib.Path, *names: str) -> pathlib.Path:
  """A folder in one that is there: a workdir that was deleted stays so."""
  for place in (None, *names):
    folder = folder / place if place else folder
    folder.mkdir(exist_ok=True)
  return folder


def _hparams(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Those of the table, of the kinds that it knows.

  It shows the first few by the alphabet: let them be the sampler's.
  """
  chosen = {
    name if name.startswith("sampler") else f"setting.{name}": value
    for name, value in settings.items()
    if name in _HPARAMS or name.startswith("sampler")
  }
  return {
    name: value if isinstance(value, bool | int | float) else str(value)
    for name, value in chosen.items()
  }


class _Run:
  """The event file of what TensorBoard calls a run."""

  def __init__(
    self,
    folder: pathlib.Path,
    began: float | None = None,
    policy: pictures.PolicyMap | None = None,
  ) -> None:
    self._began = time.time() if began is None else began
    self._policy = policy
    self._at = (0, self._began)  # examples seen, and when
    self._told: set[str] = set()
    for old in folder.glob("events.out.tfevents.*"):
      old.unlink()
    # Not tensorboardX's SummaryWriter: where the disk is full its thread dies
    # and the one that writes waits for it for good.
    self._file = EventsWriter(str(folder / "events"))
    # A reader that has seen the file before forgets it.
    self._event(session_log=SessionLog(status=SessionLog.START))

  def row(self, row: Row) -> None:
    self._at = (row["examples_seen"], self._began + scalars.seconds(row))
    self._scalars(scalars.scalars(row))
    self._policy.add(row)
    if row.get("valid"):
      image = self._policy.picture()
      if image is not None:
        self.image("visual/policy", image, pictures.HOW_TO_READ)

  def end(self, result: Mapping[str, Any], trial: Mapping[str, Any]) -> None:
    self._at = (result["examples_seen"], self._at[1])
    self._scalars(scalars.test_scalars(trial))
    if trial.get("diverged_step"):
      what = f"Not finite at step {trial['diverged_step']}: {trial['divergence_reason']}."
      self.text("went wrong", what)

  def text(self, tag: str, markdown: str) -> None:
    self._event(summary=summary.text(tag, markdown))

  def image(self, tag: str, image: np.ndarray, told: str) -> None:
    found = summary.image("", image, dataformats="HWC")
    found.value[0].tag = tag  # which may have spaces in it
    found.value[0].metadata.summary_description = told
    self._event(summary=found)

  def hparams(self, settings: Mapping[str, Any]) -> None:
    """The three summaries of the table, whose metrics are the live ones."""
    for found in summary.hparams(settings, dict.fromkeys(_LIVE, 0.0)):
      self._event(summary=found)

  def _scalars(self, found: Mapping[str, float]) -> None:
    if found:
      values = [self._value(tag, value) for tag, value in found.items()]
      self._event(summary=Summary(value=values))

  def _value(self, tag: str, value: float) -> Summary.Value:
    metadata = None
    if tag not in self._told:  # with the first of its points
      self._told.add(tag)
      metadata = SummaryMetadata(summary_description=scalars.DESCRIPTIONS[tag])
    return Summary.Value(tag=tag, simple_value=value, metadata=metadata)

  def _event(self, **what: Any) -> None:
    step, when = self._at
    self._file.write_event(Event(step=step, wall_time=when, **what))

  def flush(self) -> None:
    self._file.flush()

  def close(self) -> None:
    self._file.close()
