"""Command-line arguments that benchmarks share, and their types."""

import argparse
import pathlib
from collections.abc import Callable, Sequence


def names(
  known: Sequence[str], between: str = ","
) -> Callable[[str], list[str]]:
  """The type of a list of some of the known names."""

  def parse(text: str) -> list[str]:
    values = text.split(between)
    for value in values:
      if value not in known:
        raise argparse.ArgumentTypeError(
          f"{value!r} is none of {', '.join(known)}"
        )
    return values

  return parse


def numbers(text: str) -> list[int]:
  return [number(one) for one in text.split(",")]


def number(text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
  return int(text)


def add_out(parser: argparse.ArgumentParser, name: str) -> None:
  """Adds --out, the table's file."""
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
    help="that a contestant runs in a round; at least one step",
  )


def add_threads(parser: argparse.ArgumentParser) -> None:
  """Adds --threads, see `timing.keep_to`."""
  parser.add_argument(
    "--threads", type=number, help="CPU cores of each; default all"
  )
