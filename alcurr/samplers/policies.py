"""Policies over arms that do not learn, for `fixed_policy`.

Each is a factory of a `Policy`: from the number of arms K to a table [P, K]
of probabilities, each row of which serves an equal span of the run.
"""

import json
from collections.abc import Callable

import numpy as np

from alcurr.core import files, paths
from alcurr.core.arguments import check_at_least, check_choice
from alcurr.core.registry import Registry

Policy = Callable[[int], np.ndarray]  # (num_arms) -> [P, K] float64


def _row(weight: np.ndarray) -> np.ndarray:
  weight = weight / weight.max()  # finite weights may have an infinite sum
  return (weight / weight.sum())[None]


def uniform() -> Policy:
  """Draws all arms equally often."""
  return lambda num_arms: _row(np.ones(num_arms))


def _drop(count: int, dropped: slice) -> Policy:
  """Never draws `count` arms, those of the slice."""
  check_at_least(1, count=count)

  def policy(num_arms: int) -> np.ndarray:
    if count >= num_arms:
      raise ValueError(f"count {count} leaves none of the {num_arms} arms")
    weight = np.ones(num_arms)
    weight[dropped] = 0
    return _row(weight)

  return policy


def drop_easiest(*, count: int) -> Policy:
  """Never draws the first `count` arms, and the others equally often."""
  return _drop(count, slice(0, count))


def drop_hardest(*, count: int) -> Policy:
  """Never draws the last `count` arms, and the others equally often."""
  return _drop(count, slice(-count, None))


def log_linear(*, toward: str, ratio: float = 4.0) -> Policy:
  """Draws arms log-linearly in their distance from the arms preferred.

  Args:
    toward: "easy", "middle" or "hard".
    ratio: of the largest probability to the smallest.
  """
  places = {"easy": 0.0, "middle": 0.5, "hard": 1.0}
  check_choice(places, toward=toward)
  if not 1 <= ratio < np.inf:
    raise ValueError(f"ratio must be at least 1 and finite, got {ratio}")

  def policy(num_arms: int) -> np.ndarray:
    distance = np.abs((np.arange(num_arms) + 0.5) / num_arms - places[toward])
    span = max(distance.max() - distance.min(), np.finfo(float).tiny)
    return _row(ratio ** ((distance.max() - distance) / span))

  return policy


def fixed(*, weights: tuple[float, ...]) -> Policy:
  """Draws arms in proportion to the weights, one for each, easiest first."""
  weight = np.asarray(weights, float)
  in_range = ((weight >= 0) & (weight < np.inf)).all()
  if weight.ndim != 1 or not in_range or not weight.any():
    text = f"weights must be finite, at least 0 and not all 0, got {weights}"
    raise ValueError(text)

  def policy(num_arms: int) -> np.ndarray:
    if len(weight) != num_arms:
      raise ValueError(f"{len(weight)} weights do not fit {num_arms} arms")
    return _row(weight)

  return policy


def replay(*, run: str) -> Policy:
  """Replays another run open-loop: its mean policy as it changed over time.

  Args:
    run: the folder of a finished run, `DIR/runs/<sampler>`.
  """
  path = paths.absolute(run, "run") / "metrics.jsonl"
  if not path.exists():
    raise ValueError(f"no run to replay: {path} does not exist")
  by_step: dict[int, list[list[float]]] = {}
  try:
    for line in files.read_bytes(path).decode().splitlines():
      row = json.loads(line)
      by_step.setdefault(row["step"], []).append(row["policy"])
    # Of each chunk, the mean over trials: [P, K].
    table = np.stack([np.mean(by_step[s], axis=0) for s in sorted(by_step)])
    if table.ndim != 2 or not (table >= 0).all() or not table.sum(1).all():
      raise ValueError(f"not a table of probabilities: {table}")
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    text = f"{path} holds no policies to replay, or is damaged"
    raise ValueError(text) from error

  def policy(num_arms: int) -> np.ndarray:
    if table.shape[1] != num_arms:
      text = f"{run} has a policy over {table.shape[1]} arms, not {num_arms}"
      raise ValueError(text)
    return table / table.sum(1, keepdims=True)

  return policy


POLICIES = Registry(
  "policies",
  {
    "uniform": uniform,
    "drop_easiest": drop_easiest,
    "drop_hardest": drop_hardest,
    "log_linear": log_linear,
    "fixed": fixed,
    "replay": replay,
  },
  record=Policy,
)
