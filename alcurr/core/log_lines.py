"""The lines of the log that a command or a call shows while it runs."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from absl import logging as absl_logging

from alcurr.core.redaction import redact_record

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def _is_of_use(record: logging.LogRecord) -> bool:
  """Returns whether a line is not Orbax's, which reports every step."""
  return "orbax" not in record.pathname or record.levelno >= logging.WARNING


def show() -> None:
  """Logs from the level INFO on, without the chatter of other libraries."""
  absl_logging.set_verbosity(absl_logging.INFO)
  absl_logging.get_absl_handler().addFilter(redact_record)
  # JAX reports accelerators that the machine does not have.
  logging.getLogger("jax").setLevel(logging.WARNING)
  absl_logging.get_absl_logger().addFilter(_is_of_use)


@contextlib.contextmanager
def shown(verbose: bool) -> Iterator[None]:
  """Logs from INFO on in the block, or only warnings; afterwards as before.

  The lines go to stderr, in a format of their own, and to the handlers that the
  program has for other places.
  """
  logger, root = absl_logging.get_absl_logger(), logging.getLogger()
  before, handlers = absl_logging.get_verbosity(), [*root.handlers]
  level = absl_logging.INFO if verbose else absl_logging.WARNING
  absl_logging.set_verbosity(level)
  logger.addFilter(_is_of_use)
  own = logging.StreamHandler()
  own.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
  own.addFilter(redact_record)
  # Otherwise absl's default one, or the program's, would write a line too.
  root.handlers[:] = [own, *(h for h in handlers if not _is_of_stderr(h))]
  try:
    yield
  finally:
    root.handlers[:] = handlers
    logger.removeFilter(_is_of_use)
    absl_logging.set_verbosity(before)


def _is_of_stderr(handler: logging.Handler) -> bool:
  if handler is absl_logging.get_absl_handler():
    handler = handler.python_handler  # to which it hands all records
  return (
    isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
  )
