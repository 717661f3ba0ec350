"""Command-line arguments that benchmarks share, and their types."""

import argparse
import pathlib
from collections.abc import Callable, Sequence


def names(
  known: Sequence[str], between: str = ","
) -> Callable[[str], list[str]]:
  """Returns an argument type: a list of names, each one of the known."""

  def parse(text: str) -> list[str]:
    values = text.split(between)
    for value in values:
      if value not in known:
        raise argparse.ArgumentTypeError(
          f"expected one of {', '.join(known)}, got {value!r}"
        )
    return values

  return parse


def numbers(text: str) -> list[int]:
  """Parses positive integers separated by commas."""
  return [number(item) for item in text.split(",")]


def number(text: str) -> int:
  """Parses a positive integer."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(
      f"expected a positive integer, got {text!r}"
    )
  return int(text)


def add_out(parser: argparse.ArgumentParser, name: str) -> None:
  """Adds --out, the file of the table."""
  parser.add_argument(
    "--out",
    type=pathlib.Path,
    default=pathlib.Path(f"results/benchmarks/{name}.csv"),
  )


def add_rounds(
  parser: argparse.ArgumentParser, *, rounds: int, seconds: float
) -> None:
  """Adds --rounds and --seconds with these defaults, see `timing`."""
  parser.add_argument("--rounds", type=number, default=rounds)
  parser.add_argument(
    "--seconds",
    type=float,
    default=seconds,
    help="running time of a contestant in a round; at least one step",
  )


def add_threads(parser: argparse.ArgumentParser) -> None:
  """Adds --threads, see `timing.limit_cores`."""
  parser.add_argument(
    "--threads", type=number, help="CPU cores for each contestant; default all"
  )
