"""What the tables say of a program in JAX, and of its device."""

from collections.abc import Callable
from typing import Any

import jax


def make_facts(num_params: int) -> dict[str, Any]:
  device = jax.devices()[0]
  return {
    "framework": f"jax {jax.__version__}",
    "platform": device.platform,
    "device": device.device_kind,
    "params": num_params,
  }


def peak() -> Callable[[], int] | None:
  """The most bytes held on an accelerator, as `timing.Program` has it."""
  device = jax.devices()[0]
  if device.platform == "cpu":
    return None
  return lambda: device.memory_stats()["peak_bytes_in_use"]
