"""A program for a `benchmarks.timing.Worker`."""

import os

import numpy as np

from benchmarks.timing import Program

MEGABYTE = 1_000_000


def make_program(*, behaviour: str) -> Program:
  """Returns a program whose first step holds 200 MB, every other 50 MB."""
  count = 0

  def run(steps: int) -> None:
    nonlocal count
    for _ in range(steps):
      np.ones((50 if count else 200) * MEGABYTE, np.uint8)
      count += 1
    if behaviour == "raises":
      raise ValueError("too\nlarge")
    if behaviour == "dies":
      os._exit(3)

  return Program(run, {"behaviour": behaviour}, ask=lambda: count)
