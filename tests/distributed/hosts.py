"""Starts the processes of one run on the loopback, and watches them."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
# Nothing is timed: processes that take longer than this hang.
PATIENCE = 600  # seconds
_FLAG = "--xla_force_host_platform_device_count"


def _free_port() -> int:
  with socket.socket() as any_socket:
    any_socket.bind(("127.0.0.1", 0))
    return any_socket.getsockname()[1]


class Group:
  """Processes of one command line, each with two devices of its own.

  Each logs to a file, `<name>.<its number>.log`.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    name: str,
    count: int,
    options: Sequence[str] = (),
    cwd: Mapping[int, pathlib.Path] | None = None,
  ):
    """Starts the processes; `cwd` has the folder of some, by number."""
    command = [
      *(sys.executable, "-m", "alcurr.main", f"--config={HERE}/tiny.py"),
      *(f"--workdir={folder}/run", f"--config.cache_dir={folder}/cache"),
      *options,
    ]
    env = os.environ | {
      "PYTHONPATH": str(ROOT),
      "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=2",
    }
    if count > 1:
      command.append("--distributed")
      env["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{_free_port()}"
      env["JAX_NUM_PROCESSES"] = str(count)
    self.logs = [folder / f"{name}.{number}.log" for number in range(count)]
    self.processes = []
    for number, log in enumerate(self.logs):
      with log.open("w") as file:
        process = subprocess.Popen(
          command,
          cwd=(cwd or {}).get(number, ROOT),
          env=env | {"JAX_PROCESS_ID": str(number)},
          stdout=file,
          stderr=subprocess.STDOUT,
        )
      self.processes.append(process)

  def wait(self, patience: float = PATIENCE) -> list[int]:
    """Returns the exit statuses; kills what takes longer than `patience`."""
    deadline = time.monotonic() + patience
    try:
      return [
        process.wait(max(deadline - time.monotonic(), 0.1))
        for process in self.processes
      ]
    finally:
      for process in self.processes:
        process.kill()

  def wait_until(self, condition: Callable[[], bool]) -> None:
    """Waits until something is so, while all processes run."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
      ended = [process.poll() for process in self.processes]
      assert ended == [None] * len(ended), self.output()
      assert time.monotonic() < deadline, self.output()
      time.sleep(0.05)

  def send(self, number: int, signal_number: signal.Signals) -> None:
    self.processes[number].send_signal(signal_number)

  def output(self) -> str:
    """Returns the ends of all logs."""
    return "\n".join(log.read_text()[-3000:] for log in self.logs)

  def sentences(self, number: int) -> list[str]:
    """Returns what a process said on why it stopped."""
    lines = self.logs[number].read_text().splitlines()
    return [line for line in lines if line.startswith("alcurr: ")]
