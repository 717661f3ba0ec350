"""The channels of images that are drawn from strokes, as a config has them."""

from collections.abc import Mapping, Sequence
from typing import Any

from alcurr.core.errors import UserError
from alcurr.data.host_store import Examples
from alcurr.data.render import Render, make_render
from alcurr.types import Strokes


def get_render(config: Mapping[str, Any]) -> Render:
  """Returns the renderer of drawings that `config.data` describes."""
  return make_render(
    size=config["image_size"],
    stroke_width=config["stroke_width"] or None,
    stroke_decay=config["stroke_decay"],
    channels=get_channels(config),
  )


def get_channels(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the channels of rendered drawings that `config.data` names."""
  return tuple(name.strip() for name in config["channels"].split(","))


def with_channels(source: Examples, channels: Sequence[str]) -> Examples:
  """Drops the speeds of drawings unless the channels need them.

  Raises:
    UserError: the source lacks a channel.
  """
  if not isinstance(source, Strokes):
    if channels != ("ink",):
      text = f"{','.join(channels)!r} needs drawings, got others"
      raise UserError("conflict", "data.channels", text)
    return source
  if "speed" not in channels:
    return source._replace(points=source.points[:, :2])
  if source.points.shape[1] < 3:
    raise UserError("conflict", "data.channels", "speed needs raw drawings")
  return source
