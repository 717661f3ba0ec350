"""Partitions: equal classes in every arm, harder arms later, any input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcurr.difficulty import arms


@st.composite
def _pools(draw):
  size = draw(st.integers(20, 200))
  seed = draw(st.integers(0, 10**6))
  rng = np.random.default_rng(seed)
  num_classes = draw(st.integers(1, 4))
  label = rng.integers(0, num_classes, size)
  # Rounded, so that there are ties.
  return label, rng.normal(size=size).round(1), draw(st.integers(1, 6))


@settings(max_examples=60, deadline=None)
@given(_pools(), st.sampled_from(sorted(arms.ARMS)))
def test_the_csr_form_is_the_partition(pool, name):
  label, difficulty, num_arms = pool
  made = arms.ARMS[name](label, difficulty, num_arms)
  assert sorted(made.order) == list(range(len(label)))
  for k, (start, size) in enumerate(zip(made.start, made.size, strict=True)):
    members = made.order[start : start + size]
    assert (made.arm[members] == k).all()
  assert made.size.sum() == len(label)


@settings(max_examples=60, deadline=None)
@given(_pools())
def test_classes_are_equal_in_every_arm_and_arms_rise(pool):
  label, difficulty, num_arms = pool
  made = arms.difficulty_in_class(label, difficulty, num_arms)
  for c in np.unique(label):
    mine = label == c
    count = np.bincount(made.arm[mine], minlength=num_arms)
    assert count.max() - count.min() <= 1
    for k in range(num_arms - 1):
      low = difficulty[mine & (made.arm <= k)]
      high = difficulty[mine & (made.arm > k)]
      if len(low) and len(high):
        assert low.max() <= high.min()


def test_whole_pool_quantiles_by_hand():
  difficulty = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.0])
  made = arms.difficulty_in_pool(np.zeros(6, int), difficulty, 3)
  assert made.arm.tolist() == [2, 0, 2, 1, 1, 0]


def test_more_arms_than_the_smallest_class_is_refused():
  label = np.array([0, 0, 0, 1, 1])
  arms.check_num_arms(label, 2, ("cat", "dog"))
  with pytest.raises(ValueError, match="'dog' with 2 examples"):
    arms.check_num_arms(label, 3, ("cat", "dog"))


def test_arms_out_of_range_are_refused():
  with pytest.raises(ValueError, match=r"arm must be in \[0, 2\)"):
    arms.make_arms(np.array([0, 2]), 2)
