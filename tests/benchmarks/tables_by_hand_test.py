"""Arguments and tables of the benchmarks, against examples by hand."""

import re

import numpy as np
import pandas as pd
import pytest

from benchmarks import lowerings, models


def test_rates_and_ratios():
  rows = {"alcurr": {}, "PyTorch": {}, "torch.compile": {"note": "failed"}}
  times = {
    "alcurr": np.array([0.5, 1.0, 0.5]),
    "PyTorch": np.array([1.0, 1.0, 2.0]),
  }
  models.add_rates(rows, times, batch_size=32)
  assert rows["alcurr"] == {"rounds": 3, "images_per_second": 64}
  # The ratios of the rounds are 2, 1 and 4.
  assert rows["PyTorch"] == {
    "rounds": 3,
    "images_per_second": 32,
    "ratio": 2,
    "ratio_10%": pytest.approx(1.2),
    "ratio_90%": pytest.approx(3.6),
  }
  assert rows["torch.compile"] == {"note": "failed"}


def test_frameworks_on_different_devices_are_not_compared():
  with pytest.raises(SystemExit, match="same platform"):
    models.check_platforms({"a": {"platform": "gpu"}, "b": {"platform": "cpu"}})
  models.check_platforms({"a": {"platform": "cpu"}, "b": {"note": "failed"}})


def test_lowerings_by_kind():
  first, *_, last = lowerings.LOWERINGS
  slower = {("a", first): 1, ("a", last): 4, ("b", first): 9, ("b", last): 1}
  table = pd.DataFrame(
    {
      "dtype": "float32",
      "batch": 32,
      "pixels": 64,
      "kind": "pool",
      "role": "forward",
      "case": case,
      "lowering": lowering,
      "ms": 2.0 * times,
      "slower": times,
    }
    for case in "ab"
    for lowering in lowerings.LOWERINGS
    for times in [float(slower.get((case, lowering), 100))]
  )
  [kind] = lowerings.by_kind(table).to_dict("records")
  assert kind[first] == pytest.approx(3)
  assert kind[last] == pytest.approx(2)
  assert kind["fastest"] == last
  a, b = lowerings.by_case(table).to_dict("records")
  assert (a[first], a[last], b[first], b[last]) == ("2*", "8 ", "18 ", "2*")


@pytest.mark.parametrize(
  ("parse", "argv", "message"),
  [
    (models.parse, ["--models", "resnet"], "resnet50.*'resnet'"),
    (models.parse, ["--batch_sizes", "32,0"], "positive integer, got '0'"),
    (lowerings.parse, ["--kinds", "conv"], "full, .*'conv'"),
  ],
)
def test_bad_arguments(parse, argv, message, capsys):
  with pytest.raises(SystemExit):
    parse(argv)
  assert re.search(message, capsys.readouterr().err)
