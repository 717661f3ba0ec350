"""Types of command-line arguments: lists with commas, positive numbers."""

import argparse
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
