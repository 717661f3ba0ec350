"""Which examples to draw next: one file per sampler.

Each is a factory of a `Sampler`. Adding one: write its file (docstring with
the citation, the update rule and the cost; state; factory), enter it in
SAMPLERS, add a row to the table of `tests/contract_test.py`.
"""

from collections.abc import Mapping
from typing import Any

from alcurr.bandits import BANDITS
from alcurr.bandits.gains import GAINS
from alcurr.bandits.rewards import REWARDS
from alcurr.core import specs
from alcurr.core.registry import Registry
from alcurr.core.schedules import get_schedule
from alcurr.samplers._active_bandit import active_bandit
from alcurr.samplers._arm_draw import make_arm_draw as make_arm_draw
from alcurr.samplers._bucketed_curriculum import bucketed_curriculum
from alcurr.samplers._class_reweighting import class_reweighting
from alcurr.samplers._curriculum import curriculum
from alcurr.samplers._fixed_policy import fixed_policy
from alcurr.samplers._uniform import uniform
from alcurr.samplers.policies import POLICIES
from alcurr.types import Sampler

SAMPLERS = Registry(
  "samplers",
  {
    "active_bandit": active_bandit,
    "bucketed_curriculum": bucketed_curriculum,
    "class_reweighting": class_reweighting,
    "curriculum": curriculum,
    "fixed_policy": fixed_policy,
    "uniform": uniform,
  },
)

# Arguments of a sampler that are records themselves, and what names them.
PARTS = {
  "bandit": BANDITS,
  "gain": GAINS,
  "policy": POLICIES,
  "reward": REWARDS,
}


def get_sampler(
  config: Mapping[str, Any], field: str, *, batch_size: int, num_steps: int
) -> Sampler:
  """Builds the sampler that a config describes.

  Args:
    config: `name` and the arguments of that sampler; those that are records
      (bandit, gain, policy, reward) or schedules (epsilon) are specs, see
      `alcurr.core.specs`.
    field: where the config stands, for the messages.
    batch_size: B, where the config does not set its own.
    num_steps: steps of the run.

  Raises:
    UserError: an unknown name or argument, or a value out of range.
  """
  config = dict(config)
  # Of "uniform(replacement=True)" the arguments may be records too.
  if isinstance(config.get("name"), str):
    config["name"], more = specs.parse(config["name"], f"{field}.name")
    config |= more
  for part, registry in PARTS.items():
    if part in config:
      config[part] = specs.make(
        config[part], registry, f"{field}.{part}", num_steps=num_steps
      )
  if "epsilon" in config:
    config["epsilon"] = get_schedule(
      config["epsilon"], f"{field}.epsilon", num_steps
    )
  return specs.make(
    config, SAMPLERS, field, batch_size=batch_size, num_steps=num_steps
  )
