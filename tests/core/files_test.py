"""Files are complete or absent, and JSON is valid."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from refusal import refused

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError
from alcurr.experiments.workdir import FILES, check_workdir


def test_arrays_and_nan_as_json(tmp_path):
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


def test_a_failed_write_keeps_the_old_file(tmp_path):
  path = tmp_path / "a.json"
  files.write_json(path, 1)

  def fail(file):
    file.write(b"half")
    raise OSError("disk full")

  with pytest.raises(OSError, match="disk full"):
    files.write_file(path, fail)
  assert path.read_text() == "1\n"
  assert list(tmp_path.iterdir()) == [path]


def _assert_refused(workdir, config, text="--workdir"):
  with pytest.raises(UserError) as refused:
    check_workdir(workdir, config)
  assert text in str(refused.value)


def test_only_new_empty_or_matching_workdirs_are_accepted(tmp_path):
  config = ConfigDict({"a": {"b": 1}, "c": (2, "x")})
  check_workdir(tmp_path / "new", config)
  check_workdir(tmp_path, config)  # empty
  (tmp_path / "slurm-1.out").write_text("")
  (tmp_path / ".config.swp").write_text("")
  check_workdir(tmp_path, config)  # files that are not in its places
  _assert_refused(tmp_path / "slurm-1.out", config)
  (tmp_path / "report.html").write_text("")
  _assert_refused(tmp_path, config)
  files.write_json(tmp_path / "config.json", config.to_dict())
  check_workdir(tmp_path, config)
  config.a.b = 5
  _assert_refused(tmp_path, config, "a.b is 1 there, 5 here")


def test_rows_continue_from_a_position(tmp_path):
  path = tmp_path / "rows.jsonl"
  with files.json_lines(path) as lines:
    start = lines.log_position()
    lines.write({"a": 1})
    position = lines.log_position()
    lines.write({"a": 2})
  assert path.read_text() == '{"a": 1}\n{"a": 2}\n'
  with path.open("a") as file:
    file.write('{"a"')
  assert files.starts_with(path, start) and files.starts_with(path, position)
  with files.json_lines(path, position) as lines:
    lines.write({"a": 3})
    end = lines.log_position()
  assert path.read_text() == '{"a": 1}\n{"a": 3}\n'
  assert files.starts_with(path, end)
  path.write_text(path.read_text().replace("1", "7"))
  assert not files.starts_with(path, position)
  path.unlink()
  assert not files.starts_with(path, position)
  assert files.starts_with(path, start)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_or_replaced_file_takes_no_rows(replaced, tmp_path):
  path = tmp_path / "rows.jsonl"
  with files.json_lines(path) as lines:
    path.unlink()
    if replaced:
      path.write_text("")
    with pytest.raises(MachineError) as raised:
      lines.write({})
  assert (raised.value.code, raised.value.place) == ("damaged", str(path))


def test_a_failed_write_names_the_file(tmp_path):
  def fail(file):
    raise OSError(errno.ENOSPC, "No space left on device")

  with pytest.raises(OSError, match="No space") as error:
    files.write_file(tmp_path / "a.json", fail)
  assert error.value.filename == str(tmp_path / "a.json")


def test_a_deleted_folder_is_not_created_again(tmp_path):
  gone = tmp_path / "gone"
  with pytest.raises(FileNotFoundError):
    files.write_json(gone / "a.json", 1)
  assert not gone.exists()


def test_folders_without_files_are_an_empty_workdir(tmp_path):
  (tmp_path / "runs" / "uniform" / "checkpoints").mkdir(parents=True)
  check_workdir(tmp_path, ConfigDict())
  (tmp_path / "runs" / "uniform" / "a.txt").touch()
  _assert_refused(tmp_path, ConfigDict())


def test_files_of_killed_processes_are_removed(tmp_path):
  (tmp_path / "runs").mkdir()
  files.write_json(tmp_path / "runs/a.json", 1)
  (tmp_path / ".config.json.123").write_text("{")
  (tmp_path / "runs/.a.json.7").write_text("{")
  (tmp_path / "runs/.20").mkdir()
  check_workdir(tmp_path / "runs" / ".20", ConfigDict())
  (tmp_path / ".notes.5").write_text("the user's")
  files.remove_temporary(tmp_path, FILES)
  left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
  assert left == {"runs", "runs/a.json", "runs/.20", ".notes.5"}


def test_settings_that_change_no_result_may_change(tmp_path):
  config = ConfigDict({"cache_dir": "", "checkpoint": {"steps": 0}, "seed": 0})
  files.write_json(tmp_path / "config.json", config.to_dict())
  config.checkpoint.steps, config.cache_dir = 5, "elsewhere"
  check_workdir(tmp_path, config)


def test_a_folder_that_orbax_made_again_counts_as_empty(tmp_path):
  """A checkpoint that was being written when the workdir was deleted."""
  state = tmp_path / "runs/a/checkpoints/16.orbax-checkpoint-tmp/state"
  state.mkdir(parents=True)
  (state / "manifest.ocdbt").write_bytes(b"half")
  check_workdir(tmp_path, ConfigDict())
  (tmp_path / "runs/a/thesis.tex").write_text("x")
  with pytest.raises(UserError):
    check_workdir(tmp_path, ConfigDict())


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path):
  path = tmp_path / "a.json"
  path.write_text("[1]")
  files.check_regular(path, 3)
  (tmp_path / "link.json").symlink_to(path)
  assert files.read_json(tmp_path / "link.json") == [1]
  with refused("data", path):
    files.check_regular(path, 2)
  os.mkfifo(tmp_path / "fifo")
  (tmp_path / "folder").mkdir()
  (tmp_path / "device").symlink_to("/dev/zero")
  for name in ("fifo", "folder", "device"):
    with refused("data", tmp_path / name):
      files.read_json(tmp_path / name)
  assert files.read_record(tmp_path / "fifo") is None
  with pytest.raises(FileNotFoundError):
    files.check_regular(tmp_path / "none")


def test_nothing_is_written_through_a_link(tmp_path):
  victim = tmp_path / "victim"
  victim.write_text("precious")
  folder = tmp_path / "folder"
  folder.mkdir()
  for name in ("a.json", f".a.json.{os.getpid()}"):
    (folder / name).symlink_to(victim)
  files.write_json(folder / "a.json", 1)
  assert victim.read_text() == "precious"
  assert not (folder / "a.json").is_symlink()
  assert [path.name for path in folder.iterdir()] == ["a.json"]
  (folder / "link").symlink_to(tmp_path)
  with refused("exists", folder / "link"):
    files.make_folder(folder / "link")


@pytest.mark.parametrize("name", ["runs", "figures", "runs/a/metrics.jsonl"])
@pytest.mark.parametrize("kind", ["folder", "file", "nothing", "fifo"])
@pytest.mark.parametrize("resumes", [False, True])
def test_a_workdir_with_links_or_fifos_is_refused(
  tmp_path, name, kind, resumes
):
  workdir, config = tmp_path / "workdir", ConfigDict({"a": 1})
  path = workdir / name
  path.parent.mkdir(parents=True)
  (tmp_path / "folder").mkdir()
  (tmp_path / "file").write_text("")
  if resumes:
    files.write_json(workdir / "config.json", config.to_dict())
  check_workdir(workdir, config)
  (workdir / "notes").symlink_to(tmp_path / kind)  # not in our places
  if kind == "fifo":
    os.mkfifo(path)
  else:
    path.symlink_to(tmp_path / kind)
  with refused("exists", "--workdir"):
    check_workdir(workdir, config)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_config_that_an_editor_saved(tmp_path, encoding, newline):
  config = ConfigDict({"seed": 1, "name": "Katze \U0001f431"})
  text = json.dumps(config.to_dict(), ensure_ascii=False, indent=2)
  text = text.replace("\n", newline)
  (tmp_path / "config.json").write_bytes(text.encode(encoding))
  check_workdir(tmp_path, config)
  config.seed = 2
  _assert_refused(tmp_path, config)
