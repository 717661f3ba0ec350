"""What the commands beside alcurr.main share: mistakes in one sentence."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from alcurr.core.errors import FaultError, UserError


class Parser(argparse.ArgumentParser):
  """Tells a mistake in the arguments as every other is told."""

  def error(self, message: str) -> NoReturn:
    raise UserError(f"{message}; see {self.prog} --help.")


def status(command: Callable[[], None]) -> int:
  """Runs a command and says what went wrong, in one line on stderr.

  Returns:
    The exit status: 0; 2 after a user's mistake; 1 after a fault.
  """
  try:
    command()
  except UserError as error:
    return say(error, 2)
  except FaultError as error:
    return say(error, 1)
  except OSError as error:
    where = f"{error.filename}: " if error.filename else ""
    return say(
      f"{where}{error.strerror or error}; mend that and run it again.", 1
    )
  return 0


def say(what: object, number: int) -> int:
  """Says what went wrong, in one line on stderr; returns the exit status."""
  # A name in it may hold what no terminal can show.
  text = " ".join(str(what).split()).encode(errors="backslashreplace").decode()
  print(f"alcurr: {text}", file=sys.stderr)
  return number
