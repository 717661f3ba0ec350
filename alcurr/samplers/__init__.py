"""Which examples to draw next: one file per sampler.

Each is a factory of a `Sampler`. To add one, write its file (docstring with
the citation, the update rule and the cost; state; factory), enter it in
SAMPLERS, and add a row to `tests/sampler_table.py`.
"""

# Imported for the specs of arguments: a bandit, gain, reward or schedule.
from alcurr.bandits import BANDITS, GAINS, REWARDS
from alcurr.core.registry import Registry
from alcurr.core.schedules import SCHEDULES
from alcurr.samplers import (
  bijection,
  cursor,
  policies,
  running_scores,
  scores,
)
from alcurr.samplers._active_bandit import active_bandit
from alcurr.samplers._aioli import aioli
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.samplers._bucketed_curriculum import (
  PACINGS,
  bucket_sizes,
  bucketed_curriculum,
)
from alcurr.samplers._class_balanced import class_balanced
from alcurr.samplers._class_reweighting import class_reweighting
from alcurr.samplers._competence import competence
from alcurr.samplers._curriculum import curriculum
from alcurr.samplers._dihcl import dihcl
from alcurr.samplers._doremi import doremi
from alcurr.samplers._fixed_policy import fixed_policy
from alcurr.samplers._greats import greats
from alcurr.samplers._ies import ies
from alcurr.samplers._importance_sampling import importance_sampling
from alcurr.samplers._infobatch import infobatch
from alcurr.samplers._label_trust import label_trust
from alcurr.samplers._learnability import learnability
from alcurr.samplers._loshchilov_hutter import loshchilov_hutter
from alcurr.samplers._loss_proportional import loss_proportional
from alcurr.samplers._mixture import mixture
from alcurr.samplers._odm import odm
from alcurr.samplers._rb import rb
from alcurr.samplers._rho_loss import rho_loss
from alcurr.samplers._rs2 import rs2
from alcurr.samplers._scored_passes import scored_passes
from alcurr.samplers._selective_backprop import selective_backprop
from alcurr.samplers._self_paced import self_paced
from alcurr.samplers._small_loss import small_loss
from alcurr.samplers._uncertainty import uncertainty
from alcurr.samplers._uniform import uniform
from alcurr.samplers.policies import POLICIES
from alcurr.samplers.running_scores import RUNNING_SCORES
from alcurr.types import Sampler

__all__ = [
  "BANDITS",
  "GAINS",
  "PACINGS",
  "POLICIES",
  "REWARDS",
  "RUNNING_SCORES",
  "SAMPLERS",
  "SCHEDULES",
  "active_bandit",
  "aioli",
  "bijection",
  "bucket_sizes",
  "bucketed_curriculum",
  "class_balanced",
  "class_reweighting",
  "competence",
  "curriculum",
  "cursor",
  "dihcl",
  "doremi",
  "fixed_policy",
  "greats",
  "ies",
  "importance_sampling",
  "infobatch",
  "label_trust",
  "learnability",
  "loshchilov_hutter",
  "loss_proportional",
  "make_arm_draw",
  "mixture",
  "odm",
  "policies",
  "rb",
  "rho_loss",
  "rs2",
  "running_scores",
  "scored_passes",
  "scores",
  "selective_backprop",
  "self_paced",
  "small_loss",
  "uncertainty",
  "uniform",
]

SAMPLERS = Registry(
  "samplers",
  {
    "active_bandit": active_bandit,
    "aioli": aioli,
    "bucketed_curriculum": bucketed_curriculum,
    "class_balanced": class_balanced,
    "class_reweighting": class_reweighting,
    "competence": competence,
    "curriculum": curriculum,
    "dihcl": dihcl,
    "doremi": doremi,
    "fixed_policy": fixed_policy,
    "greats": greats,
    "ies": ies,
    "importance_sampling": importance_sampling,
    "infobatch": infobatch,
    "label_trust": label_trust,
    "learnability": learnability,
    "loshchilov_hutter": loshchilov_hutter,
    "loss_proportional": loss_proportional,
    "mixture": mixture,
    "odm": odm,
    "rb": rb,
    "rho_loss": rho_loss,
    "rs2": rs2,
    "scored_passes": scored_passes,
    "selective_backprop": selective_backprop,
    "self_paced": self_paced,
    "small_loss": small_loss,
    "uncertainty": uncertainty,
    "uniform": uniform,
  },
  record=Sampler,
)
