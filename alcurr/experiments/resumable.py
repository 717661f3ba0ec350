"""Whether what an experiment's folder has can be resumed here and now."""

import pathlib
from collections.abc import Sequence
from typing import Any

from alcurr.core import environment, files
from alcurr.experiments import pool_scores, setup
from alcurr.experiments.added_trials import Block
from alcurr.experiments.config import build
from alcurr.experiments.config.built_run import BuiltRun
from alcurr.experiments.config.scores import names_read
from alcurr.experiments.fits import Fit
from alcurr.training import checkpoint


def check_resumable(
  context: setup.ExperimentContext,
  workdir: pathlib.Path,
  blocks: Sequence[Block],
  missing: Sequence[Fit],
) -> None:
  """Refuses a workdir whose runs began with other files or elsewhere.

  Only the given blocks and the missing scores will be trained. If there are
  none, the environment does not matter. Unfinished runs that are not among the
  blocks are another process's.

  Raises:
    UserError: at the folder of the run or the score.
  """
  shared = {"data": context.content}
  if blocks or missing:
    shared["environment"] = environment.current()

  def check(run: BuiltRun, folder: pathlib.Path, saved: Any, **more: Any):
    key = build.network_key(run.config)
    weights = context.networks[key][0].fingerprint
    now = shared | {"weights": weights} | more
    saved = {field: saved.get(field) for field in now}
    if isinstance(saved.get("environment"), dict):
      saved["environment"].pop("date", None)
    checkpoint.check_same(folder, saved, now)

  for name in {fit.score.name for fit in missing}:
    run = context.experiment.scores[name].run
    for folder in (workdir / "scores" / name).glob("*"):
      if manifest := checkpoint.latest_manifest(folder):
        check(run, folder, manifest["fingerprint"] | manifest)
  for name, run in context.experiment.runs.items():
    saved = {}  # by folder
    folder = workdir / "runs" / name
    if (folder / "result.json").exists():
      saved[folder] = files.read_record(folder / "result.json")
    for block in blocks:
      folder = block.folder(workdir)
      manifest = checkpoint.latest_manifest(folder / "checkpoints")
      if block.sampler == name and manifest:
        saved[folder] = manifest["fingerprint"] | manifest
    hashes = pool_scores.file_hashes(
      context.experiment, context.parts, names_read(run.spec)
    )
    for folder, record in saved.items():
      check(run, folder, record, score_files=hashes)
