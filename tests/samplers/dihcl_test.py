"""DIHCL against its rule in NumPy, an example at a time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from remembering import POOL, N, check_a_pass, loss_at, run, split_passes

from alcurr.core.schedules import linear
from alcurr.samplers import _dihcl, dihcl

B, STEPS, GAMMA = 7, 120, 0.7


def _right(index, step):
  """Returns answers that turn right and wrong again."""
  return np.float32((index * 7 + step // 9 * (index % 4)) % 3 > 0)


def _hardness(out, measured, changes, rate):
  """Returns h after the steps, [N], and which examples have one."""
  visits = [[] for _ in range(N)]
  for t, (draw, _) in enumerate(out):
    last = {
      int(i): float(v)
      for i, v in zip(draw.index, measured(draw.index, t), strict=True)
    }
    for i, value in last.items():
      visits[i].append((t, value))
  h = np.full(N, np.nan)
  for i, seen in enumerate(visits):
    before = -1, 0.0
    for k, (t, value) in enumerate(seen):
      a = abs(value - before[1]) if changes else value
      if rate is not None:
        a /= sum(rate(s) for s in range(before[0] + 1, t + 1))
      before = t, value
      if changes and k == 0:
        continue
      h[i] = a if np.isnan(h[i]) else GAMMA * a + (1 - GAMMA) * h[i]
  return h


@pytest.mark.parametrize(
  "measure", [pytest.param("loss", marks=pytest.mark.slow), "change", "flips"]
)
def test_hardness_and_epochs_follow_the_rule(measure):
  rate = linear(value=0.5, end=0.1, num_steps=STEPS)
  rate = None if measure == "flips" else rate
  sampler = dihcl(
    batch_size=B,
    measure=measure,
    step_size=GAMMA,
    learning_rate=rate,
    decay=0.8,
    least=0.5,
  )
  measured = _right if measure == "flips" else loss_at
  out = run(sampler, STEPS, measured=measured)
  h = _hardness(out, measured, measure != "loss", rate)
  state = out[-1][1]
  np.testing.assert_allclose(
    state.hardness, np.nan_to_num(h), rtol=1e-4, atol=1e-6
  )
  np.testing.assert_array_equal(
    state.visits > (measure != "loss"), ~np.isnan(h)
  )
  sizes = []
  for _, draws in split_passes(out):
    index = np.concatenate([draw.index for draw in draws])
    expected = np.unique(index)
    check_a_pass(draws, expected, B)
    sizes.append(len(expected))
  shares = [1, 1, 0.8, 0.64, 0.512, 0.5, 0.5, 0.5]
  assert sizes[:8] == [int(np.float32(share) * N) for share in shares]


def test_a_subset_has_the_law_of_draws_one_after_the_other():
  """With h of 0 to 4, and an example without; pairs by enumeration."""
  pool = jax.tree.map(lambda x: x[:6], POOL._replace(scores={}, partitions={}))
  sampler = dihcl(batch_size=2)
  state = sampler.init(jax.random.key(0), pool)
  hardness = jnp.array([0.0, 1, 2, 3, 4, 0])
  visits = jnp.array([1, 1, 1, 1, 1, 0], jnp.int8)
  state = state._replace(
    hardness=hardness, visits=visits, share=jnp.float32(0.5)
  )

  def subset(key):
    return _dihcl._draw_subset(state._replace(key=key), 0).order[:3]

  drawn = jax.jit(jax.vmap(subset))(jax.random.split(jax.random.key(1), 20_000))
  drawn = np.sort(np.asarray(drawn), axis=1)
  assert (drawn[:, 2] == 5).all()  # without a hardness it comes first
  h = np.asarray(hardness)
  for i, j in itertools.combinations(range(5), 2):
    p = h[i] * h[j] / 10 * (1 / (10 - h[i]) + 1 / (10 - h[j]))
    count = ((drawn[:, 0] == i) & (drawn[:, 1] == j)).sum()
    assert abs(count - 20_000 * p) <= 5 * (20_000 * p * (1 - p)) ** 0.5


def test_measurements_that_are_not_finite_are_not_learned_from():
  sampler = dihcl(batch_size=B, measure="change")
  out = run(sampler, 40, bad=[0, 1])
  state = out[-1][1]
  assert (state.visits[:2] == 0).all() and (state.visits[2:] == 2).all()
  assert (state.hardness[:2] == 0).all()
  assert state.ignored == sum(np.isin(d.index, [0, 1]).sum() for d, _ in out)
  # They are in every epoch.
  *_, (_, draws) = split_passes(out)
  assert {0, 1} <= {int(i) for draw in draws for i in draw.index}


def test_flips_are_right_answers_and_need_classes():
  sampler = dihcl(batch_size=3, measure="flips")
  info = type("Info", (), {})()
  info.logits = jnp.array([[0.0, 2.0], [1.0, 0.0], [0.0, jnp.nan]])
  info.batch = type("Batch", (), {"label": jnp.array([1, 1, 0])})()
  info.loss = jnp.array([0.1, 1.0, jnp.nan])
  answers = sampler.signal.measure(jax.random.key(0), info)
  np.testing.assert_array_equal(answers, [1, 0, np.nan])
  pool = POOL._replace(label=POOL.label.astype(jnp.float32))
  with pytest.raises(ValueError, match=r"^measure "):
    sampler.init(jax.random.key(0), pool)


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"batch_size": 0}, "batch_size"),
    ({"measure": "margin"}, "measure"),
    ({"step_size": 0.0}, "step_size"),
    ({"warmup": 0}, "warmup"),
    ({"decay": 1.5}, "decay"),
    ({"least": 0.0}, "least"),
  ],
)
def test_impossible_arguments_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    dihcl(**({"batch_size": 8} | changes))
