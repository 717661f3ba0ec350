"""Budgets of a run: "1 epoch", "500000 examples" or "2000 steps"."""

import math
import re

from alcurr.core.errors import UserError
from alcurr.core.specs import quoted

MAX_STEPS = 2**31 - 1  # a step is an int32
MAX_CHUNKS = 10**6  # each takes a row of every trial, and memory


def parse(budget: str, field: str) -> tuple[float, str]:
  """Splits "2 epochs" into a positive amount and the unit, a singular.

  Raises:
    UserError: neither epochs, examples nor steps, or not positive and finite.
  """
  number = r"\d+(?:_\d+)*(?:\.\d*)?|\.\d+"
  match = re.fullmatch(f"({number}) (epoch|example|step)s?", budget.strip())
  amount = float(match[1]) if match else 0
  if not 0 < amount < math.inf:
    text = (
      'expected epochs, examples or steps such as "1 epoch" or "2000 steps", '
      f"got {quoted(budget)}"
    )
    raise UserError("syntax", field, text)
  return amount, match[2]


def num_steps(
  budget: str, batch_size: int, num_examples: int, field: str = "budget"
) -> int:
  """Returns the updates that a budget such as "500000 examples" pays for.

  Raises:
    UserError: a budget that cannot be parsed, or of no or too many steps.
  """
  amount, unit = parse(budget, field)
  batches = {"epoch": num_examples / batch_size, "example": 1 / batch_size}
  steps = amount * batches.get(unit, 1)
  if not 1 <= steps <= MAX_STEPS:
    limits = f"1 to {MAX_STEPS} batches of {batch_size}"
    text = f"expected {limits}, got {quoted(budget)}"
    raise UserError("range", field, text)
  return int(steps)


def check_chunks(
  num_steps: int, num_evals: int, chunk_steps: int, field: str
) -> None:
  """Raises UserError for a run of more than MAX_CHUNKS chunks."""
  for name, chunks in (
    ("num_evals", min(num_evals, num_steps)),
    (field, num_steps // chunk_steps),
  ):
    if chunks > MAX_CHUNKS:
      text = f"expected at most {MAX_CHUNKS} chunks of steps, got {chunks}"
      raise UserError("range", name, text + "; see chunk_steps")
