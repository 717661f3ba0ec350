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
# The argument that is the path written to.
_CHANGING = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0}
_CHANGING |= {"os.link": 1, "os.symlink": 1, "os.truncate": 0}


def _watch(event: str, args: tuple) -> None:
  if event in _FORBIDDEN:
    os.write(_LOG, f"forbidden {event} {args}\n".encode())
    raise RuntimeError(f"{event} is forbidden here: {args}")
  if event == "open" and args[2] & _WRITING:
    path = args[0]
  elif event in _CHANGING:
    path = args[_CHANGING[event]]
  else:
    return
  if not isinstance(path, int):  # a descriptor that was opened before
    where = os.path.abspath(os.fsdecode(path))
    os.write(_LOG, f"{event} {where}\n".encode())


sys.addaudithook(_watch)
