"""Checks of a workdir, before anything is written there."""

import pathlib

from ml_collections import ConfigDict

from alcurr.core import files, lock, paths
from alcurr.core.errors import UserError
from alcurr.experiments.config.schema import flatten, is_free

_UNFINISHED = ".orbax-checkpoint-tmp"  # ends the name of a folder of Orbax


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Refuses a folder that holds anything but this very experiment.

  Raises:
    UserError: it cannot be made, is damaged, or holds something else.
  """
  paths.check_can_make(workdir, "--workdir")
  path = workdir / "config.json"
  if not path.exists():
    # A deleted experiment may have left folders that are empty but for
    # unfinished checkpoints: Orbax creates missing folders again.
    names = (
      p.name
      for p in workdir.rglob("*")
      if not p.is_dir()
      and not any(part.endswith(_UNFINISHED) for part in p.parts)
    )
    if not all(name == lock.NAME or files.is_temporary(name) for name in names):
      expected = "an empty or new folder or an experiment's"
      text = f"expected {expected}, got {workdir}"
      raise UserError("exists", "--workdir", text)
    return
  saved = files.read_record(path)
  if saved is None:
    text = "expected a config; choose another --workdir"
    raise UserError("damaged", str(path), text)
  for result in sorted(workdir.glob("runs/*/result.json")):
    if files.read_record(result) is None:
      text = "expected a result; delete it to rerun the run"
      raise UserError("damaged", str(result), text)
  # JSON has no tuples: both sides are compared as JSON has them.
  old, new = flatten(saved), flatten(files.plain(config.to_dict()))
  for field in sorted(old.keys() | new.keys()):
    if not is_free(field) and old.get(field) != new.get(field):
      text = (
        f"{workdir} holds an experiment of another config ({field} is "
        f"{old.get(field)!r} there, {new.get(field)!r} here)"
      )
      raise UserError("mismatch", "--workdir", text)
