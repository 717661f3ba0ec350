"""The names of the networks that take images."""

from alcurr.models import MODELS

NAMES = sorted(MODELS.keys() - {"bag_of_tokens", "mlp"})
