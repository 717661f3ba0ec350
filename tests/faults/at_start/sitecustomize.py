"""Causes a fault: Python imports this at its start, if it is on its path.

FAULT="kill os.rename test.npz 2" kills the process when it is about to rename
a file whose path holds "test.npz" for the second time; "stall" in place of
"kill" holds the thread there for ever. The events are Python's audit events.
"""

import os
import signal
import sys
import threading
import time

if os.environ.get("FAULT"):
  _harm, _event, _path, _count = os.environ["FAULT"].split()
  _seen = []
  _lock = threading.Lock()

  def _hook(event, args):
    if event != _event or _path not in str(args[:2]):
      return
    if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR):
      return  # reads
    with _lock:
      _seen.append(args)
      due = len(_seen) == int(_count)
    if due:
      print(
        f"fault: {_harm} at {event} {args[:2]}", file=sys.stderr, flush=True
      )
      if _harm == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
      while True:
        time.sleep(1)

  sys.addaudithook(_hook)
