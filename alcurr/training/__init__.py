"""One update and one run: the fused step, chunks of it, and their invariants.

What a JAX loop of your own needs is here: `make_hooks` puts any sampler into
it. A whole run, compiled, trained, checkpointed and evaluated, is in the
modules `run` and `loop`.
"""

from alcurr.training.chunks import make_train_chunk, over_trials
from alcurr.training.hooks import Hooks, HookState, OpenStep, make_hooks
from alcurr.training.invariants import Violation
from alcurr.training.keys import run_keys, seed_key, step_keys
from alcurr.training.losses import LOSSES, softmax_cross_entropy
from alcurr.training.step import Metrics, Steps, make_init, make_steps

__all__ = [
  "LOSSES",
  "HookState",
  "Hooks",
  "Metrics",
  "OpenStep",
  "Steps",
  "Violation",
  "make_hooks",
  "make_init",
  "make_steps",
  "make_train_chunk",
  "over_trials",
  "run_keys",
  "seed_key",
  "softmax_cross_entropy",
  "step_keys",
]
