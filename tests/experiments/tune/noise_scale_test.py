"""The noise scale against what every example's gradient says."""

import jax
import numpy as np
import pytest
import toy

from alcurr.data.pool import make_gather
from alcurr.experiments.tune import noise_scale, trials
from alcurr.training.run import init_trials


def _gradients(params, pool):
  """Of softmax regression by hand, an example a row: [N, P]."""
  x = np.asarray(pool.source.image, np.float64).reshape(len(pool.label), -1)
  x /= 255
  z = x @ np.asarray(params["weight"], np.float64) + np.asarray(params["bias"])
  p = np.exp(z - z.max(1, keepdims=True))
  p /= p.sum(1, keepdims=True)
  p[np.arange(len(p)), np.asarray(pool.label)] -= 1
  weight = x[:, :, None] * p[:, None, :]
  return np.concatenate([weight.reshape(len(p), -1), p], 1)


@pytest.mark.parametrize("batch_size", [4, 16])
def test_it_is_that_of_all_gradients(batch_size):
  """|G|² and tr(Σ) of the pool, in the mean over 300 draws of batches."""
  pool = toy.make_pool()
  run = toy.make_run(batch_size=batch_size, seeds=tuple(range(300)))
  params, _ = run.model.init(jax.random.key(1))
  each = _gradients(params, pool)
  mean = each.mean(0)
  gradient, sigma = mean @ mean, each.var(0).sum()
  norms = jax.jit(jax.vmap(noise_scale.make_norms(run), (0, None)))
  start = init_trials(run, pool)
  start = start._replace(
    params=jax.tree.map(
      lambda x, y: np.broadcast_to(x, y.shape), params, start.params
    )
  )
  of_mean, mean_square = np.asarray(norms(start, pool), np.float64).T
  found = noise_scale.read(
    noise_scale.Norms(0, of_mean, mean_square), batch_size
  )
  assert found.noise == pytest.approx(sigma, rel=0.02)
  assert found.gradient == pytest.approx(gradient, rel=0.05)
  assert found.scale == pytest.approx(sigma / gradient, rel=0.06)


def test_two_batch_sizes_by_hand():
  """As the paper's A.1 has it, of B and 32 B; a trial that is out is out."""
  small, big, size = np.array([3.0, 5.0]), np.array([1.0, 1.5]), 8
  b, large = size, noise_scale.BATCHES * size
  gradient = (large * big - b * small).mean() / (large - b)
  sigma = (small - big).mean() / (1 / b - 1 / large)
  out = np.array([np.nan])
  found = noise_scale.read(
    noise_scale.Norms(7, np.append(big, out), np.append(small, out)), size
  )
  np.testing.assert_allclose(found, [gradient, sigma, sigma / gradient])
  nothing = noise_scale.read(noise_scale.Norms(7, out, out), size)
  assert np.isnan(nothing).all()
  lost = noise_scale.read(noise_scale.Norms(7, small / 32.1, small), size)
  assert lost.noise > 0 and np.isnan(lost.scale)


def test_it_is_measured_at_each_fifth(monkeypatch):
  pool = toy.make_pool()
  pools = {"train": pool, "probe": pool, "valid": pool}
  run = toy.make_run(num_steps=20, num_evals=10, chunk_steps=2)
  found = []
  look = noise_scale.make_gauge(run, pool, found)
  for stretch in trials.follow(run, pools, init_trials(run, pool)):
    look(stretch)
  assert [norms.step for norms in found] == [4, 8, 12, 16, 20]
  assert all(norms.mean.shape == (2,) for norms in found)
  rows = noise_scale.rows({"batch_size": 8}, 8, found)
  assert [row["examples"] for row in rows] == [32, 64, 96, 128, 160]


def test_augmentation_is_part_of_the_noise():
  """An augmentation that blanks each image leaves the bias's gradient."""
  pool = toy.make_pool()
  run = toy.make_run(gather=make_gather(), augment=lambda key, image: 0 * image)
  state = jax.tree.map(lambda x: x[0], init_trials(run, pool))
  m, q = noise_scale.make_norms(run)(state, pool)
  # A quarter for each class, less one at the label: 3/4 at most.
  assert 0 < m < q < 0.75
