"""A part of a measurement that ends in a given way; see `gpu_test`."""

import pathlib
import subprocess
import sys
import time


def main(behaviour: str, out: pathlib.Path) -> None:
  if behaviour == "fails":
    sys.exit("out of memory")
  if behaviour == "hangs":
    child = subprocess.Popen(["sleep", "1000"])
    out.write_text(f"child\n{child.pid}\n")
    time.sleep(1000)
  with out.open("a") as file:
    file.write("contestant,ratio\nfloor,1\n")


if __name__ == "__main__":
  main(sys.argv[1], pathlib.Path(sys.argv[3]))
