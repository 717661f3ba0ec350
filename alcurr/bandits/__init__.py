"""Policies over K arms that know nothing of pools."""

from alcurr.bandits.softmax import softmax

BANDITS = {"softmax": softmax}
