"""Runs that diverge, and what a run has trained on, against replays."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr.core.errors import FaultError
from alcurr.data.pool import make_gather
from alcurr.training import exposure, loop, step
from alcurr.training.run import RunSpec, compile_run
from alcurr.training.scoring import make_score
from alcurr.types import Images

BATCH_SIZE = 8
NEVER = 10**6
_BANDIT = {
  "name": "active_bandit",
  "bandit": "softmax",
  "gain": "prediction_gain",
  "reward": "rank(window=50)",
  "warmup": 2,
}


def _fused(fuses, linear=None):
  """A model whose logits are NaN from a step on, of each trial by its seed."""
  linear = linear or toy.make_linear()
  # As `step.make_init` makes them.
  keys = [
    jax.random.key_data(jax.random.split(jax.random.key(seed), 3)[0])
    for seed in range(len(fuses))
  ]
  keys, fuses = jnp.stack(keys), jnp.array(fuses, jnp.int32)

  def init(key):
    own = (keys == jax.random.key_data(key)).all(1)
    return linear.init(key)[0], {"left": fuses[own.argmax()]}

  def apply(key, params, model_state, image, *, train):
    logits, _ = linear.apply(key, params, {}, image, train=train)
    left = model_state["left"] - 1
    bad = train & (left <= 0)
    return logits * jnp.where(bad, jnp.nan, 1), {"left": left}

  return linear._replace(init=init, apply=apply)


def _run(model, sampler=None, num_steps=20, **changes):
  if not hasattr(sampler, "sample"):
    sampler = toy.make_sampler(
      sampler or _BANDIT, "x", batch_size=BATCH_SIZE, num_steps=num_steps
    )
  trials_by = changes.get("trials_by", "map")
  return RunSpec(
    sampler=sampler,
    model=model,
    tx=optax.sgd(0.1, momentum=0.9),
    gather=make_gather(),
    num_steps=num_steps,
    batch_size=BATCH_SIZE,
    seeds=(0, 1, 2),
    trials_by=trials_by,
    num_evals=2,
    chunk_steps=5,
    score=make_score(model, make_gather(), 50, trials_by),
    name="toy",
  )._replace(**changes)


RUN = _run(toy.make_linear())
POOLS = {
  "train": toy.make_pool(160),
  "probe": toy.make_pool(60, seed=2),
  "valid": toy.make_pool(50, seed=1),
}


def _train(run, pools=POOLS):
  rows = []
  plan = compile_run(run, pools)
  result = loop.train(run, plan, pools, rows.append, lambda *_: None)
  return result, rows


def _assert_trials_equal(left, right, trials):
  for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    np.testing.assert_array_equal(np.asarray(a)[trials], np.asarray(b)[trials])


@pytest.mark.parametrize(
  "trials_by", ["map", pytest.param("vmap", marks=pytest.mark.slow)]
)
def test_a_trial_that_diverges_leaves_the_others_as_they_were(
  trials_by, caplog
):
  """The second of three, at step 7: in the second chunk of five."""
  bad, bad_rows = _train(_run(_fused([NEVER, 7, NEVER]), trials_by=trials_by))
  good, good_rows = _train(_run(_fused([NEVER] * 3), trials_by=trials_by))
  healthy = [0, 2]
  _assert_trials_equal(
    *(r.state._replace(model_state=()) for r in (bad, good)), healthy
  )
  assert not np.isfinite(bad.state.params["weight"][1]).any()

  def without_clock(rows):
    return [
      {k: v for k, v in row.items() if k != "train_seconds"}
      for row in rows
      if row["trial"] in healthy
    ]

  for own, theirs in zip(
    without_clock(bad_rows), without_clock(good_rows), strict=True
  ):
    jax.tree.map(np.testing.assert_array_equal, own, theirs)
  assert [row["step"] for row in bad_rows if row["trial"] == 1] == [5]
  assert bad.exposure.diverged_step.tolist() == [0, 7, 0]
  assert good.exposure.diverged_step.tolist() == [0, 0, 0]
  assert exposure.active_trials(bad.exposure) == healthy
  described = exposure.describe_divergence(bad.exposure, 1, "toy")
  for word in ("trial 1", "step 7", "loss, gradient, update"):
    assert word in described
  assert f"{described} 2 of 3 trials continue." in caplog.text


def test_a_run_whose_trials_have_all_diverged_ends(caplog):
  result, rows = _train(_run(_fused([7, 3, 8]), num_steps=200))
  # The third chunk was given to the device before the second was looked at.
  assert result.steps == 10
  assert [(row["step"], row["trial"]) for row in rows] == [(5, 0), (5, 2)]
  assert result.exposure.diverged_step.tolist() == [7, 3, 8]
  assert "0 of 3 trials continue." in caplog.text


def _with_a_hole(pool, example):
  """Images of floats, one of them NaN."""
  image = np.asarray(pool.source.image, np.float32) / 255
  image[example] = np.nan
  return pool._replace(source=Images(jnp.asarray(image)))


@pytest.mark.parametrize(
  "trials_by", ["map", pytest.param("vmap", marks=pytest.mark.slow)]
)
def test_skipping_is_a_loop_that_leaves_those_updates_out(trials_by):
  """One example of 160 is NaN: one batch of each pass over them is skipped."""
  pools = POOLS | {"train": _with_a_hole(POOLS["train"], 33)}
  sampler = {"name": "uniform"}
  run = _run(
    toy.make_linear(),
    sampler,
    num_steps=45,
    trials_by=trials_by,
    on_nonfinite="skip_update",
  )
  result, rows = _train(run, pools)
  # The others stop at that, each at its own step.
  stopped, _ = _train(run._replace(on_nonfinite="stop"), pools)
  steps = step.make_steps(run.model, run.tx, run.sampler, run.gather)
  one = jax.jit(steps.measured)
  for trial, seed in enumerate(run.seeds):
    init = step.make_init(run.model, run.tx, run.sampler)
    state = init(jax.random.key(seed), pools["train"])
    counts, skipped = collections.Counter(), []
    for number in range(1, run.num_steps + 1):
      new, metrics = one(state, pools["train"], pools["probe"], ())
      index = np.asarray(metrics.index)
      if 33 in index:
        skipped.append(number)
        # The pass over the pool continues, and nothing else changes.
        state = state._replace(step=new.step, sampler_state=new.sampler_state)
      else:
        counts.update(index.tolist())
        state = new
    assert len(skipped) == 2 or len(skipped) == 3
    own = jax.tree.map(lambda x, i=trial: x[i], result.state)
    for name in ("params", "opt_state", "sampler_state", "step"):
      jax.tree.map(
        lambda a, b: (
          np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
          if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
          else None
        ),
        getattr(own, name),
        getattr(state, name),
      )
    assert result.exposure.skipped[trial] == len(skipped)
    assert stopped.exposure.diverged_step[trial] == skipped[0]
    last = [row for row in rows if row["trial"] == trial][-1]
    assert last["skipped_updates"] == len(skipped)
    assert last["coverage"] == len(counts) / 160
    squares = sum(c * c for c in counts.values())
    assert last["effective_sample_size"] == pytest.approx(
      sum(counts.values()) ** 2 / squares
    )
  assert exposure.active_trials(result.exposure) == [0, 1, 2]
  assert all(np.isfinite(row["train_loss"]) for row in rows)


def test_skipping_does_not_repair_a_sampler():
  """Its policy is NaN from step 3 on: that is its own state."""
  sampler = toy.make_sampler(_BANDIT, "x", batch_size=BATCH_SIZE, num_steps=20)

  def sample(key, state, pool):
    draw = sampler.sample(key, state, pool)
    bad = state.step >= 2
    return draw._replace(policy=jnp.where(bad, jnp.nan, draw.policy))

  run = _run(toy.make_linear(), sampler._replace(sample=sample))
  result, rows = _train(run._replace(on_nonfinite="skip_update"))
  assert result.exposure.diverged_step.tolist() == [3, 3, 3]
  assert "not finite: policy" in exposure.describe_divergence(
    result.exposure, 0, "toy"
  )
  assert rows == []


def test_a_violated_invariant_stops_the_run():
  """A sampler that draws out of the pool at its seventh step."""
  sampler = toy.make_sampler(_BANDIT, "x", batch_size=BATCH_SIZE, num_steps=20)

  def sample(key, state, pool):
    draw = sampler.sample(key, state, pool)
    out = jnp.where(state.step == 6, pool.label.shape[0], 0)
    return draw._replace(index=draw.index + out)

  with pytest.raises(FaultError) as fault:
    _train(_run(toy.make_linear(), sampler._replace(sample=sample)))
  assert (fault.value.code, fault.value.place) == ("invariant", "toy")
  for word in ("trial 0", "step 7", "the examples drawn are of the pool"):
    assert word in fault.value.text


def test_gains_that_are_not_finite_are_counted(caplog):
  """Two of the 8 gains of each step, and the trial continues."""
  sampler = toy.make_sampler(_BANDIT, "x", batch_size=BATCH_SIZE, num_steps=20)

  def measure(key, info):
    feedback = sampler.signal.measure(key, info)
    gain = feedback.gain.at[:2].set(jnp.array([jnp.inf, jnp.nan]))
    return feedback._replace(gain=gain)

  signal = sampler.signal._replace(measure=measure)
  run = _run(toy.make_linear(), sampler._replace(signal=signal))
  result, rows = _train(run)
  assert exposure.active_trials(result.exposure) == [0, 1, 2]
  for row in rows:
    assert row["gains_ignored"] == 2 * row["step"]
    assert np.isfinite(row["gain"])
  assert result.state.sampler_state.ignored.tolist() == [40, 40, 40]
  assert caplog.text.count("ignores gains that are not finite") == 3
  _, rows = _train(_run(toy.make_linear()))
  assert not any("gains_ignored" in row for row in rows)


def _metrics(index, wrong=None):
  """Returns the metrics of [S, T, B] indices; nothing else matters."""
  index = np.asarray(index, np.int32)
  zeros = np.zeros(index.shape[:2])
  wrong = np.zeros(index.shape[:2], np.int32) if wrong is None else wrong
  return step.Metrics(
    loss=zeros,
    policy=zeros[..., None],
    gain=zeros,
    num_gains=zeros,
    num_ignored=np.zeros(index.shape[:2], np.int32),
    num_scored=np.zeros(index.shape[:2], np.int32),
    index=index,
    violation=np.array(wrong),
  )


def test_what_was_seen_is_a_count_by_numpy():
  """Chunks of any draws, with one example several times in a batch."""
  rng = np.random.default_rng(0)
  chunks = [rng.integers(0, 30 + 40 * i, (2, 4, 16)) for i in range(3)]
  total = exposure.init_exposure(2, 200)
  for number, index in enumerate(chunks):
    total = exposure.add(total, _metrics(index), 4 * number, RUN)
  for trial in (0, 1):
    drawn = np.concatenate([index[trial].ravel() for index in chunks])
    counts = np.bincount(drawn, minlength=200)
    np.testing.assert_array_equal(total.count[trial], counts)
    metrics = exposure.trial_metrics(total, trial)
    assert metrics["coverage"] == (counts > 0).mean()
    assert metrics["effective_sample_size"] == pytest.approx(
      counts.sum() ** 2 / (counts**2).sum()
    )


def test_scored_and_trained_examples_are_counted_apart():
  """The first and last step score 8 candidates; the second trial diverges."""
  seen = exposure.init_exposure(2, 10)
  index = np.arange(2 * 3 * 2).reshape(2, 3, 2) % 10
  violation = np.array([[0, 0, 0], [0, 1, 0]], np.int32)
  metrics = _metrics(index, violation)._replace(
    num_scored=np.array([[8, 0, 8], [8, 0, 8]], np.int32)
  )
  for chunk in range(2):
    seen = exposure.add(seen, metrics, 3 * chunk, RUN)
  assert seen.scored.tolist() == [32, 0]
  assert seen.trained.tolist() == [12, 0]
  assert exposure.trial_metrics(seen, 0)["examples_scored"] == 32


def test_half_a_pool_that_is_no_longer_drawn_shows():
  """All once, then one half ten times: 200 (1 + 11)^2 / (1 + 121) by hand."""
  total = exposure.init_exposure(1, 400)
  assert exposure.trial_metrics(total, 0)["effective_sample_size"] == 0
  whole, half = np.arange(400), np.arange(200)
  total = exposure.add(total, _metrics(whole.reshape(1, 4, 100)), 0, RUN)
  metrics = exposure.trial_metrics(total, 0)
  assert metrics["coverage"] == 1
  assert metrics["effective_sample_size"] == 400
  for i in range(10):
    chunk = _metrics(half.reshape(1, 2, 100))
    total = exposure.add(total, chunk, 4 + 2 * i, RUN)
  metrics = exposure.trial_metrics(total, 0)
  assert metrics["coverage"] == 1
  assert metrics["effective_sample_size"] == pytest.approx(200 * 144 / 122)


def test_an_exposure_says_who_diverged_in_a_chunk():
  index = np.zeros((3, 2, 4), int)
  before = exposure.init_exposure(3, 10)
  one = np.array([[0, 0], [0, 1], [0, 0]], np.int32)
  after = exposure.add(before, _metrics(index, one), 10, RUN)
  assert exposure.active_trials(before) == [0, 1, 2]
  assert exposure.active_trials(after) == [0, 2]
  assert after.diverged_step.tolist() == [0, 12, 0]
  # It is out, whatever its steps say now, and two may go at once.
  two = np.array([[1, 0], [64, 64], [0, 1]], np.int32)
  last = exposure.add(after, _metrics(index, two), 12, RUN)
  assert exposure.active_trials(last) == []
  assert last.diverged_step.tolist() == [13, 12, 14]
  assert last.trained.tolist() == [8, 0, 8]
