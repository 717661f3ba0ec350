"""Processes that read files."""

import signal

from alcurr.data import parallel


def _is_blocked(path):
  return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_does_not_reach_a_process(tmp_path, monkeypatch):
  """Not even while it imports: it is started without it."""
  monkeypatch.setattr(parallel, "_PARALLEL_BYTES", 0)
  monkeypatch.setattr(parallel, "cores", lambda: 2)
  paths = [tmp_path / name for name in "abc"]
  for path in paths:
    path.touch()
  assert parallel.each_file(_is_blocked, paths, "testing") == [True] * 3
  assert not _is_blocked(tmp_path)
