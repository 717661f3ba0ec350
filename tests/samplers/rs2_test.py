"""RS2: what its subsets hold, and how often each is passed over."""

import jax
import numpy as np
import pytest
import toy

from alcurr.samplers import rs2

N, B = 640, 16


def _subsets(num_subsets, *, share, passes=1, replacement=False):
  """Returns what is drawn for each subset, [num_subsets, passes, n]."""
  sampler = rs2(
    batch_size=B, share=share, passes=passes, replacement=replacement
  )
  pool = toy.make_pool(N)
  state = sampler.init(jax.random.key(3), pool)
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  size = int(np.ceil(N * share - 1e-9))
  needed, index = num_subsets * passes * size, []
  while len(index) < needed:
    draw = sample(jax.random.key(0), state, pool)
    index += draw.index.tolist()
    state = update(state, draw, ())
  return np.array(index[:needed]).reshape(num_subsets, passes, size)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize(
  ("share", "passes"),
  [
    (0.03, 2),
    *(pytest.param(0.1, x, marks=pytest.mark.slow) for x in (1, 3)),
  ],
)
def test_a_subset_is_passed_over_and_then_replaced(share, passes, replacement):
  """Also where a batch reaches into the next pass or subset."""
  drawn = _subsets(12, share=share, passes=passes, replacement=replacement)
  orders = drawn.reshape(-1, drawn.shape[-1])
  assert len(np.unique(orders, axis=0)) == len(orders)
  members = np.sort(drawn, axis=2)
  assert (members == members[:, :1]).all()
  subsets = members[:, 0]
  assert (np.diff(subsets, axis=1) > 0).all()  # each example once a pass
  assert len(np.unique(subsets, axis=0)) == len(subsets)


def test_without_replacement_the_pool_is_used_up_first():
  drawn = _subsets(30, share=0.1, passes=2)[:, 0]
  whole = np.sort(drawn.reshape(3, N), axis=1)
  assert (whole == np.arange(N)).all()
  # In another order, so that the subsets are others.
  assert set(drawn[0]) not in [set(subset) for subset in drawn[10:]]


def test_one_pass_without_replacement_is_uniform_by_passes():
  """After each subset, also where the share does not divide 1."""
  count = np.zeros(N, int)
  for (subset,) in _subsets(60, share=0.07):
    count += np.bincount(subset, minlength=N)
    assert count.max() - count.min() <= 1


def test_with_replacement_subsets_are_independent():
  """The share of examples in k of 20 subsets is binomial."""
  drawn = _subsets(20, share=0.1, replacement=True)[:, 0]
  count = np.bincount(drawn.ravel(), minlength=N)
  assert count.mean() == pytest.approx(2)
  # Binomial: 1.8; without replacement it is 0.
  assert count.var() == pytest.approx(20 * 0.1 * 0.9, rel=0.25)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"share": 0}, "share"),
    ({"share": 1.5}, "share"),
    ({"passes": 0}, "passes"),
    ({"batch_size": 0}, "batch_size"),
    ({"share": 0.01}, "share"),
  ],
)
def test_impossible_numbers_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    rs2(**{"batch_size": B} | arguments).init(
      jax.random.key(0), toy.make_pool(N)
    )
