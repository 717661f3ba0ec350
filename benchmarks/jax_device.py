"""Facts about a JAX program and its device, for the tables."""

from collections.abc import Callable
from typing import Any

import jax


def make_facts(num_params: int) -> dict[str, Any]:
  """Returns the columns of framework, platform, device and parameters."""
  device = jax.devices()[0]
  return {
    "framework": f"jax {jax.__version__}",
    "platform": device.platform,
    "device": device.device_kind,
    "params": num_params,
  }


def peak() -> Callable[[], int] | None:
  """Returns `timing.Program.device_peak`: a function, or None on a CPU."""
  device = jax.devices()[0]
  if device.platform == "cpu":
    return None
  return lambda: device.memory_stats()["peak_bytes_in_use"]
