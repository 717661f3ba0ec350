"""What is refused as a workdir, before anything is written there."""

import pathlib

from ml_collections import ConfigDict

from alcurr.core import files, lock, paths
from alcurr.core.errors import UserError
from alcurr.experiments.config.schema import flatten, is_free


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Refuses a folder that holds anything but this very experiment."""
  paths.check_can_make(workdir, "--workdir")
  path = workdir / "config.json"
  if not path.exists():
    # Folders that hold none are what is left of one that was deleted.
    names = (p.name for p in workdir.rglob("*") if not p.is_dir())
    if not all(name == lock.NAME or files.is_temporary(name) for name in names):
      raise UserError(
        f"{workdir} holds files that are not an experiment's; choose an "
        "empty or new --workdir."
      )
    return
  # As JSON has it: a tuple comes back as a list.
  record = files.read_record(path)
  if record is None:
    raise UserError(
      f"{path} is damaged: it says no more what experiment this is; choose "
      "another --workdir."
    )
  for result in sorted(workdir.glob("runs/*/result.json")):
    if files.read_record(result) is None:
      raise UserError(
        f"{result} is damaged; delete it, and that run is done again."
      )
  there, here = flatten(record), flatten(files.plain(config.to_dict()))
  for field in sorted(there.keys() | here.keys()):
    if is_free(field):
      continue
    if there.get(field) != here.get(field):
      raise UserError(
        f"{workdir} holds an experiment of another config ({field} is "
        f"{there.get(field)!r} there, {here.get(field)!r} here); choose "
        "another --workdir."
      )
