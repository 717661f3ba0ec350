"""The fields of every experiment: see alcurr/experiments/config/defaults.py, which explains them.

The other configs start from here.
"""

from alcurr.experiments.config.defaults import arguments, bandit, get_config

__all__ = ["arguments", "bandit", "get_config"]
