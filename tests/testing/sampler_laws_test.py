"""Every sampler x every law of `alcurr.testing`, with no special case.

A new sampler adds a row to SAMPLERS. If a law needs to know which sampler it
looks at, the interface is wrong.
"""

import pytest

from alcurr import samplers, testing

_bandit = {
  "name": "active_bandit",
  "bandit": "softmax(learning_rate=1.0)",
  "gain": "prediction_gain",
  "reward": "rank(window=50)",
  "epsilon": "0.2",
  "warmup": 2,
}
SAMPLERS = {
  "uniform": {"name": "uniform"},
  "uniform_replacement": {"name": "uniform", "replacement": True},
  "bandit": _bandit,
  "bandit_self": _bandit
  | {
    "gain": "self_prediction_gain(probe_size=4)",
    "epsilon": "linear(value=1.0, end=0.1)",
  },
  "bandit_mean": _bandit
  | {"gain": "mean_prediction_gain", "reward": "rank", "replacement": True},
  "bandit_target": _bandit
  | {"gain": "target_prediction_gain", "epsilon": "0", "warmup": 0},
  "bandit_gradient": _bandit
  | {"gain": "gradient_prediction_gain", "partition": "label"},
  "bandit_first_order": _bandit | {"gain": "first_order_gain", "interval": 4},
  "bandit_random": _bandit
  | {
    "gain": "random_gain",
    "partition": "label_difficulty",
    "arms_per_batch": 8,
  },
  "bandit_mixed": _bandit | {"arms_per_batch": testing.BATCH_SIZE},
  "bandit_mixed_self": _bandit
  | {"arms_per_batch": 4, "gain": "self_prediction_gain"},
  "influence": _bandit
  | {
    "gain": "influence(probe_size=8, prepare_interval=2)",
    "interval": 2,
    "arms_per_batch": testing.BATCH_SIZE,
  },
  "class_reweighting": {"name": "class_reweighting", "per_class": 3},
  "class_reweighting_every": {
    "name": "class_reweighting",
    "per_class": 3,
    "interval": 2,
    "replacement": True,
  },
  "class_balanced": {
    "name": "fixed_policy",
    "policy": "uniform",
    "partition": "label",
    "arms_per_batch": testing.BATCH_SIZE,
  },
  "fixed_policy": {
    "name": "fixed_policy",
    "policy": "fixed(weights=(0, 1, 2, 3, 4))",
    "partition": "shuffled",
  },
  "curriculum": {"name": "curriculum"},
  "anti_curriculum": {
    "name": "curriculum",
    "partition": "difficulty",
    "descending": True,
  },
  "bucketed_curriculum": {"name": "bucketed_curriculum"},
  "bucketed_curriculum_paced": {
    "name": "bucketed_curriculum",
    "partition": "difficulty",
    "num_buckets": 4,
    "pacing": "root",
    "start": 0.3,
    "full_at": 0.6,
  },
}
# Rows of which every part is in another one too.
SLOW = {
  *("uniform_replacement", "bandit_first_order", "bandit_self"),
  *("bandit_mean", "bandit_target", "bandit_gradient", "bandit_random"),
  *("bandit_mixed", "bandit_mixed_self", "class_reweighting_every"),
  *("class_balanced", "anti_curriculum", "bucketed_curriculum_paced"),
}


@pytest.fixture(
  params=[
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in SAMPLERS
  ],
  scope="module",
)
def case(request) -> testing.Case:
  sampler = samplers.get_sampler(
    SAMPLERS[request.param],
    "samplers.x",
    batch_size=testing.BATCH_SIZE,
    num_steps=8,
  )
  return testing.make_case(sampler)


def test_every_sampler_of_the_registry_is_in_the_table():
  assert {row["name"] for row in SAMPLERS.values()} == set(samplers.SAMPLERS)


@pytest.mark.parametrize("law", testing.SAMPLER_LAWS)
def test_law(case, law):
  testing.SAMPLER_LAWS[law](case)


def test_laws_that_are_broken_are_told():
  """Probabilities that are half of what they should be break one of them."""
  good = samplers.get_sampler(
    {"name": "uniform", "replacement": True},
    "x",
    batch_size=testing.BATCH_SIZE,
    num_steps=8,
  )

  def sample(key, state, pool):
    draw = good.sample(key, state, pool)
    return draw._replace(prob=draw.prob / 2)

  table = testing.check_sampler(good._replace(sample=sample)).set_index("law")
  assert list(table.index) == [
    name.replace("_", " ") for name in testing.SAMPLER_LAWS
  ]
  assert list(table.index[~table.holds]) == ["draw frequencies match prob"]
  seen = table.seen["draw frequencies match prob"]
  assert seen.startswith("in 20000 draws of slot 0 an example came up ")
