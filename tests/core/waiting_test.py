"""Announcements of long parts."""

import threading

import pytest
from absl import logging

from alcurr.core.waiting import announced


@pytest.fixture
def lines(monkeypatch):
  """Collects what is logged; `lines.grew` is set with the second line."""
  logged = type("Lines", (list,), {"grew": threading.Event()})()

  def info(text, *values):
    logged.append(text % values)
    if len(logged) > 1:
      logged.grew.set()

  monkeypatch.setattr(logging, "info", info)
  return logged


def test_a_short_part_has_a_start_and_an_end(lines):
  with announced("reading data", every=1000.0):
    assert len(lines) == 1
  assert len(lines) == 2
  assert all(line.startswith("reading data") for line in lines)


def test_a_long_part_says_that_it_still_runs(lines):
  with announced("compiling", every=0.01):
    assert lines.grew.wait(60)
  assert len(lines) >= 3
  assert "so far" in lines[1]


def test_parts_that_are_done_are_counted(lines):
  with announced("compiling", every=0.01, total=3) as advance:
    advance()
    advance()
    while not any("2 of 3" in line for line in lines):
      lines.grew.clear()
      assert lines.grew.wait(60)


def test_a_part_that_fails_ends_its_lines(lines):
  threads = threading.active_count()
  with pytest.raises(ValueError, match="bad"), announced("reading", every=0.01):
    raise ValueError("bad")
  assert threading.active_count() == threads
