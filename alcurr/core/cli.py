"""Errors on the command line: one line on stderr and an exit status."""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import jax

from alcurr.core import paths
from alcurr.core.errors import FaultError, MachineError, UserError
from alcurr.core.redaction import redact


class Parser(argparse.ArgumentParser):
  """Reports mistakes in the arguments like every other mistake.

  Arguments of the type `pathlib.Path` become absolute; see `paths.absolute`.
  Its help, and that of each command that it gets, ends with an example.
  """

  def __init__(self, *args: Any, example: str, **options: Any):
    super().__init__(*args, **options)
    self.register("type", pathlib.Path, paths.absolute)
    self._example = example

  def format_help(self) -> str:
    # An epilog would be wrapped at any word.
    return f"{super().format_help()}\nexample:\n  {self._example}\n"

  def error(self, message: str) -> NoReturn:
    place = self.prog.removeprefix("alcurr ")
    raise UserError("syntax", place, f"{message}; see --help")


def status(command: Callable[[], None]) -> int:
  """Runs a command and reports an error in one line on stderr.

  Returns:
    The exit status: 0; 2 after a user's mistake; 1 after a fault.
  """
  try:
    command()
    print(end="", flush=True)
    return 0
  except UserError as error:
    return say(error, 2)
  except MachineError as error:
    return say(f"{error}; rerun the same command to resume", 1)
  except FaultError as error:
    return say(error, 1)
  except OSError as error:
    place = error.filename or "the machine"
    text = error.strerror or str(error)
  except KeyboardInterrupt:
    return say("stopped; rerun the same command to resume", 130)
  except MemoryError:
    place, text = "CPU memory", "ran out"
  except jax.errors.JaxRuntimeError as error:
    reason = str(error).splitlines()[0]
    if not reason.startswith("RESOURCE_EXHAUSTED"):
      raise
    place, text = "device memory", f"ran out ({reason})"
  remedy = "what is finished is saved: fix the cause and rerun the command"
  return say(f"{place}: {text}; {remedy}", 1)


def say(message: object, exit_status: int) -> int:
  """Prints a message in one line on stderr; returns the exit status."""
  text = " ".join(redact(str(message)).split())
  # A file or a server may send what no terminal can show, or what it obeys.
  shown = [
    char if char.isprintable() else char.encode("unicode_escape").decode()
    for char in text
  ]
  print(f"alcurr: {''.join(shown)}", file=sys.stderr)
  return exit_status
