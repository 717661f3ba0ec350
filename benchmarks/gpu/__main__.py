"""python -m benchmarks.gpu [--minutes 9] [--parts NAME,...] [--small]

Measures on a GPU, in parts, what `parts` lists: a step with and without
sampling, trials by vmap and map, the paper's 27 runs, PyTorch, a trace, memory,
50 million drawings, and lowerings. Each part is a process with a time limit and
writes its table to `results/gpu/<device>/` as it goes; if one hangs or fails,
the others still run. The same command continues with the unfinished parts.
summary.md compares the tables with the aims.

Logs, compiled programs and checkpoints are in `runs/gpu/<device>/`. The exit
status is 1 if a part is unfinished. Parts that need a package which is not
installed are skipped. With --small, everything runs in small, also on a CPU.
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import arguments
from benchmarks.gpu import parts, runner, summary

# In a process of its own: this one must leave the device's memory alone.
_DEVICE = """
import json, jax
device = jax.devices()[0]
print(json.dumps([device.platform, device.device_kind]))
"""


def find_device() -> tuple[str, str]:
  """Returns the platform and the name of JAX's first device."""
  command = [sys.executable, "-c", _DEVICE]
  found = subprocess.run(command, capture_output=True, text=True, check=False)
  if found.returncode:
    sys.exit(f"JAX found no device: {found.stderr.strip().splitlines()[-1]}")
  platform, name = json.loads(found.stdout.splitlines()[-1])
  return platform, name


def folder_name(device: str, small: bool) -> str:
  """Returns a name without spaces for the folder of a device."""
  name = re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")
  return f"{name}_small" if small else name


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.gpu",
    description="All that is to be measured on a GPU, in parts.",
  )
  names = [part.name for part in parts.make_parts(small=False)]
  add = parser.add_argument
  add(
    "--minutes",
    type=float,
    default=9.0,
    help="that all parts may take together",
  )
  add(
    "--parts",
    type=arguments.names(names),
    default=names,
    metavar="NAME,...",
    help=f"to run; default all of {', '.join(names)}",
  )
  add(
    "--small",
    action="store_true",
    help="to try everything in small, also on a CPU",
  )
  add("--out", type=pathlib.Path, default=pathlib.Path("results/gpu"))
  add(
    "--scratch",
    type=pathlib.Path,
    default=pathlib.Path("runs/gpu"),
    help="of logs, compiled programs and checkpoints",
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
  args = parse(argv)
  # So that a part's process ends with this one.
  signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
  platform, device = find_device()
  if platform == "cpu" and not args.small:
    print(
      "expected a GPU, got a CPU; --small tries everything in small",
      file=sys.stderr,
    )
    return 2
  known = parts.make_parts(args.small)
  name = folder_name(device, args.small)
  folder, scratch = args.out / name, args.scratch / name
  records = {
    part.name: record
    for part in known
    if (record := runner.read_record(folder, part))
  }
  chosen = [part for part in known if part.name in args.parts]
  title = f"{device}, in small" if args.small else device
  for record in runner.run_parts(chosen, folder, scratch, 60 * args.minutes):
    print(
      f"{record.part}: {record.status}, {record.seconds:.0f} s {record.reason}",
      flush=True,
    )
    records[record.part] = record
    # Written each time, so that an interrupted measurement has its summary.
    ordered = [records[p.name] for p in known if p.name in records]
    path = summary.write(folder, title, ordered, args.small)
  print(path)
  left = summary.unfinished(list(records.values()))
  for line in left:
    print(line, file=sys.stderr)
  return 1 if left else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
