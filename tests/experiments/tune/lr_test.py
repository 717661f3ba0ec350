"""The range test against closed forms, and the command."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import tiny
import toy

from alcurr.core import schedules
from alcurr.core.errors import UserError
from alcurr.experiments.tune import __main__ as command
from alcurr.experiments.tune import lr
from alcurr.types import Model


@pytest.mark.parametrize("beta", [0.0, 0.7, 0.98])
def test_the_average_is_a_weighted_mean(beta):
  """s_i is the mean of L_0 .. L_i with weights β^(i - j)."""
  loss = np.random.default_rng(0).normal(size=(3, 40))
  expected = np.empty_like(loss)
  for i in range(40):
    weight = beta ** np.arange(i, -1.0, -1.0)
    expected[:, i] = loss[:, : i + 1] @ weight / weight.sum()
  np.testing.assert_allclose(lr.smooth(loss, beta), expected, rtol=1e-9)


@pytest.mark.parametrize(
  ("curve", "end"),
  [
    ([3, 2, 1, 4, 4.1, 9], 4),
    ([3, 2, 1, np.nan, 1], 3),
    ([3, np.inf, 1], 1),
    ([3, 2, 5], 3),
    ([np.nan, 1], 0),
  ],
)
def test_divergence_by_hand(curve, end):
  assert lr.divergence(np.array(curve, float)) == end


def test_the_readings_of_a_curve():
  """(log rate)² falls up to rate 1; a sine is steepest at its zero."""
  rate = lr.rates(1e-4, 1e4, 800)
  assert rate[0] == 1e-4 and rate[400] == pytest.approx(1.0)
  reading = lr.read(rate, 1 + np.log(rate) ** 2, end=700)
  assert reading.lowest == pytest.approx(1.0)
  assert reading.lowest_loss == pytest.approx(1.0)
  assert reading.suggested == pytest.approx(0.1)
  assert not reading.falling
  half = np.log(1e4)  # from the middle to either end
  wave = 2 - np.sin(np.pi * np.log(rate) / half / 2)
  reading = lr.read(rate, wave, end=800)
  assert reading.steepest == pytest.approx(1.0, rel=0.03)
  assert reading.falling


@pytest.mark.parametrize("end", [0, 81, 800])
def test_a_curve_that_does_not_fall(end):
  rate = lr.rates(1e-4, 1.0, 800)
  with pytest.raises(UserError) as mistake:
    lr.read(rate, rate + 1, end)
  assert (mistake.value.code, mistake.value.place) == ("range", "--low")


LEAST = 0.1


def _quadratic(curvature):
  """Returns a model whose cross-entropy is LEAST + curvature / 2 (w - x)².

  With logits 0 and z, the first class has the loss log(1 + exp z).
  """

  def init(key):
    return {"w": jnp.float32(1.0)}, {}

  def apply(key, params, model_state, image, *, train):
    x = image[:, 0, 0, 0]
    loss = LEAST + curvature / 2 * (params["w"] - x) ** 2
    z = loss + jnp.log(-jnp.expm1(-loss))
    return jnp.stack([jnp.zeros_like(z), z], 1), model_state

  return Model(init, apply)


class Curves(NamedTuple):
  rate: np.ndarray  # [T]
  loss: np.ndarray  # [S, T]
  smoothed: np.ndarray  # [S, T]
  accuracy: np.ndarray  # [S, T]
  end: list[int]  # [S]


def _range_test(curvature, pixel, low, high, steps, beta=0.9):
  pool = toy.make_pool()
  pixel = jnp.resize(jnp.array(pixel, jnp.float32), (640,))
  image = jnp.broadcast_to(pixel[:, None, None, None], (640, 4, 4, 1))
  pool = pool._replace(
    source=pool.source._replace(image=image), label=jnp.zeros(640, jnp.int32)
  )
  tx = optax.sgd(schedules.exponential(value=low, end=high, num_steps=steps))
  model = _quadratic(curvature)
  run = toy.make_run(
    model=model, tx=tx, num_steps=steps, num_evals=5, chunk_steps=steps
  )
  pools = {"train": pool, "probe": pool, "valid": pool}
  rate = lr.rates(low, high, steps)
  table, ends = lr.range_test(run, rate, pools, beta)
  columns = ("loss", "smoothed", "accuracy")
  curves = (table[name].to_numpy().reshape(2, steps) for name in columns)
  return Curves(rate, *curves, ends)


def test_the_losses_are_those_of_gradient_descent():
  """w_(i + 1) = w_i - r_i c (w_i - x), at the rates r_i of the curves."""
  curves = _range_test(3.0, [0.25], 1e-3, 1.0, 100)
  w, expected = 1.0, []
  for rate in curves.rate:
    expected.append(LEAST + 1.5 * (w - 0.25) ** 2)
    w -= rate * 3.0 * (w - 0.25)
  np.testing.assert_allclose(curves.loss, [expected] * 2, rtol=1e-4)
  measured = np.flatnonzero(np.isfinite(curves.accuracy[0])) + 1
  assert measured.tolist() == [20, 40, 60, 80, 100]
  # The loss of the first class is below log 2 where z is below 0.
  right = LEAST + 1.5 * (w - 0.25) ** 2 < np.log(2)
  assert (curves.accuracy[:, -1] == float(right)).all()


@pytest.mark.parametrize(
  "curvature", [2.0, pytest.param(10.0, marks=pytest.mark.slow)]
)
def test_it_diverges_beyond_two_over_the_curvature(curvature):
  """There |1 - r c| > 1; two pixels keep the weight from converging before."""
  limit = 2 / curvature
  curves = _range_test(curvature, [0.2, 0.3], limit / 100, 4 * limit, 600, 0.8)
  np.testing.assert_array_equal(curves.smoothed, lr.smooth(curves.loss, 0.8))
  for trial, end in zip(curves.smoothed, curves.end, strict=True):
    assert 0.98 * limit < curves.rate[end] < 1.25 * limit
    reading = lr.read(curves.rate, trial, end)
    assert reading.lowest < limit and reading.steepest < limit


def test_a_trial_ends_at_the_first_number_that_is_not_finite():
  curves = _range_test(2.0, [0.25], 1.0, 1e30, 60)
  assert max(curves.end) < 60
  for loss, end in zip(curves.loss, curves.end, strict=True):
    assert np.isfinite(loss[:end]).all()


def test_accuracy_is_measured_as_in_training():
  """The network is right in train mode only."""
  pool = toy.make_pool()

  def apply(key, params, model_state, image, *, train):
    flat = image.reshape(image.shape[0], -1)[:, :4]
    return (flat if train else -flat) + params["w"], model_state

  model = Model(lambda key: ({"w": jnp.zeros(4)}, {}), apply)
  run = toy.make_run(model=model, tx=optax.sgd(1e-9), num_steps=20, num_evals=1)
  pools = {"train": pool, "probe": pool, "valid": pool}
  table, _ = lr.range_test(run, lr.rates(1e-9, 1e-8, 20), pools, 0.9)
  image = np.asarray(pool.source.image).reshape(640, -1)[:, :4]
  right = (image.argmax(1) == np.asarray(pool.label)).mean()
  accuracy = table["accuracy"].dropna().to_numpy()
  assert len(accuracy) == 8 and accuracy == pytest.approx(right, abs=0.01)


def _tune(tmp_path, *options):
  tiny.write(tmp_path, batch_size=8)
  return command.main(["lr", f"--config={tmp_path / 'tiny.py'}", *options])


def test_the_command(tmp_path, capsys):
  out = tmp_path / "runs" / "lr"
  status = _tune(
    tmp_path, f"--out={out}", "--steps=60", "--low=1e-4", "--config.trials=2"
  )
  output = capsys.readouterr()
  assert status == 0, output.err
  assert "Suggested: --config.optimizer.learning_rate=" in output.out
  assert {path.name for path in out.iterdir()} == {"range.csv", "range.png"}
  table = pd.read_csv(out / "range.csv")
  assert table.groupby("trial").size().tolist() == [60, 60]
  assert table["accuracy"].notna().sum() == 2 * lr.MEASUREMENTS
  expected = 1e-4 * 1e5 ** ((table["step"] - 1) / 60)
  np.testing.assert_allclose(table["learning_rate"], expected, rtol=1e-5)
  # Each trial has its own initial parameters.
  first = table[table["step"] == 1]["loss"]
  assert first.nunique() == 2
  assert first.between(0.5 * np.log(4), 2 * np.log(4)).all()
  # Nothing is overwritten.
  assert _tune(tmp_path, f"--out={out}") == 2
  assert capsys.readouterr().err.startswith(f"alcurr: --out: {out}/range.")


@pytest.mark.parametrize(
  ("options", "code", "place"),
  [
    (["--low=1", "--high=0.1"], "range", "--low"),
    (["--low=0"], "range", "--low"),
    (["--high=inf"], "range", "--low"),
    (["--beta=1"], "range", "--beta"),
    (["--steps=5"], "range", "--steps"),
    (["--sampler=bandti"], "unknown", "--sampler"),
  ],
)
def test_mistakes(tmp_path, options, code, place):
  tiny.write(tmp_path)
  out = tmp_path / "lr"
  config = f"--config={tmp_path / 'tiny.py'}"
  with pytest.raises(UserError) as mistake:
    command.tune(["lr", config, f"--out={out}", *options])
  assert (mistake.value.code, mistake.value.place) == (code, place)
  assert not out.exists()


@pytest.mark.parametrize(
  ("option", "named"),
  [
    ("--steps=many", "--steps"),
    ("--config.trials=x", "config.trials"),
    ("--config.trails=3", "config.trials"),
    ("--config.data.dir", "config.data.dir"),
    ("--config.data=3", "config.data"),
    ("stray", "stray"),
  ],
)
def test_wrong_options(tmp_path, capsys, option, named):
  out = tmp_path / "lr"
  assert _tune(tmp_path, f"--out={out}", option) == 2
  message = capsys.readouterr().err
  assert message.count("\n") == 1 and named in message
  assert not out.exists()
