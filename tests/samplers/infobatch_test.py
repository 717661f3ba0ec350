"""InfoBatch against the rule in NumPy, pass by pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from remembering import POOL, START, N, loss_at, run, split_passes

from alcurr.samplers import _infobatch, infobatch

B, R = 7, 0.5


def test_each_pass_is_the_hard_examples_and_some_of_the_easy():
  """By a memory in NumPy; an example without a finite loss is never pruned."""
  bad = [3, 4]
  sampler = infobatch(batch_size=B, num_steps=200, delta=1.0)
  passes = split_passes(run(sampler, 120, bad=bad))
  memory, kept, easy_before = np.full(N, np.nan), [], 0
  for number, (start, draws) in enumerate(passes):
    hard = ~(memory < np.nanmean(memory)) if number else np.ones(N, bool)
    index = np.concatenate([draw.index for draw in draws])
    weight = np.concatenate([draw.weight for draw in draws])
    drawn = np.unique(index)
    assert set(np.flatnonzero(hard)) <= set(drawn)
    np.testing.assert_allclose(weight, np.where(hard[index], 1, 1 / (1 - R)))
    # Each once, except for what fills the last batch.
    first = index[: len(drawn)]
    assert len(set(first)) == len(drawn)
    assert len(index) - len(drawn) < B
    kept.append((~hard[drawn]).sum())
    easy_before += (~hard).sum()
    for t, draw in enumerate(draws, start):
      for i in draw.index:
        memory[i] = memory[i] if i in bad else loss_at(i, t)
  assert number >= 10
  spread = (easy_before * R * (1 - R)) ** 0.5
  assert abs(sum(kept) - (1 - R) * easy_before) < 4 * spread
  assert sum(kept) < easy_before


def test_the_last_part_of_a_run_is_whole():
  """From its step on, even within a pass."""
  sampler = infobatch(batch_size=B, num_steps=60)
  out = run(sampler, 60)
  last = [draw for draw, _ in out[52:]]
  assert len({i for draw in last for i in draw.index}) == B * 8
  assert all((draw.weight == 1).all() for draw in last)
  assert any((draw.weight > 1).any() for draw, _ in out[46:52])
  assert out[50][1].passes.cursor.position[0] > 0  # within a pass
  assert out[51][1].passes.cursor.position[0] == 0


@pytest.mark.parametrize(
  "ratio",
  [0.3, *(pytest.param(x, marks=pytest.mark.slow) for x in (0.0, 0.9))],
)
def test_the_weights_of_a_pass_are_unbiased(ratio):
  """The weighted sum over a pass is that over the pool, over many keys."""
  sampler = infobatch(batch_size=N, num_steps=100, prune_ratio=ratio)
  _, state = run(sampler, 1)[0]
  value = np.float32(START**2)

  def total(key):
    passes, num_full = _infobatch._begin_pass(state._replace(key=key), ratio)
    size = passes.cursor.size[0]
    place = jnp.arange(N)
    weight = jnp.where(place < num_full, 1, 1 / (1 - ratio))
    terms = weight * jnp.asarray(value)[passes.order]
    return jnp.where(place < size, terms, 0).sum()

  totals = jax.jit(jax.vmap(total))(jax.random.split(jax.random.key(1), 4000))
  error = totals.std() / 4000**0.5 + 1e-4
  assert abs(totals.mean() - value.sum()) < 4 * error


def test_losses_that_are_all_alike_leave_some_to_train_on():
  """Their mean may be rounded above them, and all may be pruned."""
  sampler = infobatch(batch_size=N, num_steps=100, prune_ratio=0.999)
  state = sampler.init(jax.random.key(0), POOL)
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  for t in range(5):
    draw = sample(jax.random.key(t), state, POOL)
    state = update(state, draw, jnp.full(N, 0.1))
    assert 1 <= state.passes.cursor.size[0] <= N
    assert sorted(state.passes.order.tolist()) == list(range(N))


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"batch_size": 0}, "batch_size"),
    ({"num_steps": 0}, "num_steps"),
    ({"prune_ratio": 1.0}, "prune_ratio"),
    ({"delta": 1.5}, "delta"),
  ],
)
def test_impossible_arguments_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    infobatch(**({"batch_size": 8, "num_steps": 10} | changes))
