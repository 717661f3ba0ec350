"""python -m benchmarks.lowerings [--dtypes float32,...] [--kinds NAME,...]

Measures each lowering of `alcurr.models.lowerings` at shapes of the six
networks, in turns (see `timing`). Each operation has three roles: the forward
pass, the gradient of its input, and the gradient of its kernel. Operations run
in the body of a loop, as in training, where some of XLA's convolutions are
slower. They run alone, though; within a network they may fuse with their
neighbors, so `python -m benchmarks.models --conv` decides.

`lowerings.FASTEST` is set from the last table. It has the time of each lowering
over that of the fastest, as the geometric mean over the shapes of a kind.
"auto" follows FASTEST, so it should be close to 1.
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

from alcurr.models import layers, lowerings
from alcurr.training import compilation
from benchmarks import arguments, tables, timing
from benchmarks.cases import CASES, KINDS, Case

ROLES = ("forward", "input_grad", "kernel_grad")
LOWERINGS = (*lowerings.LOWERINGS, "plain")
# Executions in the loop of one timed call.
REPEATS = 4
# A lowering this many times slower than the fastest is timed only once.
HOPELESS = 10


def runs_in(role: str, case: Case, lowering: str) -> bool:
  """Returns whether a role has a lowering; only gradients have "plain"."""
  return lowering != "plain" or (role != "forward" and case.kind == "full")


def make_run(
  case: Case,
  role: str,
  lowering: str,
  dtype: str,
  batch_size: int,
  image_size: int,
) -> timing.Contestant:
  """Returns one role of an operation, executed REPEATS times a step."""
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
    function = {"max": lowerings.max_pool, "avg": lowerings.avg_pool}[case.pool]
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

  # The operand that changes between executions: the image of a forward pass,
  # the cotangent of a backward pass.
  varying = 1 if role == "forward" else 0

  @functools.partial(jax.jit, compiler_options=compilation.compiler_options())
  def repeated(*operands):
    def body(i, total):
      varied = list(operands)
      varied[varying] += (1e-6 * i).astype(dtype)
      return total + once(*varied)

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
  """Yields a row for each lowering, without a time if it does not run."""
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
      # For example, too little memory.
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
    description="The time of each lowering of each kind of operation.",
  )
  add = parser.add_argument
  add("--kinds", type=arguments.names(KINDS), default=KINDS, metavar="NAME,...")
  add("--network", default="", help="whose operations to measure; default all")
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
  """Returns milliseconds by case and lowering; * marks the fastest."""
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
  """Returns the times over the fastest's, as geometric means by kind.

  A lowering that did not run in every case of the kind has none.
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
      if case.kind in args.kinds and case.where.startswith(args.network):
        print(*setting, case.title(), file=sys.stderr)
        for role in ROLES[: 2 if case.pool else 3]:
          rows += measure(case, role, setting, args.rounds, args.seconds)
        # Saved each time, so that an interrupted run has its results.
        table = tables.save(rows, args.out)
  print(by_case(table).to_string())
  print(f"\n{by_kind(table).to_string(float_format='%.2f')}")
  print(f"\n{args.out}")


if __name__ == "__main__":
  main(sys.argv[1:])
