"""Every sampler x every law of `alcurr.testing`, with no special case.

A new sampler adds a row to `sampler_table`. If a law needs to know which
sampler it looks at, the interface is wrong.
"""

import functools

import jax.numpy as jnp
import pytest
import toy
import toy_samplers
from sampler_table import SAMPLERS

from alcurr import samplers, testing
from alcurr.types import Sampler, Signal

# Rows of which nearly every part is in another one too.
SLOW = {
  *("uniform_replacement", "bandit_first_order", "bandit_self"),
  *("bandit_mean", "bandit_target", "bandit_gradient", "bandit_random"),
  *("bandit_mixed", "bandit_mixed_self", "class_reweighting_every"),
  *("class_balanced", "anti_curriculum", "bucketed_curriculum_paced"),
  *("bucketed_curriculum_score", "odm_linear", "doremi_draws"),
  *("uncertainty_sampled", "selective_backprop", "rho_loss_sampled"),
  *("importance_sampling_last_layer", "candidates", "per_example_state"),
  *("small_loss", "uncertainty", "learnability", "ies", "self_paced"),
  *("loshchilov_hutter", "scored_passes", "odm", "rb", "doremi", "mixture"),
  *("influence_mixture", "competence", "bucketed_curriculum", "rs2"),
  *("importance_sampling", "fixed_policy", "dihcl", "labels_of_its_own"),
  *("selective_backprop_history", "greats", "rho_loss", "infobatch"),
  *("aioli", "class_reweighting"),
}
# What the contract allows and no registered sampler uses.
TOYS = {
  "candidates": toy_samplers.largest_loss,
  "candidates_with_a_signal": functools.partial(
    toy_samplers.largest_loss,
    signal=Signal(lambda key, info: info.candidates.score, interval=2),
  ),
  "per_example_state": toy_samplers.counting,
  "labels_of_its_own": functools.partial(
    toy_samplers.relabelling, num_classes=testing.NUM_CLASSES
  ),
  "two_partitions": toy_samplers.two_partitions,
}


def _make(name: str) -> Sampler:
  if name in TOYS:
    return TOYS[name](batch_size=testing.BATCH_SIZE)
  return toy.make_sampler(
    SAMPLERS[name], "samplers.x", batch_size=testing.BATCH_SIZE, num_steps=8
  )


@pytest.fixture(
  params=[
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in (*SAMPLERS, *TOYS)
  ],
  scope="module",
)
def case(request) -> testing.Case:
  return testing.make_case(_make(request.param))


def test_every_sampler_of_the_registry_is_in_the_table():
  assert {row["name"] for row in SAMPLERS.values()} == set(samplers.SAMPLERS)


@pytest.mark.parametrize("law", testing.SAMPLER_LAWS)
def test_law(case, law):
  testing.SAMPLER_LAWS[law](case)


def _broken_laws(sampler: Sampler) -> dict[str, str]:
  """Returns what was seen of each law that the sampler breaks."""
  table = testing.check_sampler(sampler).set_index("law")
  names = [name.replace("_", " ") for name in testing.SAMPLER_LAWS]
  assert list(table.index) == names
  return table.seen[~table.holds].to_dict()


def test_probabilities_that_are_too_small_break_a_law():
  good = samplers.uniform(batch_size=testing.BATCH_SIZE, replacement=True)

  def sample(key, state, pool):
    draw = good.sample(key, state, pool)
    return draw._replace(prob=draw.prob / 2)

  broken = _broken_laws(good._replace(sample=sample))
  assert list(broken) == ["draw frequencies match prob"]
  assert "20000 draws of slot 0" in broken["draw frequencies match prob"]


def test_a_label_that_is_suggested_instead_of_itself_breaks_a_law():
  good = samplers.label_trust(batch_size=testing.BATCH_SIZE, num_steps=8)

  def judge(state):
    return good.judge(state)._replace(suggested=state.label)

  broken = _broken_laws(good._replace(judge=judge))
  assert list(broken) == ["labels are judged by probabilities"]


def test_a_state_that_the_spec_does_not_announce_breaks_a_law():
  sampler = toy_samplers.counting(batch_size=testing.BATCH_SIZE)
  broken = _broken_laws(
    sampler._replace(spec=sampler.spec._replace(per_example_state=False))
  )
  assert list(broken) == ["state grows only as the spec says"]


def test_a_captured_constant_breaks_a_law():
  good = samplers.uniform(batch_size=testing.BATCH_SIZE)
  captured = jnp.arange(640.0)

  def sample(key, state, pool):
    draw = good.sample(key, state, pool)
    return draw._replace(weight=draw.weight + 0 * captured[draw.index])

  case = testing.make_case(good._replace(sample=sample))
  with pytest.raises(AssertionError, match="2560 bytes"):
    testing.SAMPLER_LAWS["no_captured_constants"](case)
