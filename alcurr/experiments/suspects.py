"""Labels that are probably wrong: a run's verdict on the user's own rows.

Samplers with `judge` have an opinion on each label that they trained on. At the
end of their run it goes to suspects.csv, a row for each, the most suspect
first, and to suspects.npz, with the images of the first.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd
from absl import logging

from alcurr.core import files
from alcurr.data.pool import Dataset, locate
from alcurr.experiments.setup import ExperimentContext
from alcurr.report import gallery, tables
from alcurr.report.suspects import IMAGES, SHOWN, TABLE
from alcurr.training import exposure, loop, parallel
from alcurr.training.run import RunSpec
from alcurr.types import LabelJudgement, Pool


def mean_judgement(judged: LabelJudgement) -> LabelJudgement:
  """Returns the mean over the trials of a judgement with [S] in front.

  The label that most trials suggest, or the first of those, is suggested.
  """
  means = jax.tree.map(lambda x: x.mean(0, dtype=np.float64), judged)
  suggested = judged.suggested
  votes = np.stack(
    [((suggested == s) & (s >= 0)).sum(0) for s in suggested], axis=0
  )
  first = votes.argmax(0)[None]
  return means._replace(
    suggested=np.take_along_axis(suggested, first, axis=0)[0]
  )


def make_table(
  judged: LabelJudgement, parts: Mapping[str, Dataset]
) -> tuple[pd.DataFrame, np.ndarray]:
  """Returns a row for each label, the most suspect first.

  Args:
    judged: of N examples, those of the parts one after another.
    parts: by the names of their splits, of the same classes.

  Returns:
    The columns by which users find an example, see `alcurr.data.pool.locate`,
    with the `split` if there are several; its `given_label` and
    `suggested_label`; the `probability` that the given label is wrong; and a
    `score` by which equal probabilities are sorted. Also the places of the rows
    in the pool [N].
  """
  found = [
    pd.DataFrame(
      ({"split": name} if len(parts) > 1 else {})
      | locate(part, np.arange(len(part.label)))
      | {"given_label": np.array(part.class_names)[part.label]}
    )
    for name, part in parts.items()
  ]
  names = np.array([*next(iter(parts.values())).class_names, ""])  # -1 is ""
  table = pd.concat(found, ignore_index=True).assign(
    suggested_label=names[judged.suggested],
    probability=judged.wrong,
    score=judged.score,
  )
  order = np.lexsort((-judged.score, -judged.wrong))
  return table.iloc[order].reset_index(drop=True), order


def write_suspects(
  context: ExperimentContext,
  run: RunSpec,
  result: loop.Result,
  pool: Pool,
  parts: Mapping[str, Dataset],
  folder: pathlib.Path,
) -> dict[str, Any]:
  """Writes the files, and returns their part of the run's result.json.

  Both are empty if the sampler does not judge labels, or all trials diverged.

  Args:
    context: of the experiment.
    run: whose sampler may judge labels.
    result: of the run, with the sampler's state on the host.
    pool: that was trained on.
    parts: the splits of which the pool consists.
    folder: of the run.
  """
  trials = exposure.active_trials(result.exposure)
  if run.sampler.judge is None or not len(trials):
    return {}
  judged = jax.jit(jax.vmap(run.sampler.judge))(result.state.sampler_state)
  judged = jax.tree.map(lambda x: np.asarray(x)[trials], judged)
  judged = mean_judgement(judged)
  table, order = make_table(judged, parts)
  index = order[:SHOWN].astype(np.int32)
  image = gallery.thumbnails(parallel.local(pool), context.gather, index)
  files.write_file(
    folder / IMAGES, lambda file: np.savez_compressed(file, image=image)
  )
  tables.write_csv(folder / TABLE, table)
  rate, low, high = judged.rate, judged.rate_low, judged.rate_high
  text = "%s: about %.1f %% of the labels are wrong (%.1f to %.1f %%); see %s."
  numbers = (100 * rate, 100 * low, 100 * high)
  logging.info(text, run.name, *numbers, folder / TABLE)
  return {
    "wrong_labels": {
      "judged": len(order),
      "rate": float(rate),
      "rate_low": float(low),
      "rate_high": float(high),
    }
  }
