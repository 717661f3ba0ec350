"""An experiment in one call, for notebooks: `alcurr.compare`.

    result = alcurr.compare(images, labels, samplers=["uniform", "curriculum"])
    result.summary

The same code as `python -m alcurr.main`, with the config that the arguments
describe. `Comparison(DIR)` shows what the command line left in DIR.
"""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.data import arrays
from alcurr.experiments import runner, temporary_registrations
from alcurr.experiments.config import build, defaults
from alcurr.report import curves, figures, page, paper_figures
from alcurr.report.gallery import read_gallery
from alcurr.report.style import styles

# The panels of `plot_curves`, of which there are those that were measured.
_PANELS = {
  "top1": "top-1 accuracy",
  "top3": "top-3 accuracy",
  "loss": "loss",
}


class Comparison:
  """What an experiment left in its folder, read when it is asked for."""

  def __init__(self, workdir: str | pathlib.Path):
    """Of an experiment with at least one finished sampler.

    Raises:
      UserError: there is none in that folder.
    """
    self.workdir = pathlib.Path(workdir)
    page.check_experiment(self.workdir)

  @property
  def summary(self) -> pd.DataFrame:
    """summary.csv: a row a sampler, on the test examples."""
    return page.read_summary(self.workdir)

  @property
  def curves(self) -> pd.DataFrame:
    """A row for each sampler and evaluation on valid, over the trials."""
    logs = curves.read_logs(self.workdir)
    measured = [m for m in curves.METRICS if logs[m].notna().any()]
    return curves.mean_curves(logs, measured)

  def plot_curves(self) -> Figure:
    """The metrics on valid against the examples seen, a line a sampler."""
    metrics = curves.read_metrics(self.workdir)
    rows = [
      set(valid)
      for table in metrics.values()
      for valid in table["valid"]
      if isinstance(valid, dict)
    ]
    panels = [p for p in _PANELS.items() if all(p[0] in row for row in rows)]
    return figures.learning_curves(metrics, tuple(panels), styles(metrics))

  def plot_policy(self, name: str) -> Figure:
    """How likely a sampler drew from each arm, over its run.

    Args:
      name: of a sampler of the experiment.

    Raises:
      UserError: there is none of that name.
    """
    metrics = curves.read_metrics(self.workdir)
    if name not in metrics:
      raise UserError(
        f"no sampler {name!r} has finished here; name one of "
        f"{', '.join(metrics)}."
      )
    policy = curves.policy_curve(metrics[name])
    gallery = read_gallery(self.workdir)
    looks = paper_figures.arms_of(self.workdir, name, policy.shape[1], gallery)
    return figures.policy_map(policy, name, looks)

  def report(self, path: str | pathlib.Path) -> None:
    """Writes all there is to see as one page, `path`, that works offline."""
    page.write_report([self.workdir], pathlib.Path(path))

  def __repr__(self) -> str:
    return f"Comparison({str(self.workdir)!r})"

  def _repr_html_(self) -> str:
    return self.summary.to_html(index=False)


def compare(
  images: Any = None,
  labels: Any = None,
  *,
  samplers: Sequence[Any] | Mapping[str, Any] = ("uniform", "active_bandit"),
  model: Any = "cnn",
  budget: str = "1 epoch",
  trials: int = 3,
  config: Mapping[str, Any] | None = None,
  workdir: str | pathlib.Path | None = None,
) -> Comparison:
  """Trains a model with each sampler and compares them.

  Args:
    images: [N, H, W] or [N, H, W, C], uint8 or floats in [0, 1]. A part is
      held out to validate and to test on (data.valid_fraction and
      data.test_fraction). Without them: the data that `config` describes,
      generated doodles by default.
    labels: [N] integers from 0, or strings.
    samplers: names, calls such as "curriculum(descending=True)", config dicts,
      factories or `Sampler` records; or a dict of such by names of your own.
      The first is the baseline. "active_bandit" is the paper's, but for the
      arguments that are given.
    model: a name, a call such as "mobilenet(width=0.25)", a config dict, a
      factory (image_shape, num_classes) -> Model, or a `Model` record; see
      `alcurr.models.adapters` for modules of Linen and NNX.
    budget: of each trial, such as "3 epochs", "50000 examples", "2000 steps".
    trials: of each sampler; the i-th of each start from the same parameters.
    config: any other field, by its dotted name, such as
      {"batch_size": 64, "optimizer.learning_rate": 3e-3}; see
      alcurr/experiments/config/defaults.py.
    workdir: where everything is left; the same call goes on there, and keeps
      what is finished. None: a new folder among the temporary ones.

  Raises:
    UserError: a mistake in an argument, before anything is trained.
  """
  workdir = pathlib.Path(
    workdir or pathlib.Path(tempfile.mkdtemp(prefix="alcurr_")) / "experiment"
  )
  if (images is None) != (labels is None):
    raise UserError("give images and labels, or neither of them.")
  changes = {"budget": budget, "trials": trials, **(config or {})}
  with _config(samplers, model, changes) as full:
    if images is not None:
      folder = build.cache_dir(full, workdir)
      full.data.source = "npz"
      full.data.dir = str(arrays.save_npz(images, labels, folder))
    runner.run(full, workdir)
  return Comparison(workdir)


@contextlib.contextmanager
def _config(
  samplers: Sequence[Any] | Mapping[str, Any],
  model: Any,
  changes: Mapping[str, Any],
) -> Iterator[ConfigDict]:
  """The config that the arguments describe, while their objects have names."""
  with temporary_registrations.TemporaryRegistrations() as offered:
    specs = {
      name: offered.sampler(spec) for name, spec in _by_name(samplers).items()
    }
    config = defaults.get_config()
    config.model = offered.model(model) | {"weights": ""}
    config.samplers = ConfigDict(specs)
    config.baseline = next(iter(specs))
    yield build.changed(config, dict(changes))


def _by_name(samplers: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
  """The specs by names that differ from each other."""
  if isinstance(samplers, Mapping):
    return dict(samplers)
  named = {}
  for spec in [samplers] if isinstance(samplers, str) else samplers:
    name, number = temporary_registrations.name_of(spec), 1
    while (own := name if number == 1 else f"{name}_{number}") in named:
      number += 1
    named[own] = spec
  return named
