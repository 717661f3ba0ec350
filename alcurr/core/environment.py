"""The environment of a run: all outside of its config that decides numbers."""

import functools
import importlib.metadata
import os
import pathlib
import platform
import re
import sys
from collections.abc import Mapping
from typing import Any

import jax

_PACKAGES = ("alcurr", "jax", "jaxlib", "flax", "optax", "numpy")
VERSIONS = (*_PACKAGES, "python")
# JAX's options that only decide what is checked, reported, cached or waited
# for, or how many devices there are. All others count, those of future versions
# too.
_HARMLESS = re.compile(
  "address|async|cache|check|debug|distributed|dump|export|garbage|guard|"
  "location|log|num_cpu_devices|pgle_|platform|pprint|preemption|promotion|proxy|recover|"
  "report|serialization|share_binary|source|timeout|trace|transfer|url|"
  "visible_devices|warn"
)
_HARMLESS_FLAGS = ("--xla_dump", "--xla_force_host_platform_device_count")
_VARIABLES = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
_MOST_NAMED = 5


def current() -> dict[str, str]:
  """Returns all outside of a run's config and data that its numbers depend on.

  These are versions, the device, and the options of JAX and XLA that are set.
  """
  device = jax.devices()[0]
  found = {
    **_versions(),
    "python": ".".join(platform.python_version_tuple()[:2]),
    "device": device.device_kind,
  }
  if device.platform == "cpu":
    # A sum over more threads, or in wider registers, rounds otherwise.
    found |= {"cpu": _cpu(), "threads": str(threads())}
  else:
    found["runtime"] = " ".join(device.client.platform_version.split())
    for package in importlib.metadata.distributions():
      if str(package.name).startswith("nvidia-"):
        found[package.name] = package.version
  for name, value in jax.config.values.items():
    if value and not _HARMLESS.search(name):
      found[name] = str(value)
  for flag in _xla_flags():
    name, _, value = flag.partition("=")
    if not name.startswith(_HARMLESS_FLAGS):
      found[name] = value or "true"
  return found | {k: os.environ[k] for k in _VARIABLES if os.environ.get(k)}


@functools.cache
def _versions() -> dict[str, str]:
  return {name: importlib.metadata.version(name) for name in _PACKAGES}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
  """Returns what differs between two records, by name; "" if nothing does."""
  texts = []
  for name in sorted(before.keys() | now.keys()):
    old, new = before.get(name, "unset"), now.get(name, "unset")
    if isinstance(old, dict) and isinstance(new, dict):
      texts += filter(None, [differences(old, new)])
    elif old != new:
      remedy = f" (NPROC={old} restores it)" if name == "threads" else ""
      texts.append(f"{name} was {old} and is {new}{remedy}")
  more = f" and {len(texts) - _MOST_NAMED} more"
  named = ", ".join(texts[:_MOST_NAMED])
  return named + more * (len(texts) > _MOST_NAMED)


def _cpu() -> str:
  """Returns the model of the CPU; XLA compiles other code for another."""
  if sys.platform == "linux":
    text = pathlib.Path("/proc/cpuinfo").read_text(errors="replace")
    if model := re.search(r"^model name\s*:\s*(.+)", text, re.MULTILINE):
      return model[1].strip()
  return platform.processor() or platform.machine()


def threads() -> int:
  """Returns the number of threads that XLA splits an operation over."""
  if (number := os.environ.get("NPROC", "")).isdecimal() and int(number):
    return int(number)
  if hasattr(os, "sched_getaffinity"):  # Linux
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _xla_flags() -> list[str]:
  """Returns the flags of XLA_FLAGS, which may name a file of them."""
  text = os.environ.get("XLA_FLAGS", "").strip()
  if text and not text.startswith("-"):
    text = pathlib.Path(text).read_text()
  return text.split()
