"""The CPU of this machine."""

import os


def cores() -> int:
  """Returns the number of CPU cores that this process may run on."""
  if hasattr(os, "sched_getaffinity"):  # Linux
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
