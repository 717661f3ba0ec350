"""What a trace of a program tells: the time of each of its operations.

The JAX profiler records when each operation ran; the program's text says what
each is and which scope of the code it comes from.
"""

import collections
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax


class Event(NamedTuple):
  """An operation at work, once."""

  name: str
  start: float  # ns since the trace began
  end: float


class Instruction(NamedTuple):
  """An operation of a program."""

  opcode: str  # "fusion", "while", ...
  source: str  # the scopes and the JAX primitive that it comes from, or ""


class Operation(NamedTuple):
  """All that a trace holds of an operation."""

  name: str
  calls: int
  seconds: float  # its own, without what ran inside it


_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.-]+) = (.*)")
_OPCODE = re.compile(r"(?:^|\s)([a-z][a-z0-9-]*)\(")
_SOURCE = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(
  r"(?:calls|to_apply|body|condition|(?:true|false)_computation)=%?([\w.-]+)"
  r"|branch_computations=\{([^}]*)\}"
)
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$")


def instructions(program: str) -> dict[str, Instruction]:
  """The operations of a program, by name.

  One whose source the compiler dropped has that of the root of what it calls,
  or of the operation that it is called by, such as a loop.

  Args:
    program: the text of an optimised HLO module.
  """
  opcodes, sources, within = {}, {}, {}
  roots, callers = {}, {}
  computation = ""
  for line in program.splitlines():
    if found := _INSTRUCTION.match(line):
      root, name, rest = found.groups()
      opcode, source = _OPCODE.search(rest), _SOURCE.search(rest)
      opcodes[name] = opcode[1] if opcode else ""
      sources[name] = source[1] if source else ""
      within[name] = computation
      if root:
        roots[computation] = name
      for called, branches in _CALLED.findall(rest):
        for one in (called or branches.replace("%", "")).split(", "):
          callers[one] = name
    elif found := _COMPUTATION.match(line):
      computation = found[1]
  # What is called stands before its caller, so roots have theirs by now.
  for computation, name in callers.items():
    if not sources[name] and opcodes[name] in ("fusion", "call"):
      sources[name] = sources.get(roots.get(computation), "")

  def source(name: str | None) -> str:
    while name and not sources[name]:
      name = callers.get(within[name])
    return sources[name] if name else ""

  return {name: Instruction(opcodes[name], source(name)) for name in opcodes}


def part_of(source: str, scopes: Sequence[str]) -> str:
  """The outermost of some scopes in an operation's source, or ""."""
  for scope in re.split(r"[/()]", source):
    if scope in scopes:
      return scope
  return ""


def read(file: pathlib.Path, program: dict[str, Instruction]) -> list[Event]:
  """The operations at work on the first device, as they began.

  Args:
    file: an .xplane.pb of the JAX profiler.
    program: the operations known by name.
  """
  events: list[Event] = []
  for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
    if re.fullmatch(r"/device:[A-Z]+:0", plane.name):
      events += _device_events(plane, program)
    # An accelerator's host has operations too: that of giving them out.
    elif plane.name == "/host:CPU" and jax.default_backend() == "cpu":
      events += _host_events(plane)
  return sorted(events, key=lambda event: event.start)


def _device_events(plane, program: dict[str, Instruction]) -> Iterator[Event]:
  """The kernels and copies of an accelerator's streams."""
  # A kernel's name is that of its operation, but for what symbols do not admit.
  kernels = {re.sub(r"\W", "_", name): name for name in program}
  for line in plane.lines:
    # Other lines show the same time again, by module or by scope.
    if not line.name.startswith(("Stream", "XLA Ops")):
      continue
    for event in line.events:
      name = kernels.get(event.name) or dict(event.stats).get("hlo_op")
      yield Event(
        str(name or event.name),
        event.start_ns,
        event.start_ns + event.duration_ns,
      )


def _host_events(plane) -> Iterator[Event]:
  """The operations of a CPU, each until its last thread has done its share.

  An operation that others go on with is an event, and where it ended is a
  second one, of the same number.
  """
  begun, ended = [], {}
  for line in plane.lines:
    for event in line.events:
      end = event.start_ns + event.duration_ns
      if event.name.startswith("end: "):
        ended[dict(event.stats).get("_c")] = end
      else:
        stats = dict(event.stats)
        if "hlo_op" in stats:
          begun.append((stats["hlo_op"], event.start_ns, end, stats.get("_p")))
  for name, start, end, number in begun:
    yield Event(name, start, max(end, ended.get(number, end)))


def own_times(events: Sequence[Event]) -> list[float]:
  """The time of each event that is its own, in the events' unit.

  Each moment belongs to the event that began last of those going on: of a loop
  and what runs in it that is the inner one, and nothing counts twice. So the
  sum is the time in which anything went on.
  """
  order = sorted(
    range(len(events)), key=lambda i: (events[i].start, -events[i].end)
  )
  own = [0.0] * len(events)
  going: list[int] = []  # the one that began last is on top
  now = 0.0

  def advance(until: float) -> None:
    nonlocal now
    while going and now < until:
      top = going[-1]
      end = events[top].end
      own[top] += max(min(end, until) - now, 0)
      now = max(min(end, until), now)
      if end <= now:
        going.pop()
    now = until

  for i in order:
    advance(events[i].start)
    going.append(i)
  advance(float("inf"))
  return own


def by_operation(events: Sequence[Event]) -> list[Operation]:
  """The operations of a trace, those that took most first."""
  calls: collections.Counter[str] = collections.Counter()
  nanoseconds: collections.Counter[str] = collections.Counter()
  for event, own in zip(events, own_times(events), strict=True):
    calls[event.name] += 1
    nanoseconds[event.name] += own
  return [
    Operation(name, calls[name], own / 1e9)
    for name, own in nanoseconds.most_common()
  ]
