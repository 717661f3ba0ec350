"""An experiment in one call, for notebooks: `alcurr.compare`.

    result = alcurr.compare(images, labels, samplers=["uniform", "curriculum"])
    result.summary

The call runs what `python -m alcurr.main` runs, with the config that its
arguments describe. `Comparison(DIR)` shows an experiment of the command line.
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
from alcurr.core.specs import check_choice
from alcurr.data import arrays, image_values
from alcurr.experiments import runner, temporary_registrations
from alcurr.experiments.config import build, defaults
from alcurr.report import curves, figures, page, tables
from alcurr.report.gallery import read_gallery
from alcurr.report.style import styles

# The panels of `plot_curves`, where they are measured.
_PANELS = curves.ACCURACIES | {"loss": "loss on valid"}


class Comparison:
  """The results of an experiment, read from its folder when needed."""

  def __init__(self, workdir: str | pathlib.Path):
    """Opens an experiment with at least one finished sampler.

    Raises:
      UserError: the folder has none.
    """
    self.workdir = pathlib.Path(workdir)
    page.check_experiment(self.workdir)

  @property
  def summary(self) -> pd.DataFrame:
    """The content of summary.csv: a row per sampler, on the test split."""
    return page.read_summary(self.workdir)

  @property
  def curves(self) -> pd.DataFrame:
    """A row for each sampler and evaluation, as means over the trials."""
    logs = curves.read_logs(self.workdir)
    measured = [m for m in curves.METRICS if logs[m].notna().any()]
    return curves.mean_curves(logs, measured)

  def plot_curves(self) -> Figure:
    """Plots the metrics on the valid split against the examples seen."""
    means = self.curves
    panels = {m: label for m, label in _PANELS.items() if m in means}
    return figures.learning_curves(
      means, styles(means["sampler"].unique()), panels
    )

  def plot_policy(self, name: str) -> Figure:
    """Plots the probability of each arm over a sampler's run.

    Args:
      name: of a sampler of the experiment.

    Raises:
      UserError: no finished sampler of that name draws from arms.
    """
    metrics = curves.read_metrics(self.workdir)
    check_choice("name", name, metrics)
    if "policy" not in metrics[name]:
      raise UserError("unsupported", "name", f"{name} does not draw from arms")
    policy = curves.policy_curve(metrics[name])
    gallery = read_gallery(self.workdir)
    partition = tables.arm_partition(self.workdir, name)
    arms = figures.arm_labels(partition, policy.shape[1], gallery)
    return figures.policy_map(policy, name, arms)

  def report(self, path: str | pathlib.Path) -> None:
    """Writes the report: one HTML page, which works offline."""
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
  value_range: Sequence[float] | None = None,
  channels_first: bool = False,
  workdir: str | pathlib.Path | None = None,
) -> Comparison:
  """Trains a model with each sampler and compares them.

  Args:
    images: [N, H, W] or [N, H, W, C], whole numbers from 0 to 255 or floats in
      [0, 1]; an array, or a column of arrays. Parts are held out to validate
      and to test (data.valid_fraction and data.test_fraction). None: the data
      that `config` describes, by default generated doodles.
    labels: [N] strings, bools or whole numbers.
    samplers: names, calls such as "curriculum(descending=True)", config dicts,
      factories or `Sampler` records; or a dict of these by your own names.
      The first is the baseline.
    model: a name, a call such as "mobilenet(width=0.25)", a config dict, a
      factory (image_shape, num_classes) -> Model, or a `Model` record; for
      modules of Linen and NNX see `alcurr.models.adapters`.
    budget: of each trial, such as "3 epochs", "50000 examples", "2000 steps".
    trials: of each sampler; the i-th trials start from the same parameters.
    config: other fields by their dotted names, such as {"batch_size": 64,
      "optimizer.learning_rate": 3e-3}; see
      alcurr/experiments/config/defaults.py.
    value_range: (black, white) of images of another range, such as (0, 65535);
      data.value_range.
    channels_first: whether images are [N, C, H, W]; data.channels_first.
    workdir: the experiment's folder. The same call resumes there and skips
      finished samplers. None: a new temporary folder.

  Raises:
    UserError: a mistake in an argument, before anything is trained.
  """
  workdir = pathlib.Path(
    workdir or pathlib.Path(tempfile.mkdtemp(prefix="alcurr_")) / "experiment"
  )
  if (images is None) != (labels is None):
    missing = "images" if images is None else "labels"
    raise UserError("missing", missing, "give both images and labels, or none")
  changes = {"budget": budget, "trials": trials, **(config or {})}
  if bounds := image_values.parse_range(value_range):
    changes["data.value_range"] = f"{bounds[0]!r},{bounds[1]!r}"
  if channels_first:
    changes["data.channels_first"] = True
  with _config(samplers, model, changes) as full:
    if images is not None:
      folder = build.cache_dir(full, workdir)
      full.data.source = "npz"
      path = arrays.save_npz(
        images,
        labels,
        folder,
        value_range=full.data.value_range,
        channels_first=full.data.channels_first,
      )
      full.data.dir = str(path)
    runner.run(full, workdir)
  return Comparison(workdir)


@contextlib.contextmanager
def _config(
  samplers: Sequence[Any] | Mapping[str, Any],
  model: Any,
  changes: Mapping[str, Any],
) -> Iterator[ConfigDict]:
  """Yields the config of the arguments, whose objects are then registered."""
  with temporary_registrations.TemporaryRegistrations() as registrations:
    specs = {
      name: registrations.sampler(spec, name)
      for name, spec in _by_name(samplers).items()
    }
    config = defaults.get_config()
    config.model = {"weights": ""} | registrations.model(model)
    config.samplers = ConfigDict(specs)
    config.baseline = next(iter(specs))
    yield build.changed(config, dict(changes))


def _by_name(samplers: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
  """Returns the specs by different names."""
  if isinstance(samplers, Mapping):
    return dict(samplers)
  named = {}
  for spec in [samplers] if isinstance(samplers, str) else samplers:
    name, number = temporary_registrations.name_of(spec), 1
    while (unique := name if number == 1 else f"{name}_{number}") in named:
      number += 1
    named[unique] = spec
  return named
