"""The records that a stream hands to a loop, in host memory."""

from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
  """A draw, in host memory."""

  number: int  # its place in the sequence, from 0
  measured: bool  # whether the sampler learns from it
  scored: bool  # whether the loop scores it, as M candidates; see `select`
  index: np.ndarray  # [B] int32, into the pool; or [M], candidates
  prob: np.ndarray  # [B] float32, P(this slot draws this example | state)
  weight: np.ndarray  # [B] float32, loss weight
  arm: np.ndarray | None  # [B] int32
  policy: np.ndarray | None  # [K] float32, the arms' probabilities
  label: np.ndarray  # [B], to train on: the pool's, or others instead


class Selected(NamedTuple):
  """The examples to train on, selected from the candidates."""

  slots: np.ndarray  # [B] int32 in [0, M)
  index: np.ndarray  # [B] int32, into the pool
  weight: np.ndarray  # [B] float32, loss weight
