"""Trials that are added to a run: trained apart, and joined to its files.

    runs/<sampler>/            the run, with the trials that it began with
    runs/<sampler>/trials-3/   trials from 3 on, as a run of its own

What the run had stays as it was. Its metrics.jsonl, test.npz and result.json
get the rows of the added trials, and every reader finds all trials there. A
judgement of labels stays that of the first trials.
"""

import json
import pathlib
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.experiments.loggers import read_rows
from alcurr.experiments.workdir import RUN_RECORD, read_record
from alcurr.training import checkpoint
from alcurr.types import Model, PyTree

_FOLDER = re.compile(r"trials-([1-9]\d*)")


class Block(NamedTuple):
  """Trials of a sampler that are trained together."""

  sampler: str
  first: int  # trial
  count: int

  def folder(self, workdir: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the block in an experiment's folder."""
    run = workdir / "runs" / self.sampler
    return run / f"trials-{self.first}" if self.first else run


def unfinished_blocks(
  workdir: pathlib.Path, name: str, trials: int
) -> list[Block]:
  """Returns what has to be trained until a sampler has a number of trials.

  A block that has checkpoints keeps its number of trials.
  """
  blocks, first = [], count_finished(workdir, name)
  while first < trials:
    block = Block(name, first, trials - first)
    folder = block.folder(workdir)
    if checkpoint.steps(folder / "checkpoints"):
      begun = files.read_record(folder / RUN_RECORD) or {}
      block = block._replace(count=begun.get("trials", block.count))
    blocks.append(block)
    first += block.count
  return blocks


def count_finished(workdir: pathlib.Path, name: str) -> int:
  """Returns the number of trials that a sampler's result.json has."""
  path = workdir / "runs" / name / "result.json"
  if not path.exists():
    return 0
  return len(read_record(path, "trials")["trials"])


def write_record(folder: pathlib.Path, sampler: ConfigDict, trials: int):
  """Writes what a block begins with, for `unfinished_blocks` and its check."""
  record = {"sampler": sampler.to_dict(), "trials": trials}
  files.write_json(folder / RUN_RECORD, record)


def read_variables(
  run: pathlib.Path, trials: int, step: int, model: Model
) -> tuple[PyTree, PyTree]:
  """Returns params and model_state of all trials of a finished run, [S].

  Raises:
    UserError: see `checkpoint.read_variables`.
  """
  parts = []
  for block in _stored_blocks(run, trials):
    keys = jax.random.split(jax.random.key(0), block.count)
    like = jax.eval_shape(jax.vmap(model.init), keys)
    folder = block.folder(run.parents[1]) / "checkpoints"
    parts.append(checkpoint.read_variables(folder, step, like))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _stored_blocks(run: pathlib.Path, trials: int) -> list[Block]:
  """Returns the blocks of a finished run's folder that has some trials."""
  starts = [_FOLDER.fullmatch(path.name) for path in run.glob("trials-*")]
  starts = sorted(int(match[1]) for match in starts if match)
  starts = [0, *(first for first in starts if first < trials)]
  ends = [*starts[1:], trials]
  return [
    Block(run.name, first, end - first)
    for first, end in zip(starts, ends, strict=True)
  ]


def check_steps(workdir: pathlib.Path, block: Block, num_steps: int) -> None:
  """Refuses to add trials of another number of steps than the run's.

  Raises:
    UserError: at the run.
  """
  run = workdir / "runs" / block.sampler
  if block.first and (run / "result.json").exists():
    known = {"steps": read_record(run / "result.json", "steps")["steps"]}
    checkpoint.check_same(run, known, {"steps": num_steps})


def join(workdir: pathlib.Path, block: Block) -> None:
  """Adds a finished block to the files of its run.

  If it is interrupted, it can be repeated.

  Raises:
    UserError: the run and the block are of other test examples.
  """
  run, added = workdir / "runs" / block.sampler, block.folder(workdir)
  first = block.first
  rows = [r for r in read_rows(run / "metrics.jsonl") if r["trial"] < first]
  rows += [
    row | {"trial": first + row["trial"]}
    for row in read_rows(added / "metrics.jsonl")
  ]
  lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
  old, new = (_read_arrays(folder / "test.npz") for folder in (run, added))
  if not np.array_equal(old["label"], new["label"]):
    text = "its test examples are not those of the first trials"
    raise UserError("mismatch", str(added), text)
  arrays = {
    name: np.concatenate([old[name][:first], new[name]])
    for name in old.keys() - {"label"}
  }
  arrays["label"] = old["label"]
  result = files.read_json(run / "result.json")
  result["trials"] = result["trials"][:first] + _trials(added)
  files.write_file(
    run / "metrics.jsonl", lambda file: file.write(lines.encode())
  )
  files.write_file(
    run / "test.npz", lambda file: np.savez_compressed(file, **arrays)
  )
  # Last, since it says how many trials the run has.
  files.write_json(run / "result.json", result)


def _trials(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Returns a block's trials, each with the seconds that differ by block."""
  result = files.read_json(folder / "result.json")
  seconds = {"train_seconds": result["train_seconds"]}
  return [trial | seconds for trial in result["trials"]]


def _read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  files.check_regular(path)
  with np.load(path, allow_pickle=False) as file:
    return dict(file)
