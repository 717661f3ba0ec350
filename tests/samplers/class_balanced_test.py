"""Class-balanced sampling against its formula, and the arms of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from alcurr import samplers
from alcurr.data import partitions

SIZES = (500, 100, 0, 20, 4)  # of classes; one has no example
LABEL = np.repeat(np.arange(5), SIZES).astype(np.int32)


def _pool():
  """Returns a pool of long-tailed labels, without images."""
  arms = partitions.make_partition(LABEL, 5)
  label = jnp.asarray(LABEL)
  pool = toy.make_pool(len(LABEL))._replace(label=label)
  return pool._replace(partitions={"label": jax.tree.map(jnp.asarray, arms)})


def _draws(sampler, num):
  """Returns [num, B] indices, and the last draw's policy."""
  pool = _pool()
  state = sampler.init(jax.random.key(0), pool)
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  index = []
  for i in range(num):
    draw = sample(jax.random.key(i), state, pool)
    index.append(np.asarray(draw.index))
    state = update(state, draw, ())
  return np.stack(index), np.asarray(draw.policy)


@pytest.mark.parametrize(
  "power",
  [0.5, *(pytest.param(x, marks=pytest.mark.slow) for x in (0, 1, 0.3))],
)
@pytest.mark.parametrize("replacement", [False, True])
def test_classes_come_by_the_power_of_their_sizes(power, replacement):
  sampler = samplers.class_balanced(
    batch_size=40, power=power, replacement=replacement
  )
  index, policy = _draws(sampler, 500)
  weight = [n**power if n else 0 for n in SIZES]
  expected = np.array(weight) / sum(weight)
  np.testing.assert_allclose(policy, expected, rtol=1e-5)
  share = np.bincount(LABEL[index.ravel()], minlength=5) / index.size
  error = np.sqrt(expected * (1 - expected) / index.size)
  assert (np.abs(share - expected) <= 4.5 * error).all()


def test_the_examples_of_a_class_come_in_passes():
  index, _ = _draws(samplers.class_balanced(batch_size=40), 100)
  for label, size in enumerate(SIZES):
    drawn = index.ravel()[LABEL[index.ravel()] == label]
    count = np.bincount(drawn, minlength=len(LABEL))[label == LABEL]
    if size:
      assert count.max() - count.min() <= 1 and count.sum() > 600


def test_balanced_is_the_uniform_policy_over_classes():
  """Bitwise: it replaced that in configs/honest.py."""
  pool = toy.make_pool()
  key = jax.random.key(1)
  other = samplers.fixed_policy(
    samplers.policies.uniform(), batch_size=16, num_steps=9, partition="label"
  )
  sampler = samplers.class_balanced(batch_size=16)
  state, expected = sampler.init(key, pool), other.init(key, pool)
  for i in range(3):
    draw = sampler.sample(jax.random.key(i), state, pool)
    same = other.sample(jax.random.key(i), expected, pool)
    jax.tree.map(np.testing.assert_array_equal, draw, same)
    state = sampler.update(state, draw, ())
    expected = other.update(expected, same, ())


@pytest.mark.parametrize(
  ("name", "arms_per_batch", "most"),
  [
    ("fixed_policy(policy='uniform')", None, 5),
    ("active_bandit", 4, 4),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in (
        ("fixed_policy(policy='uniform')", 4, 4),
        ("fixed_policy(policy='uniform')", 1, 1),
        ("active_bandit", None, 5),
        ("active_bandit", 1, 1),
      )
    ),
  ],
)
def test_every_example_draws_its_own_arm_unless_asked(
  name, arms_per_batch, most
):
  spec = {"name": name}
  if arms_per_batch:
    spec["arms_per_batch"] = arms_per_batch
  sampler = toy.make_sampler(spec, "x", batch_size=64, num_steps=200)
  pool = toy.make_pool()
  state = sampler.init(jax.random.key(0), pool)
  draws = jax.vmap(sampler.sample, (0, None, None))(
    jax.random.split(jax.random.key(2), 50), state, pool
  )
  arms = [len(np.unique(arm)) for arm in np.asarray(draws.arm)]
  assert max(arms) == most
  if arms_per_batch is None:
    # Each arm's share of a batch is binomial: no arm is in whole groups.
    count = np.stack([np.bincount(arm, minlength=5) for arm in draws.arm])
    variance = 64 * 0.2 * 0.8
    assert 0.7 * variance < count.var(0).mean() < 1.4 * variance


@pytest.mark.parametrize("power", [-0.1, 1.1])
def test_powers_out_of_range_are_refused(power):
  with pytest.raises(ValueError, match="power"):
    samplers.class_balanced(batch_size=4, power=power)
