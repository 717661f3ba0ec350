"""Samplers for a training loop outside JAX, one call a batch.

`IndexStream` is a small stateful shell over the pure functions of a sampler:
`next()` gives the indices of the next batch, `update()` takes what the loop
measured of it. `torch` makes it a batch sampler of PyTorch's DataLoader and
`grain` a dataset of grain.
"""

from alcurr.integrations.pools import pool_info as pool_info
from alcurr.integrations.stream import Drawn as Drawn
from alcurr.integrations.stream import IndexStream as IndexStream
