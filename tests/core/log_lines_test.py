"""Lines of the log during a call, and the program's own logging after it."""

import io
import logging
import sys

import pytest
from absl import logging as absl_logging

from alcurr.core import log_lines

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("by", ["logging", "absl"])
@pytest.mark.parametrize("verbose", [True, False])
def test_lines_go_once_to_each_place(by, verbose, capsys, monkeypatch):
  """A program's stream to stderr pauses; its file gets the lines too."""
  root, file = logging.getLogger(), io.StringIO()
  to_stderr = logging.StreamHandler(sys.stderr)
  if by == "absl":
    to_stderr = absl_logging.get_absl_handler()
    monkeypatch.setattr(to_stderr.python_handler, "stream", sys.stderr)
  own = [to_stderr, logging.StreamHandler(file)]
  monkeypatch.setattr(root, "handlers", own)
  before = [*root.handlers], absl_logging.get_verbosity()
  with log_lines.shown(verbose):
    absl_logging.info("reading")
    absl_logging.warning("careful")
  assert ([*root.handlers], absl_logging.get_verbosity()) == before
  shown = capsys.readouterr().err
  for text in (shown, file.getvalue()):
    assert text.count("careful") == 1
    assert text.count("reading") == int(verbose)


def test_errors_leave_the_logging_as_it_was():
  before = [*logging.getLogger().handlers], absl_logging.get_verbosity()
  with pytest.raises(KeyError), log_lines.shown(True):
    raise KeyError
  assert ([*logging.getLogger().handlers], absl_logging.get_verbosity()) == (
    before
  )
