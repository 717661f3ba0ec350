"""Drawings written in the published forms, by none of the package's code."""

import csv
import json
import pathlib
import struct

COLUMNS = (
  "countrycode",
  "drawing",
  "key_id",
  "recognized",
  "timestamp",
  "word",
)


def rows(path: pathlib.Path) -> list[dict]:
  """Reads a real ndjson file, with the fields that some lines omit."""
  with path.open() as file:
    found = [json.loads(line) for line in file]
  return [{"recognized": True, "word": path.stem, **row} for row in found]


def write_csv(path: pathlib.Path, drawings: list[dict], columns=COLUMNS):
  with path.open("w", newline="") as file:
    writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
    writer.writeheader()
    for row in drawings:
      writer.writerow(row | {"drawing": json.dumps(row["drawing"])})


def record(strokes, key=1, recognized=1, country=b"US", time=0) -> bytes:
  """One of a .bin file."""
  head = struct.pack("<Q2sbIH", key, country, recognized, time, len(strokes))
  return head + b"".join(
    struct.pack(f"<H{2 * len(x)}B", len(x), *x, *y) for x, y in strokes
  )


def write_bin(path: pathlib.Path, drawings: list[dict]):
  path.write_bytes(
    b"".join(
      record(row["drawing"], int(row["key_id"]), row["recognized"])
      for row in drawings
    )
  )


def write_master_csv(path: pathlib.Path, simplified: pathlib.Path, classes):
  """Mixes the first 40 drawings of classes in one file, as Kaggle spells them.

  Every third word has a space instead of Kaggle's underscore.
  """
  drawings = []
  for name in classes:
    for i, row in enumerate(rows(simplified / f"{name}.ndjson")[:40]):
      word = name if i % 3 == 2 else name.replace(" ", "_")
      drawings.append(row | {"word": word})
  # Row 7 k of the list, which visits all as 7 does not divide their number.
  order = [7 * i % len(drawings) for i in range(len(drawings))]
  write_csv(path, [drawings[i] for i in order])
  return path
