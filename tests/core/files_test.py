"""Files are whole or absent, and JSON is JSON."""

import errno
import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError
from alcurr.experiments.workdir import check_workdir


def test_json_of_arrays_and_of_what_json_has_no_word_for(tmp_path):
  path = tmp_path / "a.json"
  value = {"a": np.float32(0.5), "b": [np.arange(2), float("nan")], 3: (True,)}
  files.write_json(path, value)
  assert json.loads(path.read_text()) == {
    "a": 0.5,
    "b": [[0, 1], None],
    "3": [True],
  }
  with files.json_lines(tmp_path / "rows.jsonl") as lines:
    lines.write({"loss": np.asarray(jnp.float32(1.5))})
    lines.write({"loss": float("inf")})
  rows = (tmp_path / "rows.jsonl").read_text().splitlines()
  assert [json.loads(row) for row in rows] == [{"loss": 1.5}, {"loss": None}]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
  path = tmp_path / "a.json"
  files.write_json(path, 1)

  def fail(file):
    file.write(b"half")
    raise OSError("disk full")

  with pytest.raises(OSError, match="disk full"):
    files.write_file(path, fail)
  assert path.read_text() == "1\n"
  assert list(tmp_path.iterdir()) == [path]


def test_workdirs(tmp_path):
  config = ConfigDict({"a": {"b": 1}, "c": (2, "x")})
  check_workdir(tmp_path / "new", config)
  check_workdir(tmp_path, config)  # empty
  (tmp_path / "thesis.tex").write_text("")
  with pytest.raises(UserError, match="not an experiment's"):
    check_workdir(tmp_path, config)
  with pytest.raises(UserError, match="is a file"):
    check_workdir(tmp_path / "thesis.tex", config)
  files.write_json(tmp_path / "config.json", config.to_dict())
  check_workdir(tmp_path, config)
  config.a.b = 5
  with pytest.raises(UserError, match=r"a\.b is 1 there, 5 here"):
    check_workdir(tmp_path, config)


def test_rows_go_on_from_a_mark(tmp_path):
  path = tmp_path / "rows.jsonl"
  with files.json_lines(path) as lines:
    start = lines.log_position()
    lines.write({"a": 1})
    mark = lines.log_position()
    lines.write({"a": 2})
  assert path.read_text() == '{"a": 1}\n{"a": 2}\n'
  with path.open("a") as file:
    file.write('{"a"')
  assert files.starts_with(path, start) and files.starts_with(path, mark)
  with files.json_lines(path, mark) as lines:
    lines.write({"a": 3})
    end = lines.log_position()
  assert path.read_text() == '{"a": 1}\n{"a": 3}\n'
  assert files.starts_with(path, end)
  path.write_text(path.read_text().replace("1", "7"))
  assert not files.starts_with(path, mark)
  path.unlink()
  assert not files.starts_with(path, mark) and files.starts_with(path, start)


def test_a_file_that_was_deleted_takes_no_rows(tmp_path):
  path = tmp_path / "rows.jsonl"
  with files.json_lines(path) as lines:
    path.unlink()
    with pytest.raises(MachineError, match="deleted or replaced under"):
      lines.write({})
    path.write_text("")
    with pytest.raises(MachineError, match="deleted or replaced under"):
      lines.write({})


def test_an_error_of_a_write_names_the_file(tmp_path):
  def fail(file):
    raise OSError(errno.ENOSPC, "No space left on device")

  with pytest.raises(OSError, match="No space") as error:
    files.write_file(tmp_path / "a.json", fail)
  assert error.value.filename == str(tmp_path / "a.json")


def test_a_folder_that_was_deleted_is_not_made_again(tmp_path):
  gone = tmp_path / "gone"
  with pytest.raises(FileNotFoundError):
    files.write_json(gone / "a.json", 1)
  assert not gone.exists()


def test_folders_without_a_file_are_an_empty_workdir(tmp_path):
  (tmp_path / "runs" / "uniform" / "checkpoints").mkdir(parents=True)
  check_workdir(tmp_path, ConfigDict())
  (tmp_path / "runs" / "uniform" / "a.txt").touch()
  with pytest.raises(UserError, match="choose an empty or new --workdir"):
    check_workdir(tmp_path, ConfigDict())


def test_what_killed_processes_left_is_removed(tmp_path):
  (tmp_path / "runs").mkdir()
  files.write_json(tmp_path / "runs/a.json", 1)
  (tmp_path / ".config.json.123").write_text("{")
  (tmp_path / "runs/.a.json.7").write_text("{")
  (tmp_path / "runs/.20").mkdir()
  check_workdir(tmp_path / "runs" / ".20", ConfigDict())
  files.remove_temporary(tmp_path)
  left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
  assert left == {"runs", "runs/a.json", "runs/.20"}


def test_what_cannot_change_the_results_may_change(tmp_path):
  config = ConfigDict({"cache_dir": "", "checkpoint": {"steps": 0}, "seed": 0})
  files.write_json(tmp_path / "config.json", config.to_dict())
  config.checkpoint.steps, config.cache_dir = 5, "elsewhere"
  check_workdir(tmp_path, config)
