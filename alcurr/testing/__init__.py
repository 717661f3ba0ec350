"""The laws of samplers and bandits, as functions that anybody can call.

    from alcurr import testing
    testing.check_sampler(my_sampler(batch_size=testing.BATCH_SIZE))
    testing.check_bandit(my_bandit())

Both return a table with a row for each law.
"""

from alcurr.testing._bandit_laws import BANDIT_LAWS, check_bandit
from alcurr.testing._sampler_laws import SAMPLER_LAWS, check_sampler
from alcurr.testing._toys import (
  BATCH_SIZE,
  NUM_ARMS,
  NUM_CLASSES,
  Case,
  arrays,
  make_case,
  make_linear,
  make_pool,
)

__all__ = [
  "BANDIT_LAWS",
  "BATCH_SIZE",
  "NUM_ARMS",
  "NUM_CLASSES",
  "SAMPLER_LAWS",
  "Case",
  "arrays",
  "check_bandit",
  "check_sampler",
  "make_case",
  "make_linear",
  "make_pool",
]
