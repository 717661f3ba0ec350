"""Quick, Draw!: reading, converting and generating drawings.

`reader.load` reads a folder of published files, `packed.load` the prepared
store of one, and `kaggle.read_test` Kaggle's test file.
"""

from alcurr.data.strokes import pack, parse_simplified, unpack

__all__ = ["pack", "parse_simplified", "unpack"]
