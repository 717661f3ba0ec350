"""Weights & Biases: a run for each sampler and trial, without a network.

    wandb/experiment.json               identifies the runs of this workdir
    wandb/offline-run-<time>-<id>/      a run; `wandb sync` sends it

Nothing is sent anywhere, unless the environment has WANDB_MODE=online. A
resumed run is written again from its first row, under the same id. So nothing
is lost that an interrupted process had not written, and nothing is there twice.
"""

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

# W&B's import reads it: errors of the library are not reported to anybody.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from alcurr.core import files
from alcurr.experiments.loggers import (
  Experiment,
  Logger,
  pictures,
  points,
  run_id,
  workdir_id,
)

FOLDER = "wandb"
_FORBIDDEN = r"[/\\#?%:]"  # in the name of a project


class Wandb(Logger):
  """A `Logger`; the step of a point is its number of examples seen."""

  def __init__(self, experiment: Experiment) -> None:
    super().__init__(experiment)
    # W&B would use a temporary folder if it were missing.
    files.make_folder(self._workdir / FOLDER)
    self._workdir_id = workdir_id(self._workdir / FOLDER)
    self._mode = os.environ.get("WANDB_MODE", "offline")
    folder = shlex.quote(str(self._workdir / FOLDER))
    self.how_to_view = f"wandb leet {folder}"
    if self._mode == "offline":
      self.how_to_view += f"  # wandb sync {folder}/offline-run-* sends it"

  def _open(
    self, name: str, trial: int | str, policy: pictures.PolicyMap
  ) -> "_Run":
    settings = points.run_settings(self._config, name, trial)
    return _Run(self._init(f"{name} {trial}", name, settings), policy)

  def _init(
    self, title: str, group: str, config: Mapping[str, Any]
  ) -> wandb.Run:
    """Starts a run of this workdir, which replaces one of the same title."""
    folder = self._workdir / FOLDER
    identity = run_id(self._workdir_id, title)
    for old in folder.glob(f"offline-run-*-{identity}"):
      shutil.rmtree(old)
    offline = self._mode == "offline"
    settings = wandb.Settings(
      mode=self._mode,
      reinit="create_new",  # besides the runs of the other trials
      root_dir=str(self._workdir),
      # Nothing of the machine or the user's program, and no output.
      console="off",
      disable_git=True,
      host="",
      save_code=False,
      silent=True,
      x_disable_machine_info=True,
      x_disable_meta=True,
      x_disable_stats=True,
      x_save_requirements=False,
    )
    return wandb.init(
      settings=settings,
      project=re.sub(_FORBIDDEN, "_", self._workdir.name),
      group=group,
      name=title,
      id=identity,
      resume=None if offline else "allow",
      config=dict(config),
    )

  def report(self) -> None:
    page = self._workdir / "report.html"
    if page.exists():
      run = self._init("report", "report", {})
      run.log({"report": wandb.Html(str(page))})
      run.finish()


class _Run:
  """A run of W&B: a trial of a sampler, or their mean."""

  def __init__(self, run: wandb.Run, policy: pictures.PolicyMap) -> None:
    self._run, self._policy = run, policy

  def add_rows(self, rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
      self._policy.add(row)
      values = points.row_points(row) | {"train_seconds": row["train_seconds"]}
      self._run.log(values, step=row["examples_seen"])

  def end(
    self, step: int, values: Mapping[str, float], divergence: str | None
  ) -> None:
    content: dict[str, Any] = dict(values)
    image = self._policy.draw()
    if image is not None:
      caption = pictures.POLICY_DESCRIPTION
      content["visual/policy"] = wandb.Image(image, caption=caption)
    self._run.log(content, step=step)
    if divergence:
      self._run.summary["divergence"] = divergence
    self.close(exit_code=1 if divergence else 0)

  def close(self, exit_code: int = 130) -> None:
    """Ends the run; the default is the exit status of an interrupted one."""
    self._run.finish(exit_code=exit_code)
