"""The noise scale against the gradients of all examples."""

import jax
import numpy as np
import pytest
import toy

from alcurr.data.pool import make_gather
from alcurr.experiments.tune import noise_scale, trials
from alcurr.training.losses import LOSSES
from alcurr.training.run import init_trials


def _cross_entropy(z, target):
  """Returns the gradient of -log softmax(z)[class]: [N, V]."""
  p = np.exp(z - z.max(1, keepdims=True))
  return p / p.sum(1, keepdims=True) - target


def _squared_error(z, target):
  """Returns the gradient of mean (z - target)² over the classes: [N, V]."""
  return 2 * (z - target) / z.shape[1]


def _gradients(params, pool, by_logits):
  """Returns the gradient of a linear model for each example: [N, P]."""
  x = np.asarray(pool.source.image, np.float64).reshape(len(pool.label), -1)
  x /= 255
  z = x @ np.asarray(params["weight"], np.float64) + np.asarray(params["bias"])
  delta = by_logits(z, np.eye(z.shape[1])[np.asarray(pool.label)])
  weight = x[:, :, None] * delta[:, None, :]
  return np.concatenate([weight.reshape(len(z), -1), delta], 1)


@pytest.mark.parametrize(
  ("batch_size", "loss", "by_logits"),
  [
    (4, "cross_entropy", _cross_entropy),
    pytest.param(16, "cross_entropy", _cross_entropy, marks=pytest.mark.slow),
    (8, "squared_error", _squared_error),
  ],
)
def test_it_is_that_of_all_gradients(batch_size, loss, by_logits):
  """|G|² and tr(Σ) of the pool, as means over 300 draws of batches."""
  pool = toy.make_pool()
  run = toy.make_run(
    batch_size=batch_size, seeds=tuple(range(300)), loss=LOSSES[loss]()
  )
  params, _ = run.model.init(jax.random.key(1))
  each = _gradients(params, pool, by_logits)
  mean = each.mean(0)
  gradient, sigma = mean @ mean, each.var(0).sum()
  norms = jax.jit(jax.vmap(noise_scale.make_norms(run), (0, None)))
  start = init_trials(run, pool)
  start = start._replace(
    params=jax.tree.map(
      lambda x, y: np.broadcast_to(x, y.shape), params, start.params
    )
  )
  reading = noise_scale.read(
    np.asarray(norms(start, pool), np.float64), batch_size
  )
  assert reading["noise"] == pytest.approx(sigma, rel=0.02)
  assert reading["gradient"] == pytest.approx(gradient, rel=0.05)
  assert reading["scale"] == pytest.approx(sigma / gradient, rel=0.06)


def test_two_batch_sizes_by_hand():
  """Appendix A.1 of the paper, with B and 32 B; a NaN trial is ignored."""
  small, big, size = np.array([3.0, 5.0]), np.array([1.0, 1.5]), 8
  b, large = size, noise_scale.BATCHES * size
  gradient = (large * big - b * small).mean() / (large - b)
  sigma = (small - big).mean() / (1 / b - 1 / large)
  both = np.stack([big, small], 1)
  nan = np.full((1, 2), np.nan)
  reading = noise_scale.read(np.append(both, nan, axis=0), size)
  np.testing.assert_allclose(
    [*reading.values()], [gradient, sigma, sigma / gradient]
  )
  nothing = noise_scale.read(nan, size)
  assert np.isnan([*nothing.values()]).all()
  lost = noise_scale.read(np.stack([small / 32.1, small], 1), size)
  assert lost["noise"] > 0 and np.isnan(lost["scale"])


def test_it_is_measured_after_each_fifth():
  pool = toy.make_pool()
  pools = {"train": pool, "probe": pool, "valid": pool}
  run = toy.make_run(num_steps=20, num_evals=10, chunk_steps=2)
  measured = []
  for chunk in trials.train_chunks(run, pools, init_trials(run, pool)):
    measured += noise_scale.measure(run, pool, chunk)
  assert [step for step, _ in measured] == [4, 8, 12, 16, 20]
  assert all(norms.shape == (2, 2) for _, norms in measured)


def test_augmentation_is_part_of_the_noise():
  """With blank images only the bias has a gradient."""
  pool = toy.make_pool()
  run = toy.make_run(gather=make_gather(), augment=lambda key, image: 0 * image)
  state = jax.tree.map(lambda x: x[0], init_trials(run, pool))
  m, q = noise_scale.make_norms(run)(state, pool)
  # 1/4 for each class, minus 1 at the label: at most 3/4.
  assert 0 < m < q < 0.75
