"""Targets of regression have mean 0 and deviation 1 among those trained on."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from alcurr.data import arrays, targets


@pytest.mark.parametrize("outputs", [(), (1,), (3,)])
def test_the_scale_is_scikit_learns_of_the_training_split(outputs):
  rng = np.random.default_rng(0)
  parts = {}
  for name, size in (("train", 50), ("valid", 20)):
    values = rng.normal(3e5, 8e4, (size, *outputs)).astype(np.float32)
    rows = rng.normal(size=(size, 2))
    parts[name] = arrays.from_arrays(rows, values, regression=True)
  scaled, scale = targets.standardize(parts)
  columns = {n: p.target.reshape(len(p.target), -1) for n, p in parts.items()}
  expected = StandardScaler().fit(columns["train"].astype(np.float64))
  np.testing.assert_allclose(scale.mean, expected.mean_)
  np.testing.assert_allclose(scale.deviation, expected.scale_)
  for name, part in scaled.items():
    assert part.target.shape == parts[name].target.shape
    assert part.target.dtype == np.float32
    np.testing.assert_allclose(
      part.target.reshape(len(part.target), -1),
      expected.transform(columns[name].astype(np.float64)),
      atol=1e-5,
    )


def test_a_number_that_does_not_differ_is_only_moved():
  values = np.array([[7.0, 1.0], [7.0, 2.0], [7.0, 4.0]])
  part = arrays.from_arrays(np.eye(3), values, regression=True)
  scaled, scale = targets.standardize({"train": part})
  assert scaled["train"].target[:, 0].tolist() == [0, 0, 0]
  assert scale.deviation[0] == 1
