"""A path means one place, and names that mean another one are refused."""

import argparse
import os
import pathlib

import pytest
from refusal import refused

from alcurr.core import cli, paths
from alcurr.core.errors import UserError


def test_a_path_is_expanded_and_absolute(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.chdir(tmp_path)
  for text in ("~/exp", pathlib.Path("~/exp"), "home/exp", "./home//exp/"):
    assert paths.absolute(text) == tmp_path / "home/exp"
  assert paths.absolute("./~/exp") == tmp_path / "~/exp"  # as in a shell
  assert paths.absolute("a$HOME") == tmp_path / "a$HOME"
  (tmp_path / "far/inner").mkdir(parents=True)
  (tmp_path / "link").symlink_to(tmp_path / "far/inner")
  assert paths.absolute("link") == tmp_path / "link"
  # As the system reads it.
  assert paths.absolute("link/../x") == tmp_path / "far/x"
  monkeypatch.chdir("/")
  assert paths.absolute(tmp_path / "x") == tmp_path / "x"


@pytest.mark.parametrize(
  ("path", "code"),
  [
    *(("", "syntax"), ("a\0b", "syntax"), ("~no_such_user/x", "syntax")),
    *((3, "type"), (None, "type"), (b"x", "type")),
  ],
)
def test_what_is_no_path_is_refused(path, code):
  with refused(code, "workdir"):
    paths.absolute(path, "workdir")


def test_every_parser_reads_paths_alike(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  parser = cli.Parser(prog="x", example="x FILE")
  parser.add_argument("--out", type=pathlib.Path, default="runs/a")
  command = parser.add_subparsers().add_parser("y", example="x y")
  command.add_argument("folder", type=pathlib.Path)
  expected = argparse.Namespace(out=tmp_path / "b", folder=tmp_path / "c")
  assert parser.parse_args(["--out=~/b", "y", "c"]) == expected
  assert parser.parse_args([]).out == tmp_path / "runs/a"
  with refused("syntax", "x"):
    parser.parse_args(["--out="])


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / "file").touch()
  (tmp_path / "link").symlink_to(tmp_path / "nothing")
  (tmp_path / "loop").symlink_to(tmp_path / "loop")
  for name in ("file", "file/x", "link", "link/x", "loop", "x" * 300):
    with refused("disk", "--workdir"):
      paths.check_can_make(tmp_path / name, "--workdir")
  (tmp_path / "folder").mkdir()
  (tmp_path / "good").symlink_to(tmp_path / "folder")
  paths.check_can_make(tmp_path / "good/x", "--workdir")


@pytest.mark.parametrize(
  "name", ["back\\slash", "a[b]", "gs:/x", os.fsdecode(b"\xff"), "a[b]/c"]
)
def test_where_orbax_would_write_elsewhere(tmp_path, name):
  with refused("disk", "--workdir"):
    paths.check_can_checkpoint(tmp_path / name, "--workdir")


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a b", "tür", "日本", "a:b"])
def test_other_names_hold_checkpoints(tmp_path, name):
  paths.check_can_checkpoint(tmp_path / name, "--workdir")


def test_a_name_that_the_locale_cannot_encode(monkeypatch):
  def encode(path):
    return str(path).encode("latin-1")

  monkeypatch.setattr(os, "fsencode", encode)
  paths.check_can_checkpoint(pathlib.Path("/a"), "--workdir")
  for name in ("/tür", "/日本"):  # of another encoding, of none
    with refused("disk", "--workdir"):
      paths.check_can_checkpoint(pathlib.Path(name), "--workdir")


def test_a_database_is_within_its_folder():
  for name in ("/a?b", "/a%20b", "/{a}"):
    with pytest.raises(UserError):
      paths.sqlite_url(pathlib.Path(name, "x.db"), "--out")
  path = pathlib.Path("/a 50%/x.db")
  assert paths.sqlite_url(path, "--out") == "sqlite:////a 50%/x.db"
