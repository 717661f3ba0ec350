"""Streams of indices are the draws of their samplers."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import toy
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

from alcurr import bandits, samplers
from alcurr.bandits import rewards
from alcurr.core.errors import FaultError, UserError
from alcurr.integrations import IndexStream, pool_info
from alcurr.types import Feedback, Sampler, Signal

RANDOM = BANDIT | {"gain": "random_gain", "arms_per_batch": 4}
MIXED = BANDIT | {"interval": 4, "arms_per_batch": 4}


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
    *(
      pytest.param(spec, marks=pytest.mark.slow)
      for spec in (
        {"name": "uniform"},
        {"name": "uniform", "replacement": True},
        {"name": "curriculum"},
        {"name": "bucketed_curriculum"},
        {"name": "competence"},
        {"name": "rs2"},
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


@pytest.mark.parametrize(
  ("spec", "delay"),
  [
    (BANDIT, 0),
    pytest.param(BANDIT, 3, marks=pytest.mark.slow),
    pytest.param(MIXED, 0, marks=pytest.mark.slow),
    (MIXED, 3),
  ],
  ids=str,
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
    label = np.asarray(POOL.label)[index]
    np.testing.assert_array_equal(drawn.label, label)
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
@pytest.mark.parametrize(
  ("spec", "delay"), [(BANDIT, 0), (BANDIT, 3), ({"name": "uniform"}, 3)]
)
def test_a_stream_goes_on_where_its_state_was_taken(
  through, spec, delay, tmp_path
):
  """With pending draws, in a stream of another seed."""
  whole = pure(spec, 20, delay=delay)
  stream = make_stream(spec, delay=delay)
  for number in range(9):
    while stream.handed_out < number + 1 + delay:
      stream.next()
    stream.update(losses=losses_of(whole[number]))
  assert stream.updates == 9
  state = through(stream.state_dict(), tmp_path)
  other = make_stream(spec, seed=1, delay=delay)
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
    "influence",
    *(
      pytest.param(gain, marks=pytest.mark.slow)
      for gain in (
        "mean_prediction_gain",
        "target_prediction_gain",
        "gradient_prediction_gain",
        "first_order_gain",
        "variational_gain",
      )
    ),
  ],
)
def test_gains_that_need_the_model_are_measured_by_the_loop(gain):
  """Gains of each example, or feedback; losses alone are refused."""
  spec = BANDIT | {"gain": gain, "arms_per_batch": BATCH_SIZE, "warmup": 0}
  by_gains, by_feedback = make_stream(spec), make_stream(spec)
  with refused("unsupported", "update"):
    by_gains.next()
    by_gains.update(losses=losses_of(by_gains.drawn.index))
  by_feedback.next()
  for _ in range(4):
    drawn = by_gains.drawn
    values = np.sin(drawn.index)
    by_gains.update(gains=values)
    by_feedback.update(feedback=Feedback(values, drawn.arm))
    np.testing.assert_array_equal(by_gains.next(), by_feedback.next())
  policy = by_gains.drawn.policy
  np.testing.assert_array_equal(policy, by_feedback.drawn.policy)
  assert np.ptp(policy) > 1e-3  # it has learned


def test_noise_stays_noise_whatever_the_loop_measures():
  """The control does not learn from gains."""
  first, second = make_stream(RANDOM), make_stream(RANDOM)
  for _ in range(6):
    np.testing.assert_array_equal(first.next(), second.next())
    first.update(gains=np.ones(BATCH_SIZE))
    second.update(gains=np.arange(BATCH_SIZE))


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
    ({"gains": [1e300] * 8}, "range", "gains"),
    ({"gains": ["1"] * 8}, "type", "gains"),
    ({"gains": [1j] * 8}, "type", "gains"),
    ({"gains": [[1], [1, 2]]}, "type", "gains"),
    ({"gains": np.ma.masked_less(np.arange(8), 3)}, "type", "gains"),
    ({"gains": np.ones(8), "feedback": ()}, "conflict", "update"),
    ({"gains": np.ones(8), "number": 3}, "missing", "update"),
    (
      {"feedback": Feedback(np.ones(2), [0, 5])},
      *("range", "feedback.arm"),
    ),
    ({"feedback": Feedback(np.ones(2), [0])}, "type", "feedback"),
    (
      {"feedback": Feedback(np.ones(2), [0.5, 1])},
      *("type", "feedback.arm"),
    ),
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


def test_labels_are_judged_by_what_the_loop_predicted():
  """The loop knows the true classes, of which 20 % are labelled as the next."""
  rng = np.random.default_rng(0)
  truth = rng.integers(0, 3, 200)
  wrong = rng.random(200) < 0.2
  labels = np.where(wrong, (truth + 1) % 3, truth)
  sampler = samplers.label_trust(batch_size=20, num_steps=60)
  stream = IndexStream(sampler, pool_info(sampler, labels), delay=1)
  for _ in range(60):
    logits = 3 * np.eye(3)[truth[stream.next()]] + rng.normal(size=(20, 3)) / 9
    stream.update(logits=logits)
  judged = stream.judge()
  assert judged.score[wrong].min() > judged.score[~wrong].max()
  assert wrong[judged.wrong > 0.5].all()
  np.testing.assert_array_equal(judged.suggested[wrong], truth[wrong])
  with refused("unsupported", "judge"):
    sampler = samplers.uniform(batch_size=20)
    IndexStream(sampler, pool_info(sampler, labels)).judge()


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


@pytest.mark.slow  # as below
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


def _of_pool(spec=BANDIT, batch_size=BATCH_SIZE, delay=0, seed=5, **changes):
  """Returns a stream of a pool in which some examples may have changed."""
  labels = np.asarray(POOL.label)
  arrays = {"labels": labels, "difficulty": POOL.scores["difficulty"]} | changes
  sampler = toy.make_sampler(spec, "x", batch_size=batch_size, num_steps=40)
  info = pool_info(sampler, num_arms=5, **arrays)
  return IndexStream(sampler, info, seed, delay)


_OTHER = {
  "other_difficulties": {"difficulty": POOL.scores["difficulty"][::-1]},
  "one_label": {"labels": np.roll(POOL.label, 1)},
  "half_the_pool": {
    "labels": POOL.label[:320],
    "difficulty": POOL.scores["difficulty"][:320],
  },
  "batch_size": {"batch_size": 4},
  "delay": {"delay": 1},
  "epsilon": {"spec": BANDIT | {"epsilon": 0.5}},
  "learning_rate": {"spec": BANDIT | {"bandit": "softmax(learning_rate=0.5)"}},
  "gain": {"spec": BANDIT | {"gain": "random_gain"}},
  "interval": {"spec": BANDIT | {"interval": 2}},
}


# One of the pool, of the delay, and of the sampler.
_FAST = {"one_label", "delay", "gain"}


@pytest.mark.parametrize(
  "change",
  [
    pytest.param(
      change, id=name, marks=() if name in _FAST else pytest.mark.slow
    )
    for name, change in _OTHER.items()
  ],
)
def test_a_state_is_of_one_sampler_pool_and_delay(change):
  """Arrays of the same shapes do not make it the same stream."""
  state = _of_pool().state_dict()
  other = _of_pool(**change)
  before = other.state_dict()
  with refused("mismatch", "load_state_dict"):
    other.load_state_dict(state)
  for name, array in other.state_dict().items():
    np.testing.assert_array_equal(array, before[name])


def test_a_sampler_made_again_resumes():
  """Equal arguments make an equal sampler, as in another process."""
  stream, again = (
    IndexStream(sampler, pool_info(sampler, POOL.label), seed)
    for sampler, seed in (
      (samplers.uniform(batch_size=BATCH_SIZE), 5),
      (samplers.uniform(batch_size=BATCH_SIZE), 0),
    )
  )
  _drive(stream, 3)
  again.load_state_dict(stream.state_dict())
  np.testing.assert_array_equal(_drive(again, 3), _drive(stream, 3))


def test_without_a_signal_the_delay_may_change():
  stream = make_stream({"name": "uniform"})
  _drive(stream, 3)
  ahead = make_stream({"name": "uniform"}, seed=0, delay=2)
  ahead.load_state_dict(stream.state_dict())
  np.testing.assert_array_equal(_drive(ahead, 3), _drive(stream, 3))


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("stream.pool", None),
    ("stream.examples", None),
    ("sampler.step", None),
    ("sampler.step", 0.5),
    ("sampler.step", 2**40),
    ("sampler.step", "0"),
    ("sampler.epsilon", 1e300),
    ("next_number", -1),
    ("next_number", 2**31),
    ("key", [0, -1]),
  ],
)
def test_a_forged_state_is_refused(name, value):
  stream = make_stream(BANDIT)
  state = stream.state_dict()
  assert name in state
  del state[name]
  with refused("mismatch", "load_state_dict"):
    stream.load_state_dict(state if value is None else state | {name: value})


@pytest.mark.parametrize("state", [None, [], "state.npz"])
def test_a_state_is_a_mapping(state):
  with refused("type", "load_state_dict"):
    make_stream({"name": "uniform"}).load_state_dict(state)


@pytest.mark.parametrize("seed", [2**32, -5, 2**64 + 5, np.int64(2**40)])
def test_a_seed_is_taken_whole(seed):
  spec = {"name": "uniform"}
  found = make_stream(spec, seed=seed).next()
  np.testing.assert_array_equal(found, make_stream(spec, seed=seed).next())
  cut = make_stream(spec, seed=int(seed) % 2**32).next()
  assert not np.array_equal(found, cut)


@pytest.mark.parametrize(
  "key",
  [
    True,
    1.0,
    "1",
    None,
    [0, 1],
    np.zeros(2),
    jax.random.split(jax.random.key(0)),
  ],
)
def test_a_key_is_an_integer_or_one_key(key):
  with refused("type", "key"):
    make_stream({"name": "uniform"}, seed=key)


def test_a_batch_of_keys_is_refused():
  with refused("type", "key"):
    make_stream({"name": "uniform"}, seed=jax.random.split(jax.random.key(0)))


@pytest.mark.parametrize(
  "value", [np.nan, pytest.param(np.inf, marks=pytest.mark.slow)]
)
def test_a_policy_that_is_not_finite_stops_the_stream(value):
  good = bandits.softmax()

  def policy(key, state):
    is_large = state.weight.max() > 0
    return jnp.where(is_large, value, good.policy(key, state))

  sampler = samplers.active_bandit(
    good._replace(policy=policy),
    batch_size=BATCH_SIZE,
    reward=rewards.rank(window=50),
    warmup=0,
  )
  info = pool_info(
    sampler, POOL.label, difficulty=POOL.scores["difficulty"], num_arms=5
  )
  stream = IndexStream(sampler, info)
  with pytest.raises(FaultError) as error:
    _drive(stream, 12)
  assert (error.value.code, error.value.place) == ("diverged", "next")
  state = stream.state_dict()
  with pytest.raises(FaultError):
    stream.next()
  np.testing.assert_array_equal(
    state["next_number"], stream.state_dict()["next_number"]
  )


def test_an_example_beyond_the_pool_stops_the_stream():
  uniform = samplers.uniform(batch_size=BATCH_SIZE)

  def sample(key, state, pool):
    draw = uniform.sample(key, state, pool)
    return draw._replace(index=draw.index + len(POOL.label))

  sampler = uniform._replace(sample=sample)
  with pytest.raises(FaultError) as error:
    IndexStream(sampler, pool_info(sampler, POOL.label)).next()
  assert (error.value.code, error.value.place) == ("invariant", "next")


def test_draws_are_named_by_the_examples_trained_on():
  """One or several at once, in any order, as other processes train on them."""
  expected = pure(BANDIT, 10, delay=3)
  stream = make_stream(BANDIT, delay=3)
  found = [stream.next() for _ in range(4)]
  for numbers in ((2, 0), (1,), (3,)):
    index = np.concatenate([found[n] for n in numbers])
    stream.update(index=index, losses=losses_of(index))
  found += _drive(stream, 6)
  np.testing.assert_array_equal(found, expected)


def test_mistakes_of_an_index():
  stream = make_stream(BANDIT, delay=2)
  found = np.concatenate([stream.next(), stream.next()])
  gains = np.ones(len(found))
  for index in (found[::-1], found[:4], found[:12], [], [[0.5]], found + 1):
    with refused("missing", "index"):
      stream.update(index=index, gains=gains)
  with refused("type", "gains"):
    stream.update(index=found, gains=gains[:8])
  with refused("conflict", "feedback"):
    stream.update(index=found, feedback=Feedback(np.ones(1), [0]))
  with refused("conflict", "update"):
    stream.update(index=found, number=0, gains=gains)
  assert stream.updates == 0
  stream.update(index=found, feedback=())
  assert stream.updates == 2


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
  for names in (
    words,
    pd.Series(words, index=np.arange(len(words)) + 7),
    pd.Categorical(words),
    [*words],
    label[:, None] * 2.0 + 1,
    pd.array(label, "Int8"),
  ):
    named = pool_info(sampler, names, difficulty, 5)
    np.testing.assert_array_equal(named.label, label)


def test_groups_are_arms_of_a_stream():
  sampler = make_sampler(
    {
      "name": "fixed_policy",
      "policy": "fixed(weights=(0, 1))",
      "partition": "groups",
    }
  )
  sites = np.array(["web", "book"])[np.arange(50) % 2]
  info = pool_info(sampler, groups=sites)
  assert info.partitions["groups"].names == ("book", "web")
  assert (sites[IndexStream(sampler, info).next()] == "web").all()
  with refused("missing", "groups"):
    pool_info(sampler, labels=sites)


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


def test_a_score_of_the_users_own():
  """Shorter examples first, without labels or difficulties."""
  length = np.random.default_rng(0).permutation(50)
  sampler = make_sampler({"name": "curriculum", "score": "length"})
  info = pool_info(sampler, scores={"length": length})
  index = np.concatenate(_drive(IndexStream(sampler, info), 6))
  assert length[index].tolist() == list(range(6 * BATCH_SIZE))


@pytest.mark.parametrize(
  ("score", "given", "code"),
  [
    ("length", {"labels": [0, 1]}, "missing"),
    ("difficulty", {"labels": [0, 1]}, "missing"),
    ("length", {"labels": [0, 1], "scores": {"length": [1]}}, "data"),
    ("length", {"labels": [0], "scores": {"length": [np.inf]}}, "data"),
  ],
)
def test_scores_that_are_missing_or_wrong(score, given, code):
  with refused(code, score):
    pool_info(make_sampler({"name": "competence", "score": score}), **given)


@pytest.mark.parametrize(
  ("given", "code", "place"),
  [
    ({}, "missing", "pool_info"),
    ({"labels": [0, 1]}, "missing", "difficulty"),
    ({"difficulty": [0, 1]}, "missing", "labels"),
    ({"labels": [0, -1], "difficulty": [0, 1]}, "data", "labels"),
    ({"labels": [0.5], "difficulty": [0]}, "data", "labels"),
    ({"labels": [0, "a"], "difficulty": [0, 1]}, "data", "labels"),
    ({"labels": ["a", None], "difficulty": [0, 1]}, "data", "labels"),
    ({"labels": 3, "difficulty": [0, 1]}, "data", "labels"),
    ({"labels": [], "difficulty": []}, "data", "labels"),
    ({"labels": [0, 1], "difficulty": [0]}, "data", "difficulty"),
    ({"labels": [0, 1], "difficulty": ["a", "b"]}, "data", "difficulty"),
    (
      {"labels": np.ma.masked_equal([0, 1], 1), "difficulty": [0, 1]},
      *("data", "labels"),
    ),
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


def _label_score(label):
  return jnp.sin(7.0 * label)


CANDIDATES = toy_samplers.largest_loss(
  batch_size=BATCH_SIZE, num_candidates=24
)._replace(score=lambda candidates: _label_score(candidates.batch.label))


@pytest.mark.parametrize("delay", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_selections_are_those_of_a_training_run(delay):
  """The score reads the label alone, so that a loop without a model has it."""
  stream = IndexStream(CANDIDATES, pool_info(CANDIDATES, POOL.label), 5, delay)
  assert stream.batch_size == BATCH_SIZE
  trained_on, pending = [], []
  for _ in range(10):
    pending.append(stream.next())
    if len(pending) > delay:
      index = pending.pop(0)
      score = _label_score(POOL.label[index])
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


def _remembering(measure, of=None) -> Sampler:
  """Returns a sampler whose state is the last feedback, like `of`."""
  plain = samplers.uniform(batch_size=BATCH_SIZE)
  return plain._replace(
    init=lambda key, pool: (plain.init(key, pool), of),
    sample=lambda key, state, pool: plain.sample(key, state[0], pool),
    update=lambda state, draw, feedback: (
      plain.update(state[0], draw, ()),
      state[1] if isinstance(feedback, tuple) else feedback,
    ),
    signal=Signal(measure),
  )


def test_the_losses_before_are_enough_for_a_signal_that_reads_no_others():
  sampler = _remembering(lambda key, info: info.loss, jnp.zeros(BATCH_SIZE))
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  before, after = losses_of(np.arange(BATCH_SIZE))
  for given in (before, (before, after), list(before)):
    stream.next()
    stream.update(losses=given)
    stream.next()
    np.testing.assert_array_equal(stream._queue.state[1], before)
    stream.update(losses=before + 1)
  with refused("missing", "update"):
    stream.update(losses=before)
  stream.next()
  with refused("unsupported", "update"):
    stream.update(gains=before)  # no arm is paid
  bandit = make_stream(BANDIT)
  bandit.next()
  with refused("missing", "losses"):
    bandit.update(losses=before)


@pytest.mark.parametrize(
  ("spec", "needed"),
  [
    (BANDIT, "losses=(before, after)"),
    (BANDIT | {"gain": "influence"}, "gains="),
    ({"name": "infobatch"}, "losses="),
    ({"name": "label_trust"}, "logits="),
    ({"name": "class_reweighting"}, "feedback="),
  ],
  ids=str,
)
def test_an_update_that_is_missing_names_what_the_sampler_needs(spec, needed):
  stream = make_stream(spec)
  stream.next()
  with pytest.raises(UserError) as error:
    stream.update()
  assert (error.value.code, error.value.place) == ("missing", "update")
  assert f"expected update({needed}" in error.value.text


@pytest.mark.parametrize(
  ("score", "needed"),
  [
    (lambda info: info.logits.max(1), "select(logits=...)"),
    (lambda info: info.loss + info.logits[:, 0], "losses=..., logits=..."),
    (
      lambda info: info.batch.inputs.mean((1, 2, 3)),
      "expected select(score)",
    ),
  ],
)
def test_a_selection_without_arguments_names_what_the_score_needs(
  score, needed
):
  sampler = CANDIDATES._replace(score=score)
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  stream.next()
  with pytest.raises(UserError) as error:
    stream.select()
  assert needed in error.value.text


@pytest.mark.parametrize(
  ("columns", "code", "place"),
  [(1, "type", "logits"), (3, "type", "logits"), (7, "argument", "update")],
)
def test_logits_have_a_column_for_each_class(columns, code, place):
  stream = make_stream({"name": "label_trust"})
  stream.next()
  with refused(code, place):
    stream.update(logits=np.zeros((BATCH_SIZE, columns)))
  stream.update(logits=np.zeros((BATCH_SIZE, toy.NUM_CLASSES)))


def test_a_signal_that_only_prepares_needs_no_update():
  """It serves the score, which the loop computes."""
  sampler = CANDIDATES._replace(
    score=lambda info: info.loss_jvp(info.prepared),
    signal=Signal(
      lambda key, info: (), prepare=lambda key, context: context.params
    ),
  )
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  assert not stream.learns
  for _ in range(2):
    stream.next()
    with refused("unsupported", "select"):
      stream.select(losses=np.ones(24))
    stream.select(np.arange(24))
    assert not stream.drawn.measured
    stream.update()


def test_two_losses_are_of_a_batch_of_two():
  plain = samplers.uniform(batch_size=2)
  sampler = plain._replace(signal=Signal(lambda key, info: info.loss))
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  for given in ([0.5, 0.25], ([0.5, 0.25], [0.0, 0.0])):
    stream.next()
    stream.update(losses=given)


@pytest.mark.parametrize(
  "through", [_through_npz, pytest.param(_through_json, marks=pytest.mark.slow)]
)
def test_feedback_may_be_any_tree(through, tmp_path):
  """Also in a state that was saved before it was learned from."""
  start = {"loss": jnp.zeros(BATCH_SIZE), "drawn": jnp.zeros((), jnp.int32)}
  measure = lambda key, info: {  # noqa: E731
    "loss": info.loss,
    "drawn": info.draw.index[0],
  }
  sampler = _remembering(measure, start)
  make = lambda: IndexStream(  # noqa: E731
    sampler, pool_info(sampler, POOL.label), 5, delay=1
  )
  stream = make()
  first, loss = stream.next(), np.arange(BATCH_SIZE, dtype=np.float32)
  stream.update(losses=loss)
  again = make()
  again.load_state_dict(through(stream.state_dict(), tmp_path))
  for _ in range(2):
    again.next()
    again.update(feedback={"loss": -loss, "drawn": 3})
    with refused("missing", "update"):
      again.update(feedback={"loss": -loss, "drawn": 3})
    state = again._queue.state[1]
    np.testing.assert_array_equal(state["loss"], loss)
    assert int(state["drawn"]) == first[0]
    loss, first = -loss, [3]
  again.next()
  with refused("type", "feedback"):
    again.update(feedback={"loss": loss})


def _made_up_losses(index):
  return np.sin(np.asarray(index, np.float32))


def _excess_loss(candidates):
  """The score of RHO-LOSS, and as a tree."""
  irreducible = candidates.pool.scores["irreducible"][candidates.draw.index]
  return {"excess": candidates.loss - irreducible}


def _make_excess(**changes):
  plain = toy_samplers.largest_loss(batch_size=BATCH_SIZE, num_candidates=24)
  return plain._replace(
    score=_excess_loss,
    select=lambda key, state, draw, score: plain.select(
      key, state, draw, score["excess"]
    ),
    **changes,
  )


IRREDUCIBLE = np.linspace(-2, 2, 640).astype(np.float32)


def test_the_samplers_own_score_is_computed_from_losses():
  """With the pool's scores; or the loop computes it, as a tree."""
  sampler = _make_excess()
  info = pool_info(sampler, POOL.label, scores={"irreducible": IRREDUCIBLE})
  by_losses, by_score = IndexStream(sampler, info), IndexStream(sampler, info)
  for _ in range(3):
    index = by_losses.next()
    assert by_losses.drawn.scored and index.shape == (24,)
    losses = _made_up_losses(index)
    excess = losses - IRREDUCIBLE[index]
    selected = by_losses.select(losses=losses)
    best = index[np.argsort(-excess, kind="stable")[:BATCH_SIZE]]
    np.testing.assert_array_equal(selected.index, best)
    by_score.next()
    given = by_score.select({"excess": excess})
    np.testing.assert_array_equal(selected.index, given.index)
    by_losses.update()
    by_score.update()
  by_score.next()
  with refused("type", "score"):
    by_score.select(excess)
  with refused("type", "score"):
    by_score.select({"excess": excess[:3]})


@pytest.mark.parametrize(
  ("score", "needed", "code"),
  [
    (lambda info: info.logits.max(1), {"logits"}, "missing"),
    (lambda info: info.loss + info.logits[:, 0], {"losses", "logits"}, ""),
    (lambda info: info.loss_jvp(info.prepared), set(), "unsupported"),
    (lambda info: info.features()[:, 0], set(), "missing"),
    (lambda info: info.logit_grads().max(1), set(), "missing"),
    (lambda info: info.batch.inputs.mean((1, 2, 3)), set(), "unsupported"),
  ],
)
def test_a_score_names_what_it_needs(score, needed, code):
  sampler = CANDIDATES._replace(score=score)
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  index = stream.next()
  logits = np.cos(np.arange(24 * 4, dtype=np.float32)).reshape(24, 4)
  known = {"losses": _made_up_losses(index), "logits": logits}
  for names in ({"losses"}, {"logits"}, {"losses", "logits"}):
    given = {name: known[name] for name in names}
    if needed and needed <= names:
      expected = {"losses": 0, "logits": logits.max(1)}["logits"]
      if "losses" in needed:
        expected = known["losses"] + logits[:, 0]
      best = np.argsort(-expected, kind="stable")[:BATCH_SIZE]
      np.testing.assert_array_equal(stream.select(**given).slots, best)
    else:
      with refused(code or "missing", "select"):
        stream.select(**given)
  with refused("conflict", "select"):
    stream.select(np.ones(24), losses=np.ones(24))
  with refused("missing", "select"):
    stream.select()
  with refused("type", "losses"):
    stream.select(losses=np.ones(8))
  stream.select(np.ones(24))


def test_features_and_gradients_in_the_logits_may_be_known():
  """The last layer's gradient norm: both are functions of the candidates."""

  def norm(info):
    squares = jnp.square(info.logit_grads()).sum(1)
    return squares * (1 + jnp.square(info.features()).sum(1))

  sampler = CANDIDATES._replace(score=norm)
  stream = IndexStream(sampler, pool_info(sampler, POOL.label))
  stream.next()
  rng = np.random.default_rng(0)
  grads, features = rng.normal(size=(24, 4)), rng.normal(size=(24, 9))
  expected = (grads**2).sum(1) * (1 + (features**2).sum(1))
  slots = stream.select(logit_grads=grads, features=features).slots
  np.testing.assert_array_equal(slots, np.argsort(-expected)[:BATCH_SIZE])


SOMETIMES = CANDIDATES._replace(
  is_scoring=lambda state: state.position.sum() % jnp.int32(72) == 0
)


@pytest.mark.parametrize("delay", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_step_that_does_not_score_hands_out_the_batch(delay, tmp_path):
  """The sequence is a training run's, also after resuming in the middle."""
  info = pool_info(SOMETIMES, POOL.label)
  stream = IndexStream(SOMETIMES, info, 5, delay)
  trained_on, sizes = [], []
  while len(trained_on) < 10:
    while stream.handed_out - stream.updates <= delay:
      sizes.append(len(stream.next()))
    drawn = stream.drawn
    assert len(drawn.index) == len(drawn.weight) == (24 if drawn.scored else 8)
    index = drawn.index
    if drawn.scored:
      index = stream.select(_label_score(POOL.label[index])).index
    trained_on.append(index)
    stream.update(index=index)
    if len(trained_on) == 4:
      state = _through_npz(stream.state_dict(), tmp_path)
      stream = IndexStream(SOMETIMES, info, 0, delay)
      stream.load_state_dict(state)
  assert sizes[:6] == [24, 8, 8, 24, 8, 8]
  np.testing.assert_array_equal(trained_on, train_indices(SOMETIMES, 10))


@pytest.mark.parametrize(
  "other",
  [
    CANDIDATES,
    SOMETIMES._replace(is_scoring=lambda state: state.position.sum() < 72),
    SOMETIMES._replace(score=lambda info: info.loss * 2),
  ],
)
def test_a_state_is_of_one_score_and_of_the_same_steps(other):
  state = IndexStream(SOMETIMES, pool_info(SOMETIMES, POOL.label)).state_dict()
  stream = IndexStream(other, pool_info(other, POOL.label))
  with refused("mismatch", "load_state_dict"):
    stream.load_state_dict(state)
