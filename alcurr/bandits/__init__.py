"""Policies over K arms, and the gains and rewards that they learn from.

Each is a factory of a record in `alcurr.types`. Bandits know nothing of pools.
A bandit that explores by itself (exp3, exp3s, epsilon_greedy) may be given to
a sampler without further exploration, `active_bandit(..., epsilon=0)`; a greedy
one (ucb, tscl) draws one arm for all groups of a batch.
"""

from alcurr.bandits._epsilon_greedy import epsilon_greedy
from alcurr.bandits._exp3 import exp3
from alcurr.bandits._exp3_ix import exp3_ix
from alcurr.bandits._exp3s import exp3s
from alcurr.bandits._hedge import hedge
from alcurr.bandits._significant import significant
from alcurr.bandits._softmax import softmax
from alcurr.bandits._thompson import thompson
from alcurr.bandits._tscl import tscl
from alcurr.bandits._ucb import ucb
from alcurr.bandits.gains import GAINS
from alcurr.bandits.rewards import REWARDS
from alcurr.core.registry import Registry
from alcurr.types import Bandit

__all__ = [
  "BANDITS",
  "GAINS",
  "REWARDS",
  "epsilon_greedy",
  "exp3",
  "exp3_ix",
  "exp3s",
  "hedge",
  "significant",
  "softmax",
  "thompson",
  "tscl",
  "ucb",
]

BANDITS = Registry(
  "bandits",
  {
    "epsilon_greedy": epsilon_greedy,
    "exp3": exp3,
    "exp3_ix": exp3_ix,
    "exp3s": exp3s,
    "hedge": hedge,
    "significant": significant,
    "softmax": softmax,
    "thompson": thompson,
    "tscl": tscl,
    "ucb": ucb,
  },
  record=Bandit,
)
