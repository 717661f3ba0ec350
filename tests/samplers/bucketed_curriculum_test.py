"""The bucketed curriculum: sizes in closed form, passes within periods."""

import math

import jax
import numpy as np
import pytest
import toy

from alcurr.samplers import PACINGS, bucket_sizes, bucketed_curriculum

N, B = 60, 8
POOL = toy.make_pool(N)


def _run(sampler, steps, pool=POOL, seed=0):
  """Draws of `steps` steps, [T, ...] each."""

  def step(state, key):
    draw = sampler.sample(key, state, pool)
    return sampler.update(state, draw, ()), draw

  keys = jax.random.split(jax.random.key(1), steps)
  state = jax.jit(sampler.init)(jax.random.key(seed), pool)
  _, draws = jax.jit(lambda s: jax.lax.scan(step, s, keys))(state)
  return jax.device_get(draws)


def _share(pacing, x, a, b):
  """Section 2.5 of the methods, one number at a time."""
  y = x / a
  grown = {
    "linear": lambda: y,
    "quad": lambda: y**2,
    "root": lambda: y**0.5,
    "step": lambda: 0 if x < a else 1,
    "exp": lambda: (math.exp(10 * y) - 1) / (math.exp(10) - 1),
    "log": lambda: 1 + 0.1 * math.log(y + math.exp(-10)),
  }[pacing]()
  return min(b + (1 - b) * grown, 1.0)


@pytest.mark.parametrize("pacing", sorted(PACINGS))
@pytest.mark.parametrize("a, b", [(0.8, 0.1), (0.35, 0.25), (1.0, 0.02)])
def test_sizes_follow_the_pacing(pacing, a, b):
  n, k = 100_003, 40
  size = bucket_sizes(n, k, pacing, start=b, full_at=a)
  for t in range(k):
    # Up to the rounding of float64, which ceil may turn into an example.
    exact = n * _share(pacing, t / k, a, b)
    assert math.ceil(exact - 1e-4) <= size[t] <= math.ceil(exact + 1e-4)
  assert size.dtype == np.int32
  assert (np.diff(size) >= 0).all() and size.max() <= n
  assert (size[math.ceil(a * k) :] == n).all()


@pytest.mark.parametrize("k", [1, 2, 3, 7, 10, 49])
@pytest.mark.parametrize("n", [490, 1000, 50_000_000])
def test_by_default_it_is_the_papers_rule(k, n):
  pool = jax.eval_shape(lambda: toy.make_pool(N))
  pool = pool._replace(label=jax.ShapeDtypeStruct((n,), np.int32))
  sampler = bucketed_curriculum(batch_size=1, num_steps=1000, num_buckets=k)
  state = jax.jit(lambda key: sampler.init(key, pool))(jax.random.key(0))
  expected = [-(-n * (t + 1) // k) for t in range(k)]
  assert state.passes.size.tolist() == expected
  assert state.begin.tolist() == [t * 1000 // k for t in range(k)]


def test_a_bucket_is_as_many_quantile_arms_as_there_are_buckets():
  """Period t of 5 draws from just the first t + 1 of 5 arms."""
  sampler = bucketed_curriculum(batch_size=B, num_steps=100, num_buckets=5)
  arm = _run(sampler, 100).arm.reshape(5, -1)
  assert [sorted(set(period)) for period in arm.tolist()] == [
    list(range(t + 1)) for t in range(5)
  ]


def test_each_period_passes_over_its_examples_and_no_harder_ones():
  """In periods of 11, 12 and 12 steps over 20, 40 and 60 examples."""
  sampler = bucketed_curriculum(batch_size=B, num_steps=35)
  index = _run(sampler, 35).index
  order = np.argsort(np.asarray(POOL.scores["difficulty"]), kind="stable")
  passes = []
  for steps, size in ((index[:11], 20), (index[11:23], 40), (index[23:], 60)):
    drawn = steps.reshape(-1)
    allowed = set(order[:size].tolist())
    for first in range(0, len(drawn), size):
      one = drawn[first : first + size].tolist()
      assert len(set(one)) == len(one) and set(one) <= allowed
      if len(one) == size:
        passes.append(tuple(one))
  # Every pass in an order of its own, none of them the sorted one.
  assert len(passes) == 4 + 2 + 1 == len(set(passes))
  assert all(one != tuple(order[: len(one)]) for one in passes)


def test_the_order_of_a_pass_is_the_trials_own():
  sampler = bucketed_curriculum(batch_size=B, num_steps=3)
  first, second = (_run(sampler, 3, seed=seed).index for seed in (0, 1))
  assert (first != second).any()


def test_first_places_are_uniform_over_the_bucket():
  """The first example of a run, over 2,000 keys, among 20."""
  sampler = bucketed_curriculum(batch_size=1, num_steps=3)

  def first(key):
    return sampler.sample(key, sampler.init(key, POOL), POOL).index[0]

  keys = jax.random.split(jax.random.key(0), 2000)
  drawn = np.asarray(jax.jit(jax.vmap(first))(keys))
  order = np.argsort(np.asarray(POOL.scores["difficulty"]), kind="stable")
  count = np.bincount(drawn, minlength=N)
  assert count[order[20:]].sum() == 0
  # Chi-square with 19 degrees of freedom: 43.8 is exceeded once in 1,000.
  assert ((count[order[:20]] - 100) ** 2 / 100).sum() < 43.8


def test_balanced_buckets_hold_the_classes_in_the_pools_shares():
  pool = toy.make_pool(600)
  sampler = bucketed_curriculum(
    batch_size=20, num_steps=60, num_buckets=4, partition="difficulty"
  )
  index = _run(sampler, 60, pool).index.reshape(4, -1)
  label = np.asarray(pool.label)
  for t, drawn in enumerate(index):
    bucket = np.unique(drawn[: 150 * (t + 1)])  # a pass, or what was of it
    if len(drawn) >= 150 * (t + 1):
      count = np.bincount(label[bucket], minlength=4)
      share = (t + 1) / 4 * np.bincount(label)
      assert np.abs(count - share).max() <= 2


def test_one_bucket_is_uniform_passes():
  sampler = bucketed_curriculum(batch_size=6, num_steps=20, num_buckets=1)
  passes = _run(sampler, 20).index.reshape(2, N)
  assert (np.sort(passes, axis=1) == np.arange(N)).all()


def test_the_draw_says_what_it_is():
  sampler = bucketed_curriculum(
    batch_size=B, num_steps=12, partition="difficulty"
  )
  draws = _run(sampler, 12)
  np.testing.assert_array_equal(
    draws.arm, np.asarray(POOL.partitions["difficulty"].arm)[draws.index]
  )
  assert (draws.prob == 1).all() and (draws.weight == 1).all()
  for arm, policy in zip(draws.arm, draws.policy, strict=True):
    share = np.bincount(arm, minlength=toy.NUM_ARMS) / B
    np.testing.assert_allclose(policy, share, rtol=1e-6)


def test_more_buckets_than_steps_end_with_the_whole_pool():
  sampler = bucketed_curriculum(
    batch_size=N, num_steps=1, num_buckets=5, start=1.0
  )
  assert sorted(_run(sampler, 1).index[0]) == list(range(N))
  sampler = bucketed_curriculum(batch_size=B, num_steps=2, num_buckets=5)
  state = sampler.init(jax.random.key(0), POOL)
  assert state.begin.tolist() == [0, 0, 0, 1, 1]
  assert state.passes.size.tolist() == [12, 24, 36, 48, 60]
  order = np.argsort(np.asarray(POOL.scores["difficulty"]), kind="stable")
  place = np.argsort(order)[_run(sampler, 40).index]
  assert place[0].max() < 36 and place[1:].max() == N - 1


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
    ({"num_buckets": 0}, "num_buckets must be at least 1, got 0"),
    ({"pacing": "cubic"}, "pacing must be one of linear, .*, got 'cubic'"),
    ({"start": 0.0}, r"start must be in \(0, 1\], got 0.0"),
    ({"full_at": 1.5}, r"full_at must be in \(0, 1\], got 1.5"),
    ({"full_at": math.nan}, r"full_at must be in \(0, 1\], got nan"),
  ],
)
def test_values_out_of_range_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    bucketed_curriculum(**{"batch_size": B, "num_steps": 9} | changes)


def test_what_does_not_fit_the_pool_is_refused():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match="the first bucket has 20 of 60"):
    bucketed_curriculum(batch_size=21, num_steps=9).init(key, POOL)
  with pytest.raises(ValueError, match="not 'margin'"):
    bucketed_curriculum(batch_size=2, num_steps=9, partition="margin").init(
      key, POOL
    )
