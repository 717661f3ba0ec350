"""Policies over K arms, and the gains and rewards that they learn from.

Each is a factory of a record in `alcurr.types`. Bandits know nothing of pools.
"""

from alcurr.bandits._softmax import softmax
from alcurr.bandits.gains import GAINS
from alcurr.bandits.rewards import REWARDS
from alcurr.core.registry import Registry
from alcurr.types import Bandit

__all__ = ["BANDITS", "GAINS", "REWARDS", "softmax"]

BANDITS = Registry("bandits", {"softmax": softmax}, record=Bandit)
