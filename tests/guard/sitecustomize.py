"""For a process of the tests: no network, no pickles, and a log of its writing.

Python imports a module of this name when it starts. Each line of the log, the
file GUARD_LOG names, is an event and a path; what is forbidden is there too,
in case the exception was caught.
"""

import os
import sys

_LOG = os.open(os.environ["GUARD_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_FORBIDDEN = (
  *("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"),
  *("socket.gethostbyname", "pickle.find_class"),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# The arguments that are the path written to, and the descriptor of the folder
# it starts from (-1: none).
_CHANGING = {
  "os.mkdir": (0, 2),
  "os.rename": (1, 3),
  "os.remove": (0, 1),
  "os.rmdir": (0, 1),
  "os.link": (1, 3),
  "os.symlink": (1, 2),
  "os.truncate": (0, None),
}


def _watch(event: str, args: tuple) -> None:
  if event in _FORBIDDEN:
    os.write(_LOG, f"forbidden {event} {args}\n".encode())
    raise RuntimeError(f"{event} is forbidden here: {args}")
  folder = -1
  if event == "open" and args[2] & _WRITING:
    path = args[0]
  elif event in _CHANGING:
    at, start = _CHANGING[event]
    path = args[at]
    folder = -1 if start is None else args[start]
  else:
    return
  if not isinstance(path, int):  # a descriptor that was opened before
    here = os.getcwd() if folder < 0 else os.readlink(f"/proc/self/fd/{folder}")
    where = os.path.normpath(os.path.join(here, os.fsdecode(path)))
    os.write(_LOG, f"{event} {where}\n".encode())


sys.addaudithook(_watch)
