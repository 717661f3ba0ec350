"""A config that runs in seconds, in a file as a user would write it."""

import pathlib

_TEXT = """
from configs import default

def get_config():
  config = default.get_config()
  config.data.num_examples = 600
  config.data.classes = "4"
  config.data.image_size = 12
  config.data.render = "precompute"
  config.model.name = "cnn(width=0.1)"
"""


def write(folder: pathlib.Path, **values: object) -> None:
  """Writes tiny.py, with other values of some fields."""
  lines = [f"  config.{field} = {value!r}\n" for field, value in values.items()]
  text = _TEXT + "".join(lines) + "  return config\n"
  (folder / "tiny.py").write_text(text)
