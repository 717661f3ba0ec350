"""The place of a loader's iterator in a stream."""

from collections.abc import Mapping
from typing import Any

from alcurr.core.errors import UserError
from alcurr.integrations._stream import IndexStream


def get_position(stream: IndexStream) -> dict[str, Any]:
  """Returns the stream's state and how many batches were handed out."""
  return {"handed_out": stream.handed_out, "stream": stream.state_dict()}


def set_position(
  stream: IndexStream, position: Mapping[str, Any], place: str
) -> None:
  """Resumes after the batches that were handed out, as loaders do.

  Raises:
    UserError: at the place; the sampler learns, and some of these batches had
      no update.
  """
  stream.load_state_dict(position["stream"])
  missing = int(position["handed_out"]) - stream.updates
  if missing and stream.learns:
    text = f"the sampler learns from {missing} batches that had no update; "
    text += "take the state after update(), or save that of the stream"
    raise UserError("conflict", place, text)
  for _ in range(missing):
    stream.next()
    stream.update()
