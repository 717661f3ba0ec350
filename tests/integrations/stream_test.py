"""Streams of indices are the draws of their samplers."""

import copy
import json

import jax.numpy as jnp
import numpy as np
import pytest
import toy_samplers
from streams import (
  BANDIT,
  BATCH_SIZE,
  POOL,
  losses_of,
  make_sampler,
  make_stream,
  pure,
  refused,
  train_indices,
  trained,
)

from alcurr.integrations import IndexStream, pool_info
from alcurr.types import Feedback, Signal

RANDOM = BANDIT | {"gain": "random_gain", "arms_per_batch": 4}


def _drive(stream, num_draws):
  """Returns the indices of a loop that alternates `next` and `update`."""
  found = []
  for _ in range(num_draws):
    found.append(stream.next())
    stream.update(losses=losses_of(found[-1]))
  return found


@pytest.mark.parametrize(
  "spec",
  [
    {"name": "uniform"},
    *(
      pytest.param(spec, marks=pytest.mark.slow)
      for spec in (
        {"name": "uniform", "replacement": True},
        {"name": "curriculum"},
        {"name": "bucketed_curriculum"},
        {"name": "fixed_policy", "policy": "uniform", "partition": "label"},
      )
    ),
    RANDOM,
  ],
  ids=str,
)
def test_the_draws_are_those_of_a_training_run(spec):
  """Also of a bandit whose gain is noise from the same keys."""
  found = _drive(make_stream(spec), 12)
  np.testing.assert_array_equal(found, trained(spec, 12))


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize(
  "spec", [BANDIT, BANDIT | {"interval": 4, "arms_per_batch": 4}], ids=str
)
def test_feedback_counts_after_the_delay_and_not_before(spec, delay):
  """It may come at once, or as late as `delay` permits."""
  expected = pure(spec, 16, delay=delay)
  np.testing.assert_array_equal(
    _drive(make_stream(spec, delay=delay), 16), expected
  )
  late = make_stream(spec, delay=delay)
  found = [late.next() for _ in range(delay)]
  while len(found) < 16:
    found.append(late.next())
    number = len(found) - 1 - delay
    assert late.drawn.number == number
    late.update(losses=losses_of(found[number]), number=number)
  np.testing.assert_array_equal(found, expected)
  assert len({tuple(x) for x in expected}) > 1


def test_gains_are_losses_before_less_losses_after():
  losses, gains, feedback = (make_stream(BANDIT) for _ in range(3))
  for _ in range(12):
    index = losses.next()
    np.testing.assert_array_equal(index, gains.next())
    np.testing.assert_array_equal(index, feedback.next())
    before, after = losses_of(index)
    losses.update(losses=(before, after))
    gains.update(gains=before - after)
    feedback.update(feedback=Feedback(before - after, feedback.drawn.arm))


def test_mistakes_are_class_reweightings_feedback():
  stream = make_stream({"name": "class_reweighting", "uniform_fraction": 0.0})
  stream.next()
  stream.update(feedback=[0, 3, 0, 1])
  index = stream.next()
  np.testing.assert_allclose(stream.drawn.policy, [0, 0.75, 0, 0.25])
  assert set(np.asarray(POOL.label)[index]) <= {1, 3}


def test_what_is_known_of_the_draw_in_hand():
  stream = make_stream(BANDIT | {"interval": 2})
  assert stream.batch_size == BATCH_SIZE
  assert stream.num_examples == 640
  for number in range(4):
    index, drawn = stream.next(), stream.drawn
    assert (drawn.number, drawn.measured) == (number, number % 2 == 0)
    np.testing.assert_array_equal(drawn.index, index)
    arm = np.asarray(POOL.partitions["difficulty"].arm)[index]
    np.testing.assert_array_equal(drawn.arm, arm)
    np.testing.assert_array_equal(drawn.weight, np.ones(BATCH_SIZE))
    np.testing.assert_allclose(drawn.policy.sum(), 1, rtol=1e-6)
    stream.update(gains=np.ones(BATCH_SIZE) if drawn.measured else None)


def _through_npz(state, tmp_path):
  np.savez(tmp_path / "state.npz", **state)
  with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
    return dict(file)


def _through_json(state, tmp_path):
  lists = {name: array.tolist() for name, array in state.items()}
  return json.loads(json.dumps(lists))


@pytest.mark.parametrize("through", [_through_npz, _through_json])
@pytest.mark.parametrize("delay", [0, 3])
def test_a_stream_goes_on_where_its_state_was_taken(through, delay, tmp_path):
  """With pending draws, in a stream of another seed."""
  whole = pure(BANDIT, 20, delay=delay)
  stream = make_stream(BANDIT, delay=delay)
  for number in range(9):
    while stream.handed_out < number + 1 + delay:
      stream.next()
    stream.update(losses=losses_of(whole[number]))
  assert stream.updates == 9
  state = through(stream.state_dict(), tmp_path)
  other = make_stream(BANDIT, seed=1, delay=delay)
  other.next()
  other.load_state_dict(state)
  assert other.handed_out == other.updates == 9
  np.testing.assert_array_equal(_drive(other, 11), whole[9:])


def test_updates_may_come_in_another_order():
  stream = make_stream(BANDIT, delay=2)
  expected = pure(BANDIT, 8, delay=2)
  found = [stream.next() for _ in range(3)]
  for number in (1, 0, 2):
    stream.update(losses=losses_of(found[number]), number=number)
  found += _drive(stream, 5)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  "gain",
  [
    "self_prediction_gain",
    "mean_prediction_gain",
    "target_prediction_gain",
    "gradient_prediction_gain",
    "first_order_gain",
    "influence",
  ],
)
def test_signals_that_need_the_model_arerefused(gain):
  stream = make_stream(BANDIT | {"gain": gain, "arms_per_batch": BATCH_SIZE})
  index = stream.next()
  with refused("unsupported", "update"):
    stream.update(losses=losses_of(index))
  stream.update(feedback=Feedback(np.ones(2), [0, 1]))  # measured by the loop
  stream.next()


def test_class_reweighting_needs_the_models_answers():
  stream = make_stream({"name": "class_reweighting"})
  stream.next()
  with refused("unsupported", "update"):
    stream.update(gains=np.ones(BATCH_SIZE))


@pytest.mark.parametrize(
  ("given", "code", "place"),
  [
    ({}, "missing", "update"),
    ({"losses": 1.0}, "type", "losses"),
    ({"gains": [1.0]}, "type", "gains"),
    ({"gains": [np.nan] * 8}, "range", "gains"),
    ({"gains": np.ones(8), "feedback": ()}, "conflict", "update"),
    ({"gains": np.ones(8), "number": 3}, "missing", "update"),
    (
      {"feedback": Feedback(np.ones(2), [0, 5])},
      *("range", "feedback.arm"),
    ),
    ({"feedback": Feedback(np.ones(2), [0])}, "type", "feedback"),
  ],
  ids=str,
)
def test_mistakes_of_an_update_leave_the_draw_pending(given, code, place):
  stream = make_stream(BANDIT)
  stream.next()
  with refused(code, place):
    stream.update(**given)
  assert stream.updates == 0
  stream.update(feedback=())
  assert stream.updates == 1


def test_next_and_update_take_turns():
  stream = make_stream({"name": "uniform"})
  with refused("missing", "update"):
    stream.update()
  stream.next()
  with refused("range", "delay"):
    stream.next()
  stream.update()
  with refused("missing", "update"):
    stream.update()


def test_a_state_of_another_sampler_pool_or_delay_isrefused():
  stream = make_stream(BANDIT)
  state = stream.state_dict()
  with refused("mismatch", "load_state_dict"):
    make_stream({"name": "uniform"}).load_state_dict(state)
  with refused("mismatch", "load_state_dict"):
    make_stream(BANDIT | {"reward": "rank(window=9)"}).load_state_dict(state)
  ahead = make_stream(BANDIT, delay=4)
  for _ in range(4):
    ahead.next()
  with refused("mismatch", "load_state_dict"):
    stream.load_state_dict(ahead.state_dict())
  assert stream.next().shape == (BATCH_SIZE,)


def test_a_stream_is_not_copied():
  with refused("unsupported", "IndexStream"):
    copy.deepcopy(make_stream({"name": "uniform"}))


def test_the_streams_arrays_are_on_the_cpu():
  stream = make_stream(BANDIT)
  assert stream._queue.key.device.platform == "cpu"


def test_pool_info_is_a_pool_without_images():
  """The partitions that the sampler needs, as a pool with images has them."""
  label, difficulty = (
    np.asarray(POOL.label),
    np.asarray(POOL.scores["difficulty"]),
  )
  sampler = make_sampler(BANDIT)
  info = pool_info(sampler, label, difficulty, 5)
  assert list(info.partitions) == ["difficulty"]
  for ours, theirs in zip(
    info.partitions["difficulty"], POOL.partitions["difficulty"], strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)
  words = np.array(["ant", "bee", "cat", "dog"])[label]
  named = pool_info(sampler, words, difficulty, 5)
  np.testing.assert_array_equal(named.label, label)


def test_without_classes_arms_are_quantiles_of_the_pool():
  difficulty = np.random.default_rng(0).permutation(50)
  sampler = make_sampler(BANDIT | {"partition": "difficulty_in_pool"})
  info = pool_info(sampler, difficulty=difficulty, num_arms=5)
  np.testing.assert_array_equal(
    info.partitions["difficulty_in_pool"].arm, difficulty // 10
  )
  stream = IndexStream(sampler, info)
  index = stream.next()
  assert len(set(difficulty[index] // 10)) == 1


@pytest.mark.parametrize(
  ("given", "code", "place"),
  [
    ({}, "missing", "pool_info"),
    ({"labels": [0, 1]}, "missing", "difficulty"),
    ({"difficulty": [0, 1]}, "missing", "labels"),
    ({"labels": [0, 2], "difficulty": [0, 1]}, "range", "labels"),
    ({"labels": [0.5], "difficulty": [0]}, "type", "labels"),
    ({"labels": [0, 1], "difficulty": [0]}, "data", "difficulty"),
    ({"labels": [0, 1], "difficulty": [0, np.nan]}, "data", "difficulty"),
    ({"labels": [0, 1], "difficulty": [0, 1]}, "argument", "pool_info"),
  ],
  ids=str,
)
def test_mistakes_of_pool_info(given, code, place):
  with refused(code, place):
    pool_info(make_sampler(BANDIT), **given)


def test_numbers_that_do_not_fit_the_pool_arerefused():
  sampler = make_sampler({"name": "uniform"})
  info = pool_info(sampler, [0, 1, 0])
  with refused("argument", "IndexStream"):
    IndexStream(sampler, info)
  with refused("range", "delay"):
    IndexStream(sampler, info, delay=-1)


CANDIDATES = toy_samplers.largest_loss(
  batch_size=BATCH_SIZE, num_candidates=24
)._replace(score=lambda logits, label: jnp.sin(7.0 * label))


@pytest.mark.parametrize("delay", [0, 2])
def test_selections_are_those_of_a_training_run(delay):
  """The score reads the label alone, so that a loop without a model has it."""
  stream = IndexStream(CANDIDATES, pool_info(CANDIDATES, POOL.label), 5, delay)
  assert stream.batch_size == BATCH_SIZE
  trained_on, pending = [], []
  for _ in range(10):
    pending.append(stream.next())
    if len(pending) > delay:
      index = pending.pop(0)
      score = CANDIDATES.score(None, POOL.label[index])
      selected = stream.select(score)
      np.testing.assert_array_equal(selected.index, index[selected.slots])
      trained_on.append(selected.index)
      stream.update()
  run = train_indices(CANDIDATES, len(trained_on))
  np.testing.assert_array_equal(trained_on, run)


def test_a_signal_may_read_the_candidates_scores():
  """A sampler whose state is the mean score of its last candidates."""
  uniform = CANDIDATES
  sampler = uniform._replace(
    init=lambda key, pool: (uniform.init(key, pool), jnp.float32(0)),
    sample=lambda key, state, pool: uniform.sample(key, state[0], pool),
    select=lambda key, state, draw, score: uniform.select(
      key, state[0], draw, score
    ),
    update=lambda state, draw, feedback: (
      uniform.update(state[0], draw, ()),
      state[1] if isinstance(feedback, tuple) else feedback,
    ),
    signal=Signal(lambda key, info: info.candidates.score.mean()),
  )
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  stream.next()
  stream.select(np.arange(24))
  losses = np.ones(BATCH_SIZE)
  stream.update(losses=(losses, losses))
  stream.next()
  assert float(stream._queue.state[1]) == np.arange(24).mean()


def test_mistakes_of_a_selection():
  stream = IndexStream(CANDIDATES, pool_info(CANDIDATES, POOL.label))
  stream.next()
  with refused("type", "score"):
    stream.select(np.ones(8))
  with refused("type", "score"):
    stream.select(np.full(24, np.nan))
  with refused("missing", "update"):
    stream.update()
  with refused("unsupported", "select"):
    make_stream({"name": "uniform"}).select(np.ones(8))
