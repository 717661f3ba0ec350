"""Settings with which a run that needs too much memory would fit.

None is said that was not computed: what it may come to at best decides
whether it is worth a compilation, and the compiled program decides.
"""

from collections.abc import Callable, Iterable
from typing import Any

from alcurr.core.errors import UserError
from alcurr.experiments.config import build
from alcurr.experiments.savings import SAVINGS, Case, Option
from alcurr.training import memory
from alcurr.training.memory import Need

MOST = 3  # settings that are said

# From settings, by their dotted names in the config, to the run's need;
# raises UserError where the config or the data do not admit them.
Measure = Callable[[dict[str, Any]], Need]


def refusal(name: str, case: Case, measure: Measure) -> str:
  """The sentence about a run that needs too much, with what would fit."""
  need = case.need
  found = suggest(case, measure)
  if not found:
    remedy = (
      "no settings of batch_size, trials, trials_by, model or data that would "
      "fit were found, so take a smaller model or smaller images"
    )
  elif len(found) == 1:
    remedy = f"this would fit: {found[0]}"
  else:
    remedy = f"each of these would fit: {', '.join(found[:-1])} or {found[-1]}"
  return (
    f"{name} needs about {memory.in_words(need.total)} of memory "
    f"({need.parts()}) and the device has {memory.in_words(case.free)} free; "
    f"{remedy}."
  )


def suggest(case: Case, measure: Measure) -> list[str]:
  """Up to three options that fit, first those that change least.

  Args:
    case: what does not fit.
    measure: the need of the same run with other settings.

  Returns:
    Options of the command line. Where none is enough alone, one text of
    several; where they are not either, none.
  """
  found = []
  for saving in SAVINGS:
    for option in _worth_trying(case, saving(case)):
      need = _try(option.settings, measure)
      if need and memory.fits(need, case.free):
        found.append(_as_options(option.settings))
        break
    if len(found) == MOST:
      break
  return found or _together(case, measure)


def _together(case: Case, measure: Measure) -> list[str]:
  """Savings added one to another until they fit, as one text; or none."""
  values: dict[str, Any] = {}
  for saving in SAVINGS:
    options = list(saving(case))
    # What has no sizes to choose from helps, if not enough.
    only = options if len(options) == 1 else []
    for option in _worth_trying(case, options) or only:
      need = _try(values | option.settings, measure)
      if need and need.total < case.need.total:
        values |= option.settings
        config = build.changed(case.config, option.settings)
        case = case._replace(config=config, need=need)
      if memory.fits(case.need, case.free):
        return [_as_options(values)]
  return []


def _worth_trying(case: Case, options: Iterable[Option]) -> list[Option]:
  """The first option that may fit, and the next, should that be too much."""
  options = list(options)
  for i, option in enumerate(options):
    if memory.fits(option.hope, case.free):
      return options[i : i + 2]
  return []


def _try(values: dict[str, Any], measure: Measure) -> Need | None:
  try:
    return measure(values)
  except UserError:
    return None  # such as a batch that another setting must divide


def _as_options(values: dict[str, Any]) -> str:
  """`--config.trials_by=map`, several with spaces between them."""
  return " ".join(
    f'--config.{name}="{value}"'
    if "(" in str(value)
    else f"--config.{name}={value}"
    for name, value in values.items()
  )
