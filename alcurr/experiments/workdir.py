"""An experiment's folder: whose it is, and the records that it holds."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import files, paths
from alcurr.core.errors import UserError
from alcurr.core.redaction import redact
from alcurr.experiments.config.schema import flatten, is_free

_UNFINISHED = ".orbax-checkpoint-tmp"  # ends the name of a folder of Orbax
# What an experiment writes to its folder. All else is the user's.
FILES = {
  *("config.json", "results.csv", "summary.csv", "report.html"),
  *("gallery.json", "gallery.npz", "runs", "figures", "scores"),
  *("tensorboard", "mlflow", "wandb"),
}
# Of these, what runs share, and one process writes at a time.
SHARED_FILES = FILES - {"runs", "tensorboard", "mlflow", "wandb"}
# In the folder of a run: its sampler's config and its number of trials.
RUN_RECORD = "config.json"


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Refuses a folder that holds another experiment, or files in its places.

  An experiment may get more samplers, scores and trials. It may lose samplers,
  whose runs stay in the folder.

  Raises:
    UserError: it cannot be made, is damaged, or holds what would be overwritten
      here, or elsewhere through a link.
  """
  paths.check_can_make(workdir, "--workdir")
  paths.check_can_checkpoint(workdir, "--workdir")
  path = workdir / "config.json"
  own = list(files.walk(workdir, FILES)) if workdir.exists() else []
  for other in own:
    is_gone = not other.is_symlink() and not other.exists()
    if not (is_gone or _is_plain(other)):
      text = f"{other} is a link, FIFO or device; remove it"
      raise UserError("exists", "--workdir", text)
    # A deleted experiment may have left folders that are empty but for
    # unfinished checkpoints: Orbax creates missing folders again.
    if path not in own and not (
      is_gone
      or other.is_dir()
      or files.is_temporary(other.name)
      or any(part.endswith(_UNFINISHED) for part in other.parts)
    ):
      text = f"{other} is not of this experiment; choose another folder"
      raise UserError("exists", "--workdir", text)
  if path not in own:
    return
  saved = read_record(path, text="expected a config; choose another --workdir")
  for result in sorted(workdir.glob("runs/*/result.json")):
    read_record(result, text="expected a result; delete it to rerun the run")
  # JSON has no tuples: both sides are compared as JSON has them.
  new = files.plain(config.to_dict())
  if isinstance(samplers := saved.get("samplers"), dict):
    samplers = samplers | _recorded_samplers(workdir)
    shared = samplers.keys() & new.get("samplers", {}).keys()
    saved["samplers"] = {k: samplers[k] for k in shared}
    new["samplers"] = {k: new["samplers"][k] for k in shared}
  # More scores may be added, but none changed.
  if isinstance(scores := saved.get("scores"), dict):
    new["scores"] = {k: v for k, v in new["scores"].items() if k in scores}
  old, new = flatten(saved), flatten(new)
  for field in sorted(old.keys() | new.keys()):
    before, now = old.get(field), new.get(field)
    if is_free(field) or before == now or _adds_trials(field, before, now):
      continue
    text = (
      f"{workdir} holds an experiment of another config ({field} is "
      f"{before!r} there, {now!r} here)"
    )
    raise UserError("mismatch", "--workdir", text)


def _is_plain(path: pathlib.Path) -> bool:
  return not path.is_symlink() and (path.is_file() or path.is_dir())


def _recorded_samplers(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns the config of each sampler with a run, perhaps removed since."""
  return {
    path.parent.name: read_record(path, "sampler")["sampler"]
    for path in sorted(workdir.glob(f"runs/*/{RUN_RECORD}"))
  }


def _adds_trials(field: str, before: Any, now: Any) -> bool:
  """Returns whether a field is the trials, of which there are more now."""
  is_count = type(before) is int and type(now) is int
  return field == "trials" and is_count and now > before


def make_record(config: ConfigDict) -> dict[str, Any]:
  """Returns a config as config.json and trackers have it: without a password.

  Nothing reads the address of the trackers from there.
  """
  record = files.plain(config.to_dict())
  return record | {"tracking_uri": redact(config.tracking_uri)}


def read_record(
  path: pathlib.Path, *fields: str, text: str = "not a JSON object"
) -> dict[str, Any]:
  """Reads a JSON file of an experiment that has some fields.

  Raises:
    UserError: it is missing, lacks a field, or is damaged (then with `text`).
  """
  try:
    record = files.read_record(path)
  except OSError as error:
    reason = f"{error.strerror}; expected a file of an experiment"
    raise UserError("missing", str(path), reason) from error
  if record is None:
    raise UserError("damaged", str(path), text)
  for field in fields:
    if field not in record:
      raise UserError("mismatch", str(path), f"has no field {field}")
  return record
