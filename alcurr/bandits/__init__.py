"""Policies over K arms that know nothing of pools."""

from alcurr.bandits._softmax import softmax
from alcurr.core.registry import Registry

BANDITS = Registry("bandits", {"softmax": softmax})
