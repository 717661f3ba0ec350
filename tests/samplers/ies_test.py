"""Early stopping of examples against second differences in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from remembering import POOL, N, check_a_pass, loss_at, run, split_passes

from alcurr.samplers import ies

B = 7


def _mastered(visits, threshold, window):
  """Returns whether the losses of the visits of an example say so."""
  for end in range(window + 2, len(visits) + 1):
    recent = np.abs(np.diff(visits[:end], 2))[-window:]
    if recent.mean() < threshold:
      return True
  return False


@pytest.mark.parametrize("window", [1, 3])
def test_mastered_examples_are_drawn_no_more(window):
  bad, threshold = [3, 4], 0.01
  sampler = ies(batch_size=B, threshold=threshold, window=window)
  out = run(sampler, 100, bad=bad)
  visits, expected, sizes = [[] for _ in range(N)], np.arange(N), []
  for start, draws in split_passes(out):
    check_a_pass(draws, expected, B)
    sizes.append(len(expected))
    for t, draw in enumerate(draws, start):
      for i in set(draw.index.tolist()) - set(bad):
        visits[i].append(loss_at(i, t))
    mastered = [_mastered(v, threshold, window) for v in visits]
    expected = np.flatnonzero(~np.array(mastered))
  assert sizes[:2] == [N, N]
  assert len(bad) <= sizes[-1] < 0.7 * N
  last = out[-1][1]
  assert last.ignored == sum(np.isin(d.index, bad).sum() for d, _ in out)


def test_if_all_are_mastered_passes_are_whole():
  sampler = ies(batch_size=N)
  out = run(sampler, 5, measured=lambda index, t: np.full(N, 0.5))
  assert out[-1][1].mastered.all()
  assert sorted(out[-1][0].index) == list(range(N))


def test_huge_losses_leave_the_state_finite():
  sampler = ies(batch_size=B)
  state = sampler.init(jax.random.key(0), POOL)
  update = jax.jit(sampler.update)
  draw = jax.jit(sampler.sample)(jax.random.key(0), state, POOL)
  for loss in (3e38, -3e38, 3e38, 3e38):
    state = update(state, draw, jnp.full(B, loss))
  assert np.isfinite(state.last).all()


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"batch_size": 0}, "batch_size"),
    ({"threshold": 0.0}, "threshold"),
    ({"window": 0}, "window"),
    ({"window": 101}, "window"),
  ],
)
def test_impossible_arguments_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    ies(**({"batch_size": 8} | changes))
