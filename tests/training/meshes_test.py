"""Meshes: what `config.mesh` may say, and what it is refused for.

What runs on several devices is in tests/distributed.
"""

import types

import jax
import pytest

from alcurr.core.errors import UserError
from alcurr.training import meshes


@pytest.mark.parametrize(
  ("text", "sizes"),
  [
    ("", {}),
    ("data=8", {"data": 8}),
    (" trial=3, data=2", {"trial": 3, "data": 2}),
  ],
)
def test_parses(text, sizes):
  assert meshes.parse(text) == sizes


@pytest.mark.parametrize(
  ("text", "code"),
  [
    ("model=2", "unknown"),
    ("8", "unknown"),
    ("data", "syntax"),
    ("data=0", "syntax"),
    ("data=-2", "syntax"),
    ("data=2,data=2", "syntax"),
    ("data=1e3", "syntax"),
    ("data=9", "range"),
    ("trial=3,data=3", "range"),
    ("trial=2", "conflict"),  # of three trials
    ("data=5", "conflict"),  # of batches of 32
    ("data=8", "conflict"),  # of batches of 12
  ],
)
def test_refuses(text, code):
  # No device is used before the mesh is known to fit.
  with pytest.raises(UserError) as caught:
    meshes.make_mesh(text, 3, [32, 12], [None] * 8)
  assert (caught.value.code, caught.value.place) == (code, "config.mesh")


@pytest.mark.parametrize(
  ("trials", "batches", "devices", "expected"),
  [
    (3, [32], 8, (1, 8)),
    (3, [32], 6, (3, 2)),
    (4, [32], 8, (4, 2)),
    (4, [32], 6, (2, 1)),  # a third of 32 is no whole number
    (3, [30, 45], 8, (1, 1)),
    (2, [24, 64], 32, (2, 8)),
  ],
)
def test_divides_trials_first(trials, batches, devices, expected):
  assert meshes._divide(trials, batches, devices) == expected


def test_one_device_needs_no_mesh():
  assert meshes.make_mesh("", 3, [32], jax.devices()[:1]) is None
  assert meshes.make_mesh("data=1", 3, [32], [None] * 4) is None
  assert meshes.fit_mesh(None, 1, [5]) is None


def test_all_devices_of_several_processes_are_used(monkeypatch):
  several = types.SimpleNamespace(process_count=lambda: 2)
  monkeypatch.setattr(meshes.jax, "process_count", several.process_count)
  for text in ("data=4", "trial=3,data=2", ""):
    with pytest.raises(UserError) as caught:
      meshes.make_mesh(text, 3, [32, 12], [None] * 8)
    assert caught.value.place == "config.mesh"
