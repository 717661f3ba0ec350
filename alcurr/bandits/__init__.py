"""Policies over K arms that know nothing of pools."""

from alcurr.bandits.softmax import softmax
from alcurr.plugins import Registry

BANDITS = Registry("bandits", {"softmax": softmax})
