"""What this process may use of the machine that it runs on."""

import os


def cores() -> int:
  """CPU cores that this process may run on."""
  if hasattr(os, "sched_getaffinity"):  # Linux
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
