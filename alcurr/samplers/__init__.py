"""Which examples to draw next: one file per sampler.

Each is a factory of a `Sampler`. To add one, write its file (docstring with
the citation, the update rule and the cost; state; factory), enter it in
SAMPLERS, and add a row to `tests/sampler_table.py`.
"""

# Imported for the specs of arguments: a bandit, gain, reward or schedule.
from alcurr.bandits import BANDITS, GAINS, REWARDS
from alcurr.core.registry import Registry
from alcurr.core.schedules import SCHEDULES
from alcurr.samplers import bijection, cursor, policies, scores
from alcurr.samplers._active_bandit import active_bandit
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.samplers._bucketed_curriculum import (
  PACINGS,
  bucket_sizes,
  bucketed_curriculum,
)
from alcurr.samplers._class_reweighting import class_reweighting
from alcurr.samplers._curriculum import curriculum
from alcurr.samplers._fixed_policy import fixed_policy
from alcurr.samplers._label_trust import label_trust
from alcurr.samplers._uniform import uniform
from alcurr.samplers.policies import POLICIES
from alcurr.types import Sampler

__all__ = [
  "BANDITS",
  "GAINS",
  "PACINGS",
  "POLICIES",
  "REWARDS",
  "SAMPLERS",
  "SCHEDULES",
  "active_bandit",
  "bijection",
  "bucket_sizes",
  "bucketed_curriculum",
  "class_reweighting",
  "curriculum",
  "cursor",
  "fixed_policy",
  "label_trust",
  "make_arm_draw",
  "policies",
  "scores",
  "uniform",
]

SAMPLERS = Registry(
  "samplers",
  {
    "active_bandit": active_bandit,
    "bucketed_curriculum": bucketed_curriculum,
    "class_reweighting": class_reweighting,
    "curriculum": curriculum,
    "fixed_policy": fixed_policy,
    "label_trust": label_trust,
    "uniform": uniform,
  },
  record=Sampler,
)
