"""Generated doodles: faults in the requested shares, valid drawings."""

import numpy as np
import pytest

from alcurr.data import strokes
from alcurr.data.quickdraw import synthetic

NO_FAULTS = {
  "scribble_fraction": 0.0,
  "unfinished_fraction": 0.0,
  "wrong_label_fraction": 0.0,
}


def _num_points(source):
  return np.diff(source.stroke_start[source.drawing_start])


def test_faults_come_in_the_fractions_asked_for():
  fractions = {
    "scribble": 0.1,
    "unfinished": 0.2,
    "wrong_label": 0.3,
  }
  dataset = synthetic.make_synthetic(
    20_000, **{f"{k}_fraction": v for k, v in fractions.items()}
  )
  for name, fraction in fractions.items():
    # Four standard errors of a binomial share.
    error = np.sqrt(fraction * (1 - fraction) / 20_000)
    assert dataset.flags[name].mean() == pytest.approx(fraction, abs=4 * error)


def test_wrong_labels_are_wrong_and_the_drawings_the_same():
  wrong = synthetic.make_synthetic(
    3000, **NO_FAULTS | {"wrong_label_fraction": 0.3}
  )
  true = synthetic.make_synthetic(3000, **NO_FAULTS)
  for a, b in zip(wrong.source, true.source, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(
    wrong.label != true.label, wrong.flags["wrong_label"]
  )
  # Every other class is as likely.
  shift = (wrong.label - true.label)[wrong.flags["wrong_label"]] % 30
  assert set(shift) == set(range(1, 30))


def test_unfinished_drawings_are_the_beginnings_of_others():
  whole = synthetic.make_synthetic(2000, **NO_FAULTS)
  cut = synthetic.make_synthetic(
    2000, **NO_FAULTS | {"unfinished_fraction": 0.5}
  )
  ratio = _num_points(cut.source) / _num_points(whole.source)
  unfinished = cut.flags["unfinished"]
  assert (ratio[~unfinished] == 1).all()
  assert (ratio[unfinished] < 0.8).all() and (ratio[unfinished] > 0.2).all()
  for i in np.flatnonzero(unfinished)[:100]:
    before = strokes.unpack(whole.source, i)
    after = strokes.unpack(cut.source, i)
    lengths = [len(stroke) for stroke in after]
    assert lengths[:-1] == [len(stroke) for stroke in before[: len(after) - 1]]
    # The same points, but that what is left fills the box.
    points = np.concatenate(after).astype(float)
    kept = np.concatenate(before)[: len(points)].astype(float)
    kept -= kept.min(0)
    side = kept.max()
    # Both were rounded to whole points: the first before it was enlarged.
    np.testing.assert_allclose(
      points * side / 255, kept, atol=1.5 + 0.5 * side / 255
    )


def _centroid_accuracy(dataset):
  """Returns the accuracy of the nearest mean map, on the second half.

  The maps count points in 8 x 8 cells; the classifier needs no training.
  """
  n, num_classes = len(dataset.label), len(dataset.class_names)
  drawing = np.repeat(np.arange(n), _num_points(dataset.source))
  x, y = dataset.source.points.T // 32
  maps = np.zeros((n, 8, 8))
  np.add.at(maps, (drawing, y, x), 1)
  maps = maps.reshape(n, 64) / maps.sum((1, 2))[:, None]
  fit, label = maps[: n // 2], dataset.label[: n // 2]
  mean = np.stack([fit[label == v].mean(0) for v in range(num_classes)])
  distance = ((maps[n // 2 :, None] - mean) ** 2).sum(-1)
  return (distance.argmin(1) == dataset.label[n // 2 :]).mean()


def test_scribbles_tell_nothing_of_their_label():
  """Six classes: 0.70 by where the ink is; of scribbles a sixth."""
  drawn = synthetic.make_synthetic(4000, num_classes=6, **NO_FAULTS)
  scribbled = synthetic.make_synthetic(
    4000, num_classes=6, **NO_FAULTS | {"scribble_fraction": 1.0}
  )
  assert _centroid_accuracy(drawn) > 0.5
  # Four standard errors of a share of 2,000.
  chance = 1 / 6
  error = np.sqrt(chance * (1 - chance) / 2000)
  assert _centroid_accuracy(scribbled) == pytest.approx(chance, abs=4 * error)


def test_drawings_are_packed_as_the_real_ones():
  dataset = synthetic.make_synthetic(3000)
  points, stroke_start, drawing_start = dataset.source
  assert points.dtype == np.uint8 and points.shape[1] == 2
  assert (np.diff(stroke_start) > 0).all()
  assert (np.diff(drawing_start) > 0).all()
  assert stroke_start[-1] == len(points)
  assert drawing_start[-1] == len(stroke_start) - 1
  first = stroke_start[drawing_start[:-1]]
  # Top-left, the longer side 255, as Google aligns them.
  assert (np.minimum.reduceat(points, first) == 0).all()
  assert (np.maximum.reduceat(points, first).max(1) == 255).all()
  assert 20 < _num_points(dataset.source).mean() < 60


def test_classes_are_balanced_and_keys_are_unique():
  dataset = synthetic.make_synthetic(1001, num_classes=7)
  count = np.bincount(dataset.label[~dataset.flags["wrong_label"]])
  assert len(dataset.class_names) == len(count) == 7
  true = synthetic.make_synthetic(1001, num_classes=7, wrong_label_fraction=0)
  count = np.bincount(true.label)
  assert count.max() - count.min() <= 1
  assert len(np.unique(dataset.key)) == 1001
  # Hashes: their top bits are uniform, and a longer pool begins the same.
  assert (dataset.key >> np.uint64(63)).mean() == pytest.approx(0.5, abs=0.07)
  longer = synthetic.make_synthetic(1500, num_classes=7)
  np.testing.assert_array_equal(longer.key[:1001], dataset.key)


def test_the_seed_decides():
  one, same, other = (synthetic.make_synthetic(200, seed=s) for s in (1, 1, 2))
  np.testing.assert_array_equal(one.source.points, same.source.points)
  assert (
    one.source.points.shape != other.source.points.shape
    or (one.source.points != other.source.points).any()
  )
  assert not set(one.key) & set(other.key)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"num_examples": 20}, "num_examples"),
    ({"num_examples": 100, "num_classes": 1}, "num_classes"),
    ({"num_examples": 100, "num_classes": 31}, "num_classes"),
    ({"num_examples": 100, "scribble_fraction": 2.0}, "scribble_fraction"),
    ({"num_examples": 100, "unfinished_fraction": 1.1}, "unfinished"),
    ({"num_examples": 100, "wrong_label_fraction": -1.0}, "wrong_label"),
  ],
)
def test_bad_arguments(arguments, message):
  with pytest.raises(ValueError, match=message):
    synthetic.make_synthetic(**arguments)
