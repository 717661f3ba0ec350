"""Texts for a terminal."""

from collections.abc import Mapping


def columns(texts: Mapping[str, str]) -> list[str]:
  """Returns a line for each name, with its text in a second column."""
  width = max(map(len, texts)) + 2
  return [f"  {name:<{width}}{text}" for name, text in texts.items()]
