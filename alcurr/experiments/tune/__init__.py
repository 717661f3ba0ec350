"""Settings of an experiment, found before it is run.

`python -m alcurr.experiments.tune lr|grid|search`; the commands' modules say
what each computes.
"""

__all__ = ["grid", "lr", "noise_scale", "search"]
