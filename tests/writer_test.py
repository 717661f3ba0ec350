"""Files are whole or absent, and JSON is JSON."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alcurr import writer
from alcurr.errors import UserError


def test_json_of_arrays_and_of_what_json_has_no_word_for(tmp_path):
  path = tmp_path / "deep" / "a.json"
  value = {"a": np.float32(0.5), "b": [np.arange(2), float("nan")], 3: (True,)}
  writer.write_json(path, value)
  assert json.loads(path.read_text()) == {
    "a": 0.5,
    "b": [[0, 1], None],
    "3": [True],
  }
  with writer.json_lines(tmp_path / "rows.jsonl") as write:
    write({"loss": np.asarray(jnp.float32(1.5))})
    write({"loss": float("inf")})
  rows = (tmp_path / "rows.jsonl").read_text().splitlines()
  assert [json.loads(row) for row in rows] == [{"loss": 1.5}, {"loss": None}]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
  path = tmp_path / "a.json"
  writer.write_json(path, 1)

  def fail(file):
    file.write(b"half")
    raise OSError("disk full")

  with pytest.raises(OSError, match="disk full"):
    writer.write_file(path, fail)
  assert path.read_text() == "1\n"
  assert list(tmp_path.iterdir()) == [path]


def test_workdirs(tmp_path):
  config = ConfigDict({"a": {"b": 1}, "c": (2, "x")})
  writer.check_workdir(tmp_path / "new", config)
  writer.check_workdir(tmp_path, config)  # empty
  (tmp_path / "thesis.tex").write_text("")
  with pytest.raises(UserError, match="not an experiment's"):
    writer.check_workdir(tmp_path, config)
  with pytest.raises(UserError, match="is a file"):
    writer.check_workdir(tmp_path / "thesis.tex", config)
  writer.write_json(tmp_path / "config.json", config.to_dict())
  writer.check_workdir(tmp_path, config)
  config.a.b = 5
  with pytest.raises(UserError, match=r"a\.b is 1 there, 5 here"):
    writer.check_workdir(tmp_path, config)
