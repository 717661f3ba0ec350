"""Self-paced weights and passes against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from remembering import POOL, N, check_a_pass, loss_at, run, split_passes

from alcurr.samplers import self_paced

B, STEPS = 7, 100


def _weights(kind, loss, age, largest):
  """Returns v of losses; NaN, for those never seen, weighs 1."""
  v = []
  for x in loss:
    if np.isnan(x):
      v.append(1.0)
    elif kind == "hard":
      v.append(float(x <= age))
    elif x >= age:
      v.append(0.0)
    elif kind == "linear":
      v.append(1 - x / age)
    else:
      lam = age / largest
      v.append(np.log(x / largest + 1 - lam) / np.log(1 - lam))
  return np.array(v)


@pytest.mark.parametrize("kind", ["hard", "linear", "log"])
def test_passes_and_weights_are_those_of_the_formula(kind):
  bad = [3, 4]
  sampler = self_paced(
    batch_size=B, num_steps=STEPS, weights=kind, start=0.4, full_at=0.7
  )
  out = run(sampler, STEPS, bad=bad)
  memory, expected, weight = np.full(N, np.nan), np.arange(N), np.ones(N)
  sizes = []
  for start, draws in split_passes(out):
    check_a_pass(draws, expected, B)
    sizes.append(len(expected))
    index = np.concatenate([draw.index for draw in draws])[: len(expected)]
    found = np.concatenate([draw.weight for draw in draws])[: len(expected)]
    np.testing.assert_allclose(found, weight[index], rtol=2e-4, atol=2e-6)
    for t, draw in enumerate(draws, start):
      for i in draw.index:
        memory[i] = memory[i] if i in bad else loss_at(i, t)
    share = min(0.4 + 0.6 * (t + 1) / STEPS / 0.7, 1)
    weight = np.ones(N)
    if share < 1:
      seen = np.sort(memory[~np.isnan(memory)])
      age = seen[int(np.ceil(np.float32(share) * len(seen))) - 1]
      weight = _weights(kind, memory, age, seen[-1])
    expected = np.flatnonzero(weight > 0)
  assert sizes[0] == N and sizes[-1] == N
  assert sizes[1] < 0.7 * N
  assert sizes[1:] == sorted(sizes[1:])


def test_losses_that_are_all_alike_are_all_trained_on():
  """The linear weight of each would be 0."""
  sampler = self_paced(batch_size=B, num_steps=STEPS, weights="linear")
  out = run(sampler, 30, measured=lambda index, t: np.full(B, 0.5))
  assert all((draw.weight == 1).all() for draw, _ in out)
  assert all(state.passes.cursor.size[0] == N for _, state in out)


def test_without_any_finite_loss_passes_are_whole():
  sampler = self_paced(batch_size=B, num_steps=STEPS)
  with jax.debug_nans(True):
    state = sampler.init(jax.random.key(0), POOL)
    draw = jax.jit(sampler.sample)(jax.random.key(0), state, POOL)
    update = jax.jit(sampler.update)
    for _ in range(12):
      state = update(state, draw, jnp.full(B, jnp.inf))
  assert int(state.memory.ignored) == 12 * B
  assert int(state.passes.cursor.size[0]) == N


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"batch_size": 0}, "batch_size"),
    ({"num_steps": 0}, "num_steps"),
    ({"weights": "soft"}, "weights"),
    ({"start": 0.0}, "start"),
    ({"full_at": 1.5}, "full_at"),
  ],
)
def test_impossible_arguments_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    self_paced(**({"batch_size": 8, "num_steps": 10} | changes))
