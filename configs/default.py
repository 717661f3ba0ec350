"""The fields of every experiment, with their defaults.

alcurr/experiments/config/defaults.py explains them. The other configs start
from here.
"""

from alcurr.experiments.config.defaults import arguments, bandit, get_config

__all__ = ["arguments", "bandit", "get_config"]
