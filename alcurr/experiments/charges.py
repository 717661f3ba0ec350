"""The cost of scores before training, and the steps that a budget pays for.

With `budget_basis=flops` the runs of an experiment spend the same FLOPs in all,
those of their baseline:

    steps = (budget - scores) / FLOPs per step

A step's FLOPs are those of its compiled program: training, signal, candidates
and probes. The scores' are of training their models, and of a forward pass for
each example of the pool that the run draws from.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from alcurr.core.errors import UserError
from alcurr.data.pool import host_pool
from alcurr.experiments import fits, pool_scores, setup
from alcurr.experiments.config.scores import DIFFICULTY, names_read
from alcurr.experiments.fits import Fit
from alcurr.training.losses import metric
from alcurr.training.run import RunSpec, count_flops, score_flops
from alcurr.types import Pool


class Cost(NamedTuple):
  """The FLOPs of a score."""

  training: float  # of all its models
  scoring: dict[str, float]  # of the examples, by split
  features: dict[str, float]  # by split, those that clusters are made of


class Charge(NamedTuple):
  """The cost of the scores that a run reads."""

  flops: dict[str, float]  # by the name of the score, in full
  shared_by: int  # runs among which they are divided

  @property
  def total(self) -> float:
    """The FLOPs that one run pays for all its scores."""
    return sum(self.flops.values()) / self.shared_by


def count_costs(context: setup.ExperimentContext) -> dict[str, Cost]:
  """Counts the FLOPs of each score that is made for a sampler, by its name.

  Nothing is run. The cost of scores from files is not known.
  """
  costs = {}
  for score in context.experiment.trained_scores:
    planned = fits.make_fits(score, context.parts)
    # The models of a score do the same steps, on as many examples.
    part = fits.take_part(context.parts[planned[0].split], planned[0].train)
    pools = {
      "train": host_pool(part),
      "probe": host_pool(context.parts["valid"]),
    }
    run = setup.make_run_spec(context, score.run, planned[0].num_steps)
    flops = count_flops(run, pools)
    costs[score.name] = make_cost(context, planned, run, flops)
  return costs


def make_cost(
  context: setup.ExperimentContext,
  planned: list[Fit],
  run: RunSpec,
  flops_per_step: float,
) -> Cost:
  """Returns the cost of a score, given the FLOPs of a step of its models."""
  score = planned[0].score.score
  batch_size = context.experiment.config.eval_batch_size
  pool = host_pool(context.parts["train"])
  flops = score_flops(run, score or metric, batch_size, pool)
  num_scored = dict.fromkeys(context.parts, 0)
  for fit in planned:
    for name, part in context.parts.items():
      index = fit.scored[name]
      num_scored[name] += len(part.label if index is None else index)
  models, num_steps = len(run.seeds), sum(fit.num_steps for fit in planned)
  # A score that is collected while training costs nothing more.
  each = flops * models if score else 0.0
  parts = context.parts.items()
  return Cost(
    training=flops_per_step * num_steps * models,
    scoring={name: each * count for name, count in num_scored.items()},
    features={name: flops * len(part.label) for name, part in parts},
  )


def charge_run(
  context: setup.ExperimentContext, name: str, costs: Mapping[str, Cost]
) -> Charge:
  """Returns what the scores that a sampler reads cost its run.

  Of the examples, those count that it draws from.
  """
  run = context.experiment.runs[name]
  splits = run.config.train_on.split("_and_")
  flops = {}
  for name in names_read(run.spec):
    if name in costs:
      cost = costs[name]
      flops[name] = cost.training + sum(cost.scoring[s] for s in splits)
      if name == DIFFICULTY and "clusters" in run.spec.partitions:
        flops[name] += sum(cost.features[s] for s in splits)
  return Charge(flops, run.config.scores_shared_by)


def describe_scores(
  context: setup.ExperimentContext,
  name: str,
  seconds: Mapping[str, float],
  costs: Mapping[str, Cost],
) -> dict[str, Any]:
  """Returns the part of a sampler's result.json about the scores it reads.

  `seconds` and `costs` are of the scores that models were trained for.
  """
  charge = charge_run(context, name, costs)
  read = names_read(context.experiment.runs[name].spec)
  return {
    "scoring_seconds": sum(seconds.get(score, 0.0) for score in read),
    "scores": {score: charge.flops.get(score) for score in read},
    "scores_flops": sum(charge.flops.values()),
    "scores_shared_by": charge.shared_by,
    "score_files": pool_scores.file_hashes(
      context.experiment, context.parts, read
    ),
  }


def make_run(
  context: setup.ExperimentContext,
  name: str,
  pools: Mapping[str, Pool],
  costs: Mapping[str, Cost] | None = None,
) -> RunSpec:
  """Makes the run of a sampler, with the steps that its budget pays for.

  Args:
    context: of the experiment.
    name: the sampler's.
    pools: all of the experiment, perhaps not scored.
    costs: of the scores, as `count_costs` returns them; None: counted here.

  Raises:
    UserError: the scores that the sampler reads cost more than its budget.
  """
  built = context.experiment.runs[name]
  # An epoch is one of the training pool, whatever pool a run draws from.
  num_steps = built.num_steps(pools["train"].label.shape[0])
  run = setup.make_run_spec(context, built, num_steps)
  basis = context.experiment.config.budget_basis
  baseline = built.config.baseline
  if basis == "examples" or name == baseline:
    return run
  base = setup.make_run_spec(
    context, context.experiment.runs[baseline], num_steps
  )
  # Per example, because a baseline may have another batch size.
  base_cost = count_flops(base, pools) / base.batch_size
  flops_per_step = count_flops(run, pools)
  steps = num_steps * (base_cost / (flops_per_step / run.batch_size))
  if basis == "flops":
    costs = count_costs(context) if costs is None else costs
    own = charge_run(context, name, costs)
    allowed = charge_run(context, baseline, costs).total
    budget = steps * flops_per_step + allowed
    steps += (allowed - own.total) / flops_per_step
    if own.total and steps < 1:
      each = ", ".join(f"{n} {flops:.3g}" for n, flops in own.flops.items())
      shared = f" / {own.shared_by} runs" * (own.shared_by > 1)
      text = f"the scores that it reads cost {each} FLOPs{shared}, and its "
      text += f"budget is {budget:.3g}; no step is left to train"
      raise UserError("conflict", f"samplers.{name}", text)
  return setup.make_run_spec(context, built, max(int(steps), 1))
