"""The file for Kaggle, byte for byte, and what is refused in one."""

import numpy as np
import pytest

from alcurr.core.errors import FaultError, UserError
from alcurr.data.quickdraw import submission

KEY = np.array([2**63 + 5, 7], np.uint64)
NAMES = ["The Eiffel Tower", "ant", "bee", "cat"]


def test_the_file_by_hand(tmp_path):
  path = tmp_path / "out.csv"
  words = submission.words_of(NAMES)
  submission.write(path, KEY, np.array([[1, 0, 3], [2, 1, 0]]), words)
  assert path.read_bytes() == (
    b"key_id,word\n"
    b"9223372036854775813,ant The_Eiffel_Tower cat\n"
    b"7,bee ant The_Eiffel_Tower\n"
  )


def test_what_is_wrong_is_not_put_in_place(tmp_path):
  path = tmp_path / "out.csv"
  twice = np.array([[1, 1, 0], [0, 1, 2]])
  with pytest.raises(FaultError, match="of 9223372036854775813 it says 'ant a"):
    submission.write(path, KEY, twice, submission.words_of(NAMES))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("key,word\n7,ant\n9223372036854775813,bee\n", "is no submission"),
    ("key_id,word\n7,ant\n", "does not hold each drawing"),
    ("key_id,word\n7,ant\n7,bee\n", "does not hold each drawing"),
    ("key_id,word\n7,ant\n9223372036854775813,dog\n", "it says 'dog'"),
    ("key_id,word\n7,ant\n9223372036854775813,ant,bee\n", "is no submission"),
  ],
)
def test_what_kaggle_would_refuse(tmp_path, text, message):
  path = tmp_path / "out.csv"
  path.write_text(text)
  with pytest.raises(FaultError, match=message):
    submission.check(path, KEY, ["ant", "bee"])


def test_names_that_become_the_same():
  with pytest.raises(UserError, match="the same name but for spaces"):
    submission.words_of(["a b", "a_b"])
