"""Google's <class>.bin: simplified drawings in binary records.

Little-endian: key_id u64, country code 2 bytes, recognized i8, timestamp u32,
number of strokes u16; then for each stroke the number of points u16, its x and
its y, a byte each.
"""

import struct
from typing import BinaryIO

import numpy as np

from alcurr.data.quickdraw import records
from alcurr.data.quickdraw.records import Record
from alcurr.data.strokes import BadDrawingError, Drawing

_HEAD = struct.Struct("<Q2sbIH")
_COUNT = struct.Struct("<H")


def read(file: BinaryIO) -> records.Items:
  """Reads a file to its end, or to a record cut short.

  Memory: 8 times the record's bytes, up to 4 MiB; a longer one is skipped
  stroke by stroke.
  """
  heads = iter(lambda: file.read(_HEAD.size), b"")
  return enumerate(heads, start=1), lambda head: _parse(head, file)


def _parse(head: bytes, file: BinaryIO) -> Record:
  """Reads to the end of a record, even if it is bad."""
  if len(head) < _HEAD.size:
    raise BadDrawingError("a record cut short")
  key, country, recognized, _, strokes = _HEAD.unpack(head)
  x, y, lengths, size = bytearray(), bytearray(), [], _HEAD.size
  for _ in range(strokes):
    length = _COUNT.unpack(_read(file, _COUNT.size))[0]
    both = _read(file, 2 * length)
    size += _COUNT.size + len(both)
    if size <= records.LONGEST:
      lengths.append(length)
      x += both[:length]
      y += both[length:]
  if size > records.LONGEST:
    raise BadDrawingError(f"a record of more than {records.LONGEST} bytes")
  if not lengths:
    raise BadDrawingError("no strokes")
  if not all(lengths):
    raise BadDrawingError("a stroke without points")
  if recognized not in (0, 1):
    raise BadDrawingError("recognized is neither 0 nor 1")
  points = np.frombuffer(bytes(x + y), np.uint8).reshape(2, -1).T
  code = country.rstrip(b"\0").decode("latin-1")
  return Record(Drawing(points, lengths), str(key), bool(recognized), code)


def _read(file: BinaryIO, size: int) -> bytes:
  data = file.read(size)
  if len(data) < size:
    raise BadDrawingError("a record cut short")
  return data
