"""Labels of every type that people have, and which of them are refused."""

import numpy as np
import pandas as pd
import pytest
from refusal import refused

from alcurr.data.labels import read_labels

CLASS = np.array([2, 0, 1, 1, 0, 2])
NAMES = np.array(["cat", "dog", "owl"])
STRINGS = NAMES[CLASS]


@pytest.mark.parametrize(
  "labels",
  [
    STRINGS,
    list(STRINGS),
    STRINGS.tolist(),
    tuple(STRINGS.tolist()),
    STRINGS.astype(object),
    STRINGS.astype(bytes),
    list(STRINGS.astype(bytes)),
    STRINGS.astype(np.dtypes.StringDType()),
    STRINGS[:, None],
    np.ma.array(STRINGS),
    pd.Series(STRINGS),
    pd.Series(STRINGS, index=CLASS),
    pd.Series(STRINGS, dtype="string"),
    pd.Series(STRINGS, dtype=object),
    pd.Categorical(STRINGS, ["owl", "unused", "cat", "dog"]),
    pd.DataFrame({"word": STRINGS}),
  ],
)
def test_strings(labels):
  label, names = read_labels(labels, 6)
  assert names == ("cat", "dog", "owl")
  assert label.dtype == np.int32 and label.tolist() == CLASS.tolist()
  label, names = read_labels(labels, 6, ["owl", "dog", "cat"])
  assert names == ("owl", "dog", "cat")
  assert label.tolist() == (2 - CLASS).tolist()


@pytest.mark.parametrize("first", [0, 1, 2**40])
@pytest.mark.parametrize("gap", [1, 7])
@pytest.mark.parametrize(
  "of_type",
  [
    np.asarray,
    list,
    lambda x: x.tolist(),
    lambda x: x.astype(float),
    lambda x: x.astype(np.uint64),
    lambda x: x.astype(object),
    lambda x: x[:, None],
    lambda x: pd.Series(x, dtype="Int64"),
    lambda x: pd.Categorical(x),
    lambda x: [float(x[0]), *x[1:].tolist()],
  ],
)
def test_whole_numbers_are_names(of_type, first, gap):
  label, names = read_labels(of_type(first + gap * CLASS), 6)
  assert names == tuple(str(first + gap * i) for i in range(3))
  assert label.tolist() == CLASS.tolist()


def test_numbers_beyond_the_types_of_numpy_stay_apart():
  labels = [2**70 + i for i in CLASS.tolist()]
  label, names = read_labels(labels, 6)
  assert names == tuple(str(2**70 + i) for i in range(3))
  assert label.tolist() == CLASS.tolist()


@pytest.mark.parametrize(
  "of_type", [np.asarray, list, lambda x: pd.Series(x, dtype="boolean")]
)
def test_bools(of_type):
  labels = of_type(CLASS > 0)
  label, names = read_labels(labels, 6)
  assert names == ("False", "True")
  assert label.tolist() == (CLASS > 0).tolist()
  assert read_labels(labels, 6, ["cat", "dog"])[1] == ("cat", "dog")


def _with(value, dtype=None):
  """Returns the strings, with another value in place of the first."""
  return np.array([value, *STRINGS[1:].tolist()], dtype)


@pytest.mark.parametrize(
  ("labels", "place"),
  [
    # Missing.
    (_with(np.nan), "labels"),  # which NumPy makes a string
    (_with(None, object), "labels"),
    (_with(np.nan, object), "labels"),
    (_with(np.nan, object).tolist(), "labels"),
    (pd.Series(_with(pd.NA, object), dtype="string"), "labels"),
    (pd.Series([pd.NA, 1, 2, 0, 1, 2], dtype="Int64"), "labels"),
    (pd.Categorical(_with(None, object)), "labels"),
    (np.array([np.nan, 1, 2, 0, 1, 2]), "labels"),
    (np.array([np.inf, 1, 2, 0, 1, 2]), "labels"),
    (np.ma.array(CLASS, mask=CLASS == 1), "labels"),
    (np.ma.array(STRINGS, mask=CLASS == 1), "labels"),
    ([np.ma.masked, *CLASS[1:]], "labels"),
    (CLASS - 1, "labels"),
    # Mixed, or of another type.
    ([0, 1, 2, "0", "1", "2"], "labels"),
    (np.array([0, 1, 2, "0", "1", "2"], object), "labels"),
    ([True, False, 1, 0, 1, 0], "labels"),
    (CLASS / 2, "labels"),
    (CLASS * 1j, "labels"),
    (CLASS.astype("datetime64[ns]"), "labels"),
    (CLASS.astype("timedelta64[s]"), "labels"),
    ([[1], [1, 2], [1], [2], [1], [2]], "labels"),
    # Of another shape.
    (CLASS[:5], "labels"),
    (CLASS[None], "labels"),
    (np.eye(3)[CLASS], "labels"),
    (3, "labels"),
    # Names that look the same.
    (_with("cat "), "classes"),
    (_with(" owl"), "classes"),
    (["caf\xe9", "cafe\u0301"] * 3, "classes"),
    (["a b", "a  b"] * 3, "classes"),
    (_with(""), "classes"),
    (["cat"] * 6, "classes"),
  ],
)
def test_labels_that_are_not_clear_are_refused(labels, place):
  with refused("data", place):
    read_labels(labels, 6)


def test_a_class_may_be_called_nan_where_names_are_given():
  label, names = read_labels(_with("nan"), 6, ["nan", "cat", "dog", "owl"])
  assert names[0] == "nan" and label[0] == 0


def test_case_tells_classes_apart():
  assert read_labels(["a", "A"] * 3, 6)[1] == ("A", "a")
