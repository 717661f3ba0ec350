"""python -m benchmarks.lowerings [--dtypes float32,...] [--kinds NAME,...]

Milliseconds of each role of an operation, the forward pass, the gradient of
its input and that of its kernel, at shapes of the six networks, for each
lowering of `alcurr.models.lowerings`, which take turns, see `timing`. In the
body of a loop, as in training, where some of XLA's convolutions are slower. An
operation alone: within a network it may fuse with its neighbours, so
`python -m benchmarks.models --conv` has the last word.

The last table is what `lowerings.FASTEST` is set by: each lowering's time over
that of the fastest, as the geometric mean of a kind's shapes. "auto" is what
that table says now, so it should not be far above 1.
"""

import argparse
import functools
import itertools
import sys
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from alcurr.models import layers, lowerings, pooling
from alcurr.training import compilation
from benchmarks import arguments, tables, timing
from benchmarks.cases import CASES, KINDS, Case

ROLES = ("forward", "input_grad", "kernel_grad")
LOWERINGS = (*lowerings.LOWERINGS, "plain")
# Executions in the body of a loop that are timed as one.
REPEATS = 4
# A lowering that takes this many times as long as the fastest one is timed
# once: no spread would change what is said of it.
HOPELESS = 10


def runs_in(role: str, case: Case, lowering: str) -> bool:
  """Whether a lowering is one of a role; "plain" is of gradients alone."""
  return lowering != "plain" or (role != "forward" and case.kind == "full")


def make_run(
  case: Case,
  role: str,
  lowering: str,
  dtype: str,
  batch_size: int,
  image_size: int,
) -> timing.Contestant:
  """One role of an operation, executed REPEATS times a step."""
  rng = np.random.default_rng(0)
  size = -(-image_size // case.shrink)

  def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape, np.float32), dtype)

  shared = {
    "stride": case.stride,
    "padding": case.padding,
    "lowering": lowering,
  }
  if lowering == "plain":
    shared["lowering"] = lowerings.Roles("lax", "plain", "plain")
  if case.pool:
    function = {"max": pooling.max_pool, "avg": pooling.avg_pool}[case.pool]
    operation = functools.partial(function, window=case.kernel[0], **shared)
    inputs = []
  else:
    operation = functools.partial(lowerings.conv, groups=case.groups, **shared)
    inputs = [normal(*case.kernel, case.inputs // case.groups, case.features)]
  inputs.insert(0, normal(batch_size, size, size, case.inputs))
  out = jax.eval_shape(operation, *inputs)
  cotangent = normal(*out.shape)

  def once(cotangent, *inputs):
    if role == "forward":
      return operation(*inputs)
    _, backward = jax.vjp(operation, *inputs)
    return backward(cotangent)[ROLES.index(role) - 1]

  # What differs from one execution to the next: a forward pass's image, or
  # what comes back to a backward one.
  moving = 1 if role == "forward" else 0

  @functools.partial(jax.jit, compiler_options=compilation.compiler_options())
  def repeated(*operands):
    def body(i, total):
      moved = list(operands)
      moved[moving] += (1e-6 * i).astype(dtype)
      return total + once(*moved)

    shape = jax.eval_shape(once, *operands)
    start = jnp.zeros(shape.shape, shape.dtype)
    return jax.lax.fori_loop(0, REPEATS, body, start)

  def steps(num: int) -> None:
    result = None
    for _ in range(num):
      result = repeated(cotangent, *inputs)
    jax.block_until_ready(result)

  return functools.partial(timing.timed, steps)


def measure(
  case: Case,
  role: str,
  setting: tuple[str, int, int],
  rounds: int,
  seconds: float,
) -> Iterator[dict]:
  """A row for each lowering, the time of one that does not run left out."""
  dtype, batch_size, image_size = setting
  runs, notes = {}, {}
  for lowering in LOWERINGS:
    if not runs_in(role, case, lowering):
      continue
    run = make_run(case, role, lowering, dtype, batch_size, image_size)
    notes[lowering] = ""
    try:
      run(1)
    except jax.errors.JaxRuntimeError as error:
      # Such as memory that does not suffice.
      notes[lowering] = str(error).splitlines()[0][:100]
    else:
      runs[lowering] = run
  once = {name: run(1) for name, run in runs.items()}
  close = {
    name: run
    for name, run in runs.items()
    if once[name] <= HOPELESS * min(once.values())
  }
  times = {name: np.asarray([t]) for name, t in once.items()}
  times |= timing.interleave(close, rounds, seconds)
  spreads = {
    name: timing.spread(1e3 * t / REPEATS) for name, t in times.items()
  }
  fastest = min((s.median for s in spreads.values()), default=None)
  for lowering, note in notes.items():
    row = {
      "backend": jax.default_backend(),
      "device": jax.devices()[0].device_kind,
      "dtype": dtype,
      "batch": batch_size,
      "pixels": image_size,
      "kind": case.kind,
      "role": role,
      "case": case.title(),
      "lowering": lowering,
      "note": note,
    }
    if lowering in spreads:
      ms = spreads[lowering]
      row["rounds"] = len(times[lowering])
      row |= {"ms": ms.median, "ms_10%": ms.low, "ms_90%": ms.high}
      row["slower"] = ms.median / fastest
    yield row


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.lowerings",
    description="Time of each lowering of each kind of operation.",
  )
  add = parser.add_argument
  add("--kinds", type=arguments.names(KINDS), default=KINDS, metavar="NAME,...")
  add(
    "--dtypes",
    type=arguments.names(layers.DTYPES),
    default=["float32"],
    metavar="NAME,...",
  )
  add("--batch_sizes", type=arguments.numbers, default=[32], metavar="N,...")
  add("--image_sizes", type=arguments.numbers, default=[64], metavar="N,...")
  arguments.add_rounds(parser, rounds=10, seconds=0.1)
  arguments.add_out(parser, "lowerings")
  return parser.parse_args(argv)


def by_case(table: pd.DataFrame) -> pd.DataFrame:
  """Milliseconds, a row a case and a column a lowering, the fastest marked."""
  wide = table.pivot(
    index=["dtype", "batch", "pixels", "kind", "role", "case"],
    columns="lowering",
    values=["ms", "slower"],
  )
  return pd.DataFrame(
    {
      name: [
        "-" if np.isnan(ms) else f"{ms:.3g}{'*' if slower == 1 else ' '}"
        for ms, slower in zip(
          wide["ms"][name], wide["slower"][name], strict=True
        )
      ]
      for name in wide["ms"]
    },
    index=wide.index,
  )


def by_kind(table: pd.DataFrame) -> pd.DataFrame:
  """Geometric mean over a kind's cases of the time over the fastest's.

  A lowering that did not run in each has none.
  """
  logs = table.assign(log=np.log(table["slower"]))
  means = logs.groupby(
    ["dtype", "batch", "pixels", "kind", "role", "lowering"], sort=False
  )["log"].agg(lambda log: log.mean(skipna=False))
  wide = np.exp(means).unstack("lowering")
  return wide.assign(fastest=wide.idxmin(axis=1))


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  rows = []
  for setting in itertools.product(
    args.dtypes, args.batch_sizes, args.image_sizes
  ):
    for case in CASES:
      if case.kind in args.kinds:
        print(*setting, case.title(), file=sys.stderr)
        for role in ROLES[: 2 if case.pool else 3]:
          rows += measure(case, role, setting, args.rounds, args.seconds)
    # After each, so that a run cut short leaves what it measured.
    table = tables.save(rows, args.out)
  print(by_case(table).to_string())
  print(f"\n{by_kind(table).to_string(float_format='%.2f')}")
  print(f"\n{args.out}")


if __name__ == "__main__":
  main(sys.argv[1:])
