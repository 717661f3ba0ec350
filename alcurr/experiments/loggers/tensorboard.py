"""TensorBoard: event files in DIR/tensorboard.

    tensorboard/experiment/          the config as text, examples of the pool
    tensorboard/<sampler>/<trial>/   curves, policy and hyperparameters of a run
    tensorboard/<sampler>/mean of 3/ curves and policy, over three trials

A resumed run is written again from its first row. So nothing is lost that an
interrupted process had not written, and nothing is there twice.
"""

import json
import pathlib
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorboardX import record_writer, summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from alcurr.core import files
from alcurr.experiments.loggers import Experiment, Logger, pictures, points
from alcurr.report.gallery import read_gallery

FOLDER = "tensorboard"
_SCHEME = "appended"  # of addresses, for tensorboardX
# Besides the arguments of the sampler.
_HYPERPARAMETERS = {
  *("trial", "batch_size", "budget", "budget_basis", "train_on"),
  *("model.name", "optimizer.name", "optimizer.learning_rate", "augment"),
  *("data.source", "data.classes", "data.label_noise"),
}
# The columns of the table; TensorBoard fills them from the curves.
_METRICS = ("accuracy/top1", "accuracy/top3", "loss/valid", "test/top1")


class TensorBoard(Logger):
  """A `Logger`; the step of a point is its number of examples seen."""

  def __init__(self, experiment: Experiment) -> None:
    super().__init__(experiment)
    logdir = shlex.quote(f"{self._workdir}/{FOLDER}")
    self.how_to_view = f"tensorboard --logdir={logdir}"
    overview = _Run(_make_folder(self._workdir, "experiment"), time.time())
    config = json.dumps(self._config, indent=2)
    overview.text("config", f"```json\n{config}\n```")
    gallery = read_gallery(self._workdir)
    for name, image in pictures.draw_classes(gallery).items():
      overview.image(
        f"visual/examples of {name}", image, pictures.EXAMPLES_DESCRIPTION
      )
    overview.close()

  def begin(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
    trained = rows[-1]["train_seconds"] if rows else 0
    self._started = time.time() - trained
    super().begin(name, rows)

  def _open(
    self, name: str, trial: int | str, policy: pictures.PolicyMap
  ) -> "_Run":
    folder = _make_folder(self._workdir, name, str(trial))
    run = _Run(folder, self._started, policy)
    if isinstance(trial, int):  # a row of the table of hyperparameters
      run.hyperparameters(points.run_settings(self._config, name, trial))
    return run


def _make_folder(workdir: pathlib.Path, *names: str) -> pathlib.Path:
  """Makes a folder, but never a workdir, which may have been deleted."""
  folder = workdir
  for name in (FOLDER, *names):
    folder = folder / name
    files.make_folder(folder)
  return folder


class _Appended:
  """A file of tensorboardX that is open only while it is flushed.

  Trials may outnumber the files that a process may open.
  """

  def __init__(self, address: str) -> None:
    self._path = address.removeprefix(f"{_SCHEME}:")
    self._waiting = bytearray()
    self.write = self._waiting.extend

  @classmethod
  def open(cls, address: str) -> "_Appended":
    return cls(address)

  def flush(self) -> None:
    with open(self._path, "ab") as file:
      file.write(self._waiting)
    self._waiting.clear()

  def close(self) -> None:
    self.flush()


record_writer.register_writer_factory(_SCHEME, _Appended)


class _Run:
  """The event file of what TensorBoard calls a run."""

  def __init__(
    self,
    folder: pathlib.Path,
    started: float,
    policy: pictures.PolicyMap | None = None,
  ) -> None:
    self._started, self._policy = started, policy
    self._step, self._time = 0, started  # examples seen, seconds since 1970
    self._evaluations, self._drawn_at = 0, 0  # at which step
    for old in folder.glob("events.out.tfevents.*"):
      old.unlink(missing_ok=True)  # by another process
    # Not SummaryWriter: on a full disk its thread dies, and the caller hangs.
    self._file = EventsWriter(f"{_SCHEME}:{folder / 'events'}")
    # Readers that know the old file drop its points.
    self._event(session_log=SessionLog(status=SessionLog.START))

  def add_rows(self, rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
      self._step = row["examples_seen"]
      self._time = self._started + row["train_seconds"]
      self._scalars(points.row_points(row))
      self._policy.add(row)
      if row.get("valid"):
        self._evaluations += 1
        # The first, second, fourth, ...: a picture takes a tenth of a second.
        if self._evaluations.bit_count() == 1:
          self._draw_policy()
    self._file.flush()

  def _draw_policy(self) -> None:
    image = self._policy.draw()
    if image is not None:
      self._drawn_at = self._step
      self.image("visual/policy", image, pictures.POLICY_DESCRIPTION)

  def end(
    self, step: int, values: Mapping[str, float], divergence: str | None
  ) -> None:
    self._step = step
    self._scalars(values)
    if self._drawn_at != step:
      self._draw_policy()
    if divergence:
      self.text("divergence", f"Diverged at {divergence}.")
    self.close()

  def text(self, tag: str, markdown: str) -> None:
    self._event(summary=summary.text(tag, markdown))

  def image(self, tag: str, image: np.ndarray, description: str) -> None:
    event = summary.image("", image, dataformats="HWC")
    event.value[0].tag = tag  # tensorboardX would replace blanks
    event.value[0].metadata.summary_description = description
    self._event(summary=event)

  def hyperparameters(self, settings: Mapping[str, Any]) -> None:
    """Adds a row to the table of hyperparameters."""
    shown = {}
    for name, value in settings.items():
      text = value if isinstance(value, bool | int | float) else str(value)
      # It shows the first few by name, so the sampler's need to be those.
      if name.startswith("sampler"):
        shown[name] = text
      elif name in _HYPERPARAMETERS:
        shown[f"setting.{name}"] = text
    for event in summary.hparams(shown, dict.fromkeys(_METRICS, 0.0)):
      self._event(summary=event)

  def _scalars(self, values: Mapping[str, float]) -> None:
    for tag, value in values.items():
      text = points.CURVES[tag][1]
      self._event(summary=summary.scalar(tag, value, summary_description=text))

  def _event(self, **content: Any) -> None:
    event = Event(step=self._step, wall_time=self._time, **content)
    self._file.write_event(event)

  def close(self) -> None:
    self._file.close()
