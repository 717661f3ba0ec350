"""The programs of an experiment's runs, and whether the device holds them."""

import time
from collections.abc import Mapping, Sequence
from concurrent import futures

from absl import logging

from alcurr.core import waiting
from alcurr.core.errors import UserError
from alcurr.data.parallel import cores
from alcurr.experiments import charges, reference_model, setup
from alcurr.experiments.added_trials import Block
from alcurr.experiments.fits import Fit
from alcurr.training import checkpoint_writer, memory, meshes
from alcurr.training.run import CompiledRun, RunSpec, compile_run
from alcurr.types import Pool


def compile_runs(
  context: setup.ExperimentContext,
  pools: dict[str, Pool],
  blocks: Sequence[Block],
  missing: Sequence[Fit] = (),
  costs: Mapping[str, charges.Cost] | None = None,
) -> dict[Block, tuple[RunSpec, CompiledRun]]:
  """Compiles runs in parallel, and checks that the device can hold each.

  The `compile_seconds` of a run are its share of the time that all took.

  Args:
    context: of the experiment.
    pools: on the host, not scored.
    blocks: of trials of samplers.
    missing: the fits of scores that are to be trained first.
    costs: of the scores, for `charges.make_run`.

  Returns:
    The runs of the blocks, with their programs.

  Raises:
    UserError: a run needs more memory than the device has, or its scores cost
      more than its budget.
  """

  def compile_one(part: Block | Fit) -> tuple[RunSpec, CompiledRun]:
    if isinstance(part, Fit):
      return reference_model.prepare(context, part)[:2]
    name = part.sampler
    run = charges.make_run(context, name, pools, costs)
    seeds = run.seeds[part.first : part.first + part.count]
    mesh = meshes.fit_mesh(context.mesh, len(seeds), [run.batch_size])
    run = run._replace(seeds=seeds, mesh=mesh)
    train_on = context.experiment.runs[name].config.train_on
    try:
      own = pools | {"train": pools[train_on]}
      return run, compile_run(run, own, scored=("test",))
    except KeyError as error:
      # Of a split that the user gave, which has no groups or difficulties.
      lacking = {*pools["train"].partitions} - {*pools["probe"].partitions}
      if {*error.args} & lacking:
        text = f"reads the partition {error} of the probe split, which has none"
        raise UserError("conflict", f"samplers.{name}", text) from error
      raise

  parts = [*missing, *blocks]
  started = time.perf_counter()
  count = len(parts)
  with (
    waiting.announced(f"Compiling {count} programs", total=count) as advance,
    futures.ThreadPoolExecutor(cores()) as threads,
  ):
    compiled = []
    for one in threads.map(compile_one, parts):
      compiled.append(one)
      advance()
  seconds = time.perf_counter() - started
  total = sum(programs.compile_seconds for _, programs in compiled)
  copies = checkpoint_writer.num_copies(context.experiment.config)
  runs = {}
  # Read after compilation, since programs take host memory too.
  free = memory.free_memory(context.mesh)
  for part, (run, programs) in zip(parts, compiled, strict=True):
    share = programs.compile_seconds / total * seconds
    if isinstance(part, Block):
      runs[part] = run, programs._replace(compile_seconds=share)
    needed = memory.estimate(programs, pools, copies, run.mesh)
    available = memory.describe_bytes(free)
    text = "%s: needs about %s; %s are free."
    logging.info(text, run.name, needed.describe(), available)
    if not memory.fits(needed, free):
      is_fit = isinstance(part, Fit)
      raise UserError(
        "memory",
        part.score.place if is_fit else f"samplers.{run.name}",
        f"the run needs about {needed.describe()}, and a device has "
        f"{available} free; try a smaller batch_size, trials_by=map, "
        "data.pool=split or host, or fewer trials",
      )
  return runs
