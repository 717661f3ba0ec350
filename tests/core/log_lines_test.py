"""Lines of the log during a call, and the program's own logging after it."""

import io
import logging
import sys

import pytest
from absl import logging as absl_logging

from alcurr.core import log_lines

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("verbose", [True, False])
def test_lines_go_once_to_each_place(verbose, capsys):
  """A program's stream to stderr pauses; its file gets the lines too."""
  root, file = logging.getLogger(), io.StringIO()
  own = logging.StreamHandler(sys.stderr), logging.StreamHandler(file)
  for handler in own:
    root.addHandler(handler)
  before = [*root.handlers], absl_logging.get_verbosity()
  try:
    with log_lines.shown(verbose):
      absl_logging.info("reading")
      absl_logging.warning("careful")
    after = [*root.handlers], absl_logging.get_verbosity()
  finally:
    for handler in own:
      root.removeHandler(handler)
  assert after == before
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
