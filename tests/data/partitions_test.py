"""Partitions: equal classes in every arm, harder ones later, any input."""

import fractions

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alcurr.data import partitions
from alcurr.data.arrays import from_arrays
from alcurr.data.planted import add_label_noise
from alcurr.types import SamplerSpec


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
@given(_pools(), st.sampled_from(sorted(partitions.PARTITIONS)))
def test_the_csr_form_is_the_partition(pool, name):
  label, difficulty, num_arms = pool
  made = partitions.PARTITIONS[name](label, difficulty, num_arms)
  assert sorted(made.order) == list(range(len(label)))
  for k, (start, size) in enumerate(zip(made.start, made.size, strict=True)):
    members = made.order[start : start + size]
    assert (made.arm[members] == k).all()
  assert made.size.sum() == len(label)


@settings(max_examples=60, deadline=None)
@given(_pools())
def test_classes_are_equal_in_every_arm_and_arms_rise(pool):
  label, difficulty, num_arms = pool
  made = partitions.difficulty_in_class(label, difficulty, num_arms)
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
  made = partitions.difficulty_in_pool(np.zeros(6, int), difficulty, 3)
  assert made.arm.tolist() == [2, 0, 2, 1, 1, 0]
  assert made.order.tolist() == [5, 1, 3, 4, 2, 0]


@settings(max_examples=60, deadline=None)
@given(_pools())
def test_the_order_over_the_pool_rises_and_ties_keep_theirs(pool):
  label, difficulty, num_arms = pool
  made = partitions.difficulty_in_pool(label, difficulty, num_arms)
  expected = sorted(range(len(label)), key=lambda n: (difficulty[n], n))
  assert made.order.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(_pools())
def test_every_prefix_of_the_balanced_order_has_a_share_of_each_class(pool):
  """With exact fractions: rank over class size, never of a harder arm."""
  label, difficulty, num_arms = pool
  made = partitions.difficulty_in_class(label, difficulty, num_arms)
  size = np.bincount(label)
  seen = np.zeros(len(size), int)
  before = fractions.Fraction(0)
  hardest = np.full(len(size), -np.inf)
  for n in made.order:
    c = label[n]
    share = fractions.Fraction(int(seen[c]), int(size[c]))
    assert share >= before  # so all classes are at `share`, up to an example
    assert difficulty[n] >= hardest[c]
    before, hardest[c] = share, difficulty[n]
    seen[c] += 1
    assert all(
      abs(int(s) - share * int(total)) <= 1
      for s, total in zip(seen, size, strict=True)
    )


def test_the_balanced_order_by_hand():
  label = np.array([0, 1, 0, 1, 0, 0])
  difficulty = np.array([0.4, 9.0, 0.3, 8.0, 0.2, 0.1])
  made = partitions.difficulty_in_class(label, difficulty, 2)
  # Ranks over sizes: 3/4, 1/2, 2/4, 0/2, 1/4, 0/4.
  assert made.order.tolist() == [3, 5, 4, 1, 2, 0]
  assert made.arm.tolist() == [1, 1, 1, 0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(_pools())
def test_labels_rise_in_difficulty_within_each_class(pool):
  label, difficulty, num_arms = pool
  made = partitions.by_label(label, difficulty, num_arms)
  key = [(label[n], difficulty[n], n) for n in made.order]
  assert key == sorted(key)


@settings(max_examples=60, deadline=None)
@given(_pools())
def test_label_and_difficulty_is_the_one_within_the_other(pool):
  label, difficulty, num_arms = pool
  made = partitions.by_label_and_difficulty(label, difficulty, num_arms)
  inner = partitions.difficulty_in_class(label, difficulty, num_arms)
  assert len(made.size) == (label.max() + 1) * num_arms
  assert (made.arm // num_arms == label).all()
  assert (made.arm % num_arms == inner.arm).all()
  key = [(label[n], difficulty[n], n) for n in made.order]
  assert key == sorted(key)


@settings(max_examples=30, deadline=None)
@given(_pools())
def test_shuffled_arms_are_balanced_and_know_nothing_of_difficulty(pool):
  label, difficulty, num_arms = pool
  made = partitions.shuffled(label, difficulty, num_arms)
  other = partitions.shuffled(label, np.zeros(len(label)), num_arms)
  for mine, theirs in zip(made, other, strict=True):
    np.testing.assert_array_equal(mine, theirs)
  inner = partitions.difficulty_in_class(label, difficulty, num_arms)
  both = label * num_arms
  np.testing.assert_array_equal(
    np.bincount(both + made.arm), np.bincount(both + inner.arm)
  )


def test_shuffled_arms_are_uncorrelated_with_the_scores_and_the_order():
  label = np.repeat(np.arange(4), 1000)
  difficulty = np.arange(4000.0)
  arm = partitions.shuffled(label, difficulty, 10).arm
  # For independent ranks the correlation has a deviation of 1 / sqrt(1000).
  for c in range(4):
    mine = arm[label == c]
    assert abs(np.corrcoef(mine, np.arange(1000))[0, 1]) < 4 / 1000**0.5


def test_shuffled_arms_are_uncorrelated_with_label_noise():
  """Both are random, for pools of the same size."""
  label = np.repeat(np.arange(4), 1000)
  images = np.arange(16_000).reshape(4000, 2, 2) / 16_000
  dataset = from_arrays(images, label)
  arm = partitions.shuffled(label, np.zeros(4000), 10).arm
  for seed in range(5):
    planted = add_label_noise(dataset, 0.3, seed).flags["planted"]
    # For independent draws the correlation has a deviation of 1 / sqrt(4000).
    assert abs(np.corrcoef(arm, planted)[0, 1]) < 4 / 4000**0.5


@pytest.mark.parametrize(
  ("spec", "reads"),
  [
    (SamplerSpec(), False),
    (SamplerSpec(partitions=("label", "shuffled"), scores=("length",)), False),
    (SamplerSpec(partitions=("label", "difficulty_in_pool")), True),
    (SamplerSpec(scores=("length", "difficulty")), True),
  ],
)
def test_who_reads_the_difficulty(spec, reads):
  assert partitions.reads_difficulty(spec) is reads


def test_partitions_without_scores_need_none():
  label = np.array([1, 0, 1, 0, 1, 1])
  for name in partitions.UNSCORED:
    first, second = (
      partitions.PARTITIONS[name](label, np.array(scores), 2).arm
      for scores in ([0.0] * 6, [5.0, 1.0, 4.0, 2.0, 3.0, 0.0])
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
  ("name", "most"),
  [
    ("difficulty", 5),
    ("difficulty_in_pool", 5),
    ("shuffled", 5),
    ("label", 9),
    ("label_difficulty", 2),
  ],
)
def test_more_arms_than_there_are_examples_are_refused(name, most):
  label, names = np.array([0, 0, 0, 1, 1]), ("cat", "dog")
  count = partitions.fit_num_arms(name, label, most, names)
  made = partitions.PARTITIONS[name](label, np.arange(5.0), count)
  assert made.size.min() > 0
  if name != "label":
    with pytest.raises(ValueError, match="num_arms"):
      partitions.fit_num_arms(name, label, most + 1, names)


@given(
  st.lists(st.integers(1, 30), min_size=1, max_size=6),
  st.integers(1, 20),
  st.sampled_from(["difficulty", "shuffled", "difficulty_in_pool"]),
)
def test_rare_classes_leave_no_arm_empty(sizes, num_arms, name):
  label = np.repeat(np.arange(len(sizes)), sizes)
  names = tuple(map(str, range(len(sizes))))
  num_arms = min(num_arms, len(label))
  count = partitions.fit_num_arms(name, label, num_arms, names)
  typical = int(np.median(np.repeat(sizes, sizes)))
  most = num_arms if name == "difficulty_in_pool" else typical
  assert count == min(num_arms, most)
  difficulty = np.random.default_rng(0).random(len(label))
  made = partitions.PARTITIONS[name](label, difficulty, count)
  assert len(made.size) == count and made.size.min() > 0


def test_empty_arms_may_be_appended():
  made = partitions.make_partition(np.array([1, 0, 1]), 2)
  padded = partitions.pad_arms(made, 4)
  assert padded.size.tolist() == [1, 2, 0, 0]
  assert padded.start.tolist() == [0, 1, 3, 3]
  assert {a.dtype for a in padded[:4]} == {np.dtype(np.int32)}
  assert partitions.pad_arms(made, 2).size.tolist() == made.size.tolist()


def test_arms_out_of_range_are_refused():
  with pytest.raises(ValueError, match="arm"):
    partitions.make_partition(np.array([0, 2]), 2)
  with pytest.raises(ValueError, match="arm"):
    partitions.make_partition(np.array([0, -1]), 2)


def test_an_arm_is_sorted_by_rank_and_ties_keep_their_order():
  arm, rank = np.array([1, 0, 1, 0, 1]), np.array([2, 1, 0, 1, 2])
  made = partitions.make_partition(arm, 3, rank)
  assert made.order.tolist() == [1, 3, 2, 0, 4]
  assert made.start.tolist() == [0, 2, 5]
  assert made.size.tolist() == [2, 3, 0]
  assert partitions.make_partition(arm, 3).order.tolist() == [1, 3, 0, 2, 4]


def test_planted_mistakes_are_an_arm():
  label = np.arange(300, dtype=np.int32) % 3
  images = np.random.default_rng(0).integers(0, 255, (300, 2, 2), np.uint8)
  clean = from_arrays(images, label)
  noisy = add_label_noise(clean, 0.3, seed=0)
  assert not partitions.given_arms(clean)["planted"].any()
  arms = partitions.given_arms(noisy)["planted"]
  np.testing.assert_array_equal(arms, noisy.label != clean.label)
  made = partitions.PARTITIONS["planted"](arms, np.zeros(300), 10)
  assert made.size.tolist() == [300 - arms.sum(), arms.sum()]
