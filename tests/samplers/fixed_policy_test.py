"""Fixed policies: the grid by hand, and the replay of a run's own log."""

import json

import jax
import numpy as np
import pytest
import toy

from alcurr.samplers import fixed_policy, policies

POOL = toy.make_pool()


@pytest.mark.parametrize(
  ("policy", "expected"),
  [
    (policies.uniform(), [1, 1, 1, 1, 1]),
    (policies.drop_easiest(count=2), [0, 0, 1, 1, 1]),
    (policies.drop_hardest(count=3), [1, 1, 0, 0, 0]),
    (policies.fixed(weights=(0, 1, 0, 3, 0)), [0, 1, 0, 3, 0]),
    (policies.fixed(weights=(0, 1e308, 1e308, 1e308, 0)), [0, 1, 1, 1, 0]),
    # Log-linear in the distance, from 1 to the ratio.
    (policies.log_linear(toward="hard", ratio=16), [1, 2, 4, 8, 16]),
    (policies.log_linear(toward="easy", ratio=16), [16, 8, 4, 2, 1]),
    (policies.log_linear(toward="middle", ratio=9), [1, 3, 9, 3, 1]),
  ],
)
def test_the_grid_by_hand(policy, expected):
  table = policy(5)
  np.testing.assert_allclose(table, [np.array(expected) / sum(expected)])
  sampler = fixed_policy(policy, batch_size=16, num_steps=9, arms_per_batch=16)
  state = sampler.init(jax.random.key(0), POOL)
  draw = sampler.sample(jax.random.key(1), state, POOL)
  np.testing.assert_allclose(draw.policy, table[0], rtol=1e-6)
  assert (table[0][np.asarray(draw.arm)] > 0).all()


def test_a_replay_is_the_mean_policy_as_it_changed(tmp_path):
  """Two trials, two chunks of a log: each row serves half of the run."""
  rows = [
    {"step": step, "trial": trial, "policy": policy}
    for step, trial, policy in (
      (10, 0, [1, 0, 0, 0, 0]),
      (10, 1, [0, 1, 0, 0, 0]),
      (20, 0, [0, 0, 0.5, 0.5, 0]),
      (20, 1, [0, 0, 0, 0.5, 0.5]),
    )
  ]
  (tmp_path / "metrics.jsonl").write_text(
    "".join(json.dumps(row) + "\n" for row in rows)
  )
  policy = policies.replay(run=str(tmp_path))
  sampler = fixed_policy(policy, batch_size=4, num_steps=7)
  state = sampler.init(jax.random.key(0), POOL)
  seen = []
  for i in range(9):
    draw = sampler.sample(jax.random.key(i), state, POOL)
    seen.append(np.asarray(draw.policy).tolist())
    state = sampler.update(state, draw, ())
  first, second = [0.5, 0.5, 0, 0, 0], [0, 0, 0.25, 0.5, 0.25]
  assert seen == [first] * 4 + [second] * 5
  with pytest.raises(ValueError, match="a policy over 5 arms, not 6"):
    policy(6)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: policies.drop_easiest(count=0), "count"),
    (lambda: policies.drop_hardest(count=5)(5), "count 5"),
    (lambda: policies.log_linear(toward="up"), "toward"),
    (lambda: policies.log_linear(toward="easy", ratio=0.5), "ratio"),
    (lambda: policies.fixed(weights=(0, 0)), "weights"),
    (lambda: policies.fixed(weights=(-1, 2)), "weights"),
    (lambda: policies.fixed(weights=(1, np.inf)), "weights"),
    (lambda: policies.fixed(weights=(1, np.nan)), "weights"),
    (lambda: policies.fixed(weights=(1, 2))(3), "2 weights do not fit 3"),
    (lambda: policies.replay(run="nowhere"), "nowhere"),
    (
      lambda: fixed_policy(policies.uniform(), batch_size=4, num_steps=0),
      "num_steps",
    ),
  ],
)
def test_impossible_numbers_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
