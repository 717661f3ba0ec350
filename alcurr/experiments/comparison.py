"""An experiment in one call, for notebooks: `alcurr.compare`.

    result = alcurr.compare(inputs, labels, samplers=["uniform", "curriculum"])
    result.summary

The call runs what `python -m alcurr.main` runs, with the config that its
arguments describe. `Comparison(DIR)` shows an experiment of the command line.
"""

import contextlib
import html
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from alcurr.core import log_lines, paths
from alcurr.data import image_values
from alcurr.experiments import experiment_runner, given_arrays
from alcurr.experiments.config import defaults, plain
from alcurr.experiments.given_objects import check_model, named, register
from alcurr.models import MODELS
from alcurr.report import (
  curves,
  figures,
  formatting,
  page,
  policies,
  suspects,
  verdict,
)
from alcurr.report.gallery import read_gallery
from alcurr.report.style import styles
from alcurr.samplers import SAMPLERS


class Comparison:
  """The results of an experiment, read from its folder when needed."""

  def __init__(self, workdir: str | pathlib.Path):
    """Opens an experiment with at least one finished sampler.

    Raises:
      UserError: the folder has none.
    """
    self.workdir = paths.absolute(workdir, "workdir")
    page.check_experiment(self.workdir)

  @property
  def summary(self) -> pd.DataFrame:
    """The content of summary.csv: a row per sampler, on the test split."""
    return page.read_summary(self.workdir)

  @property
  def verdict(self) -> str:
    """The outcome of the experiment, in at most four sentences.

    A sampler is better or worse than its baseline if the paired differences of
    top-1 on the test split say so, corrected for the number of samplers.
    """
    return verdict.describe(self.workdir, self.summary)

  @property
  def curves(self) -> pd.DataFrame:
    """A row for each sampler and evaluation, as means over the trials."""
    logs = curves.read_logs(self.workdir)
    measured = [m for m in curves.METRICS if logs[m].notna().any()]
    return curves.mean_curves(logs, measured)

  def plot_curves(self) -> Figure:
    """Plots the metrics on the valid split against the examples seen."""
    means = self.curves
    labels = curves.ACCURACIES | {"loss": "valid loss"}
    measured = {m: label for m, label in labels.items() if m in means}
    looks = styles(means["sampler"].unique())
    return figures.learning_curves(means, looks, measured)

  def plot_policy(self, name: str) -> Figure:
    """Plots the probability of each arm over a sampler's run.

    Raises:
      UserError: no finished sampler of that name draws from arms.
    """
    metrics = curves.read_metrics(self.workdir)
    policies.check_arms(metrics, name)
    policy = curves.policy_curve(metrics[name])
    gallery = read_gallery(self.workdir)
    arms = policies.labels(self.workdir, name, policy.shape[1], gallery)
    return figures.policy_map(policy, name, arms)

  def policy(self, name: str | None = None) -> pd.DataFrame:
    """Returns the share of each arm at the end of each trial.

    Columns: sampler, trial, arm (its name, as of groups, or its number from 1)
    and share. None: of every sampler that draws from arms.

    Raises:
      UserError: no finished sampler of that name draws from arms.
    """
    return policies.final_shares(self.workdir, name)

  def suspects(self, name: str | None = None) -> pd.DataFrame:
    """Returns a sampler's verdict on each label that it trained on.

    The columns are those of `alcurr.find_label_issues`, which judges all rows;
    here those held out are missing. None: the first sampler that judges labels.

    Raises:
      UserError: no finished sampler of that name judges labels.
    """
    return suspects.read_suspects(self.workdir, name)

  def report(self, path: str | pathlib.Path) -> pathlib.Path:
    """Writes the report, one HTML page that works offline; returns its path."""
    path = paths.absolute(path)
    page.write_report([self.workdir], path)
    return path

  def __repr__(self) -> str:
    return f"Comparison({str(self.workdir)!r})"

  def __str__(self) -> str:
    table = formatting.terminal(self.summary)
    return f"{self.verdict}\n\n{table}\n\n{self.workdir}"

  def _repr_html_(self) -> str:
    text = html.escape(self.verdict)
    return f"<p>{text}</p>\n{self.summary.to_html(index=False)}"


def compare(
  inputs: Any = None,
  labels: Any = None,
  *,
  validation: Any = None,
  test: Any = None,
  probe: Any = None,
  class_names: Sequence[str] | None = None,
  samplers: Sequence[Any] | Mapping[str, Any] | None = None,
  model: Any = "cnn",
  budget: str = "10 epochs",
  trials: int = 3,
  config: Mapping[str, Any] | None = None,
  value_range: Sequence[float] | None = None,
  channels_first: bool = False,
  regression: bool = False,
  scores: Mapping[str, Any] | None = None,
  groups: Any = None,
  workdir: str | pathlib.Path | None = None,
  verbose: bool = True,
) -> Comparison:
  """Trains a model with each sampler and compares them.

  Args:
    inputs: images [N, H, W] or [N, H, W, C], whole numbers from 0 to 255 or
      floats in [0, 1]; an array, or a column of arrays. Or rows: an array
      [N, F], a data frame of numbers, or a dict of arrays [N, ...], for a model
      such as "mlp", "bag_of_tokens" or your own. Or a map-style Dataset of
      PyTorch, whose items are (input, label). None: the data that `config`
      describes, by default generated doodles.
    labels: [N] strings, bools or whole numbers; for regression, see there. None
      with a Dataset.
    validation: your own (inputs, labels), or a Dataset, for learning curves and
      the choice of settings, used as they are. None: a part of the inputs is
      held out, with its share of each class (data.valid_fraction).
    test: the same for the final evaluation (data.test_fraction). Noise that
      `config` plants stays in the examples that are trained on.
    probe: the same for samplers that learn from trusted examples, such as by
      target_prediction_gain or greats. None: they read the validation split,
      unless data.probe_fraction is above 0.
    class_names: names of the labels 0, 1, ...; for strings, their order. None:
      the `classes` of a Dataset, if it has examples of each.
    samplers: names, calls such as "curriculum(descending=True)", config dicts,
      factories or `Sampler` records; or a dict of these by your own names.
      The first is the baseline. None: "uniform" and, for classes,
      "label_trust", for regression "self_paced".
    model: a name, a call such as "mobilenet(width=0.25)", a config dict, a
      factory (input_shape, num_classes) -> Model, or a `Model` record; for
      modules of Linen and NNX see `alcurr.models.adapters`. The shape is
      (H, W, C) of images; of rows a `jax.ShapeDtypeStruct`, or a dict of them,
      without N.
    budget: of each trial, such as "3 epochs", "50000 examples", "2000 steps".
    trials: of each sampler; the i-th trials start from the same parameters.
    config: other fields, such as {"batch_size": 64, "optimizer.learning_rate":
      3e-3} or {"optimizer": {"learning_rate": 3e-3}}; see
      alcurr/experiments/config/defaults.py. The batch_size is 32, and a
      fortieth of fewer than 1280 inputs.
    value_range: (black, white) of images of another range, such as (0, 65535);
      data.value_range.
    channels_first: whether images are [N, C, H, W]; data.channels_first.
    regression: whether labels are numbers to predict, [N] or [N, V], in any
      unit, by the loss squared_error; data.regression. Models learn them in
      units of their standard deviation, and so are losses. Samplers are then
      judged by R².
    scores: [N] by name, your own scores of the examples, in the order of the
      inputs. Samplers read them by these names, and partitions by difficulty
      read the score "difficulty".
    groups: [N] strings or whole numbers: the source, domain or length of each
      example, an arm each of the partition "groups".
    workdir: the experiment's folder. The same call resumes there and skips
      finished samplers. None: a new temporary folder.
    verbose: whether to show the progress: lines on stderr, and bars on a
      terminal or in a notebook.

  Raises:
    UserError: a mistake in an argument, before anything is trained.
  """
  if workdir is None:
    workdir = f"{tempfile.mkdtemp(prefix='alcurr_')}/experiment"
  workdir = paths.absolute(workdir, "workdir")
  splits = {"validation": validation, "test": test, "probe": probe}
  given = given_arrays.Given(
    inputs, labels, splits, class_names, groups, scores
  )
  given = given_arrays.read_datasets(given)
  given_arrays.check(given)
  if samplers is None:
    samplers = ["uniform", "self_paced" if regression else "label_trust"]
  changes = {"budget": budget, "trials": trials}
  if regression:
    changes |= {"data.regression": True, "loss": "squared_error"}
  if given.inputs is not None:
    size = given_arrays.count(given.inputs)
    changes["batch_size"] = min(32, max(1, size // 40))
  changes |= dict(config or {})
  if bounds := image_values.parse_range(value_range):
    changes["data.value_range"] = f"{bounds[0]!r},{bounds[1]!r}"
  if channels_first:
    changes["data.channels_first"] = True
  with (
    log_lines.shown(verbose),
    _config(samplers, model, changes) as full,
  ):
    full = given_arrays.save(given, full, workdir)
    with given_arrays.named_by_argument(given):
      experiment_runner.run(full, workdir)
  return Comparison(workdir)


@contextlib.contextmanager
def _config(
  samplers: Sequence[Any] | Mapping[str, Any],
  model: Any,
  changes: Mapping[str, Any],
) -> Iterator[ConfigDict]:
  """Yields the config of the arguments, whose objects are then registered."""
  samplers = named(samplers)
  check_model(model)
  with contextlib.ExitStack() as stack:
    config = defaults.get_config()
    config.model = {"weights": ""} | register(stack, model, MODELS, "model")
    config.samplers = plain.to_config(
      {
        name: register(stack, spec, SAMPLERS, f"samplers.{name}")
        for name, spec in samplers.items()
      }
    )
    config.baseline = next(iter(samplers))
    yield plain.merge(config, changes)
