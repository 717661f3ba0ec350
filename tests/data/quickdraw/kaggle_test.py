"""The file for Kaggle, byte for byte, and what it must not contain."""

import numpy as np
import pytest
from refusal import refused

from alcurr.data.quickdraw import kaggle

KEY = np.array([2**63 + 5, 7], np.uint64)
NAMES = ["The Eiffel Tower", "ant", "bee", "cat"]


def test_the_file_by_hand(tmp_path):
  path = tmp_path / "out.csv"
  words = kaggle.words_of(NAMES)
  kaggle.write_submission(path, KEY, np.array([[1, 0, 3], [2, 1, 0]]), words)
  assert path.read_bytes() == (
    b"key_id,word\n"
    b"9223372036854775813,ant The_Eiffel_Tower cat\n"
    b"7,bee ant The_Eiffel_Tower\n"
  )


def test_a_word_is_no_formula(tmp_path):
  path = tmp_path / "out.csv"
  words = kaggle.words_of(["=1+1", "ant", "-2"])
  best = np.array([[0, 1], [1, 0], [2, 0]])
  kaggle.write_submission(path, np.arange(3), best, words)
  assert path.read_text().splitlines()[1:] == [
    "0,'=1+1 ant",
    "1,ant =1+1",
    "2,'-2 =1+1",
  ]


@pytest.mark.parametrize("best", [[[1, 1, 0], [0, 1, 2]], [[0, 1, 2, 3]] * 2])
def test_what_kaggle_would_refuse(tmp_path, best):
  words = kaggle.words_of(NAMES)
  with pytest.raises(ValueError, match="different classes"):
    kaggle.write_submission(tmp_path / "out.csv", KEY, np.array(best), words)
  assert not list(tmp_path.iterdir())


def test_names_that_become_the_same():
  with refused("conflict", "classes"):
    kaggle.words_of(["a b", "a_b"])


def test_a_key_that_is_not_unique(tmp_path):
  path, row = tmp_path / "test.csv", ',US,"[[[1],[2]]]"\n'
  path.write_text("key_id,countrycode,drawing\n" + 2 * f"{KEY[0]}{row}")
  with refused("data", path):
    kaggle.read_test(path)
  path.write_text(f"key_id,countrycode,drawing\n{KEY[0]}{row}{KEY[1]}{row}")
  assert kaggle.read_test(path)[1].tolist() == KEY.tolist()
