"""Checks of a workdir, before anything is written there."""

import pathlib

from ml_collections import ConfigDict

from alcurr.core import files, lock, paths
from alcurr.core.errors import UserError
from alcurr.experiments.config.schema import flatten, is_free


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Refuses a folder that holds anything but this very experiment.

  Raises:
    UserError: it cannot be made, is damaged, or holds something else.
  """
  paths.check_can_make(workdir, "--workdir")
  path = workdir / "config.json"
  if not path.exists():
    # A deleted experiment may have left empty folders.
    names = (p.name for p in workdir.rglob("*") if not p.is_dir())
    if not all(name == lock.NAME or files.is_temporary(name) for name in names):
      problem = f"expected an empty folder or an experiment's, got {workdir}"
      raise UserError("exists", "--workdir", problem)
    return
  saved = files.read_record(path)
  if saved is None:
    problem = "expected a config; choose another --workdir"
    raise UserError("damaged", str(path), problem)
  for result in sorted(workdir.glob("runs/*/result.json")):
    if files.read_record(result) is None:
      problem = "expected a result; delete it to rerun the run"
      raise UserError("damaged", str(result), problem)
  # JSON has no tuples: both sides are compared as JSON has them.
  old, new = flatten(saved), flatten(files.plain(config.to_dict()))
  for field in sorted(old.keys() | new.keys()):
    if not is_free(field) and old.get(field) != new.get(field):
      text = (
        f"{workdir} holds an experiment of another config ({field} is "
        f"{old.get(field)!r} there, {new.get(field)!r} here)"
      )
      raise UserError("mismatch", "--workdir", text)
