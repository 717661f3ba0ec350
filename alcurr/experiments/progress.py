"""The progress of a run, on a terminal, in a notebook or in the log."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator

from absl import logging
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

from alcurr.training.run import RunSpec


@contextlib.contextmanager
def progress_bar(
  run: RunSpec, start: int = 0
) -> Iterator[Callable[[int, str], None]]:
  """Shows the progress from a step on; without a terminal, in the log.

  Nothing is shown where the log has only warnings.
  """
  if start:
    text = "%s: resumes from step %d of %d."
    logging.info(text, run.name, start, run.num_steps)
  per_step = run.batch_size * len(run.seeds)
  total = run.num_steps * per_step
  # In a notebook tqdm draws a bar of the notebook's own.
  # Without a console, as with pythonw, there is no stderr.
  has_terminal = sys.stderr is not None and sys.stderr.isatty()
  interactive = has_terminal or issubclass(tqdm, tqdm_notebook)
  with tqdm(
    total=total,
    initial=start * per_step,
    desc=run.name,
    unit=" examples",
    unit_scale=True,
    disable=logging.get_verbosity() < logging.INFO,
    # Without a terminal the bar only counts; its text is logged.
    file=None if interactive else io.StringIO(),
  ) as bar:

    def progress(examples: int, text: str) -> None:
      tenth = 10 * bar.n // total
      bar.set_postfix_str(text, refresh=False)
      bar.update(examples)
      if not interactive and 10 * bar.n // total > tenth:
        logging.info("%s", bar)

    yield progress
