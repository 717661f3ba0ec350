"""Samplers for training loops outside JAX, one call a batch.

`IndexStream` is a small stateful shell over the pure functions of a sampler:
`next()` returns the indices of the next batch, `select()` chooses from
candidates, and `update()` takes what the loop measured of it. docs/loops.md has
whole loops. `alcurr.integrations.torch` makes it a batch sampler for
PyTorch's DataLoader, `alcurr.integrations.grain` a dataset of grain, and
`alcurr.integrations.tf_data` one of tf.data.
"""

from alcurr.integrations._pool_info import pool_info
from alcurr.integrations._stream import Drawn, IndexStream, Selected

__all__ = ["Drawn", "IndexStream", "Selected", "pool_info"]
