"""report.html: an experiment, or several, as one page that needs no network."""

import json
import os
import pathlib
import shlex
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import pandas as pd
import plotly.offline
from markupsafe import Markup

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.report import blocks, curves, figures, formatting, tables

TEMPLATE = "page.html.j2"


class View(NamedTuple):
  """An experiment as the template shows it."""

  id: str
  name: str
  facts: dict[str, str]
  blocks: list[blocks.Block]
  config: str


def write_report(workdirs: Sequence[pathlib.Path], out: pathlib.Path) -> None:
  """Writes one page about one or more experiments, from their files alone.

  The figures of each are written to its figures/ on the way, as PNG and CSV.

  Args:
    workdirs: of the experiments, in the order of the page.
    out: the page; its links to the figures are relative to it.

  Raises:
    UserError: a workdir that is no experiment, or has nothing finished.
  """
  for workdir in workdirs:
    check_experiment(workdir)
  summaries = [read_summary(workdir) for workdir in workdirs]
  names = _names(workdirs)
  views = [
    _view(workdir, summary, name, f"e{i}", out)
    for i, (workdir, summary, name) in enumerate(
      zip(workdirs, summaries, names, strict=True)
    )
  ]
  combined = None
  if len(workdirs) > 1:
    baselines = [curves.read_baselines(workdir) for workdir in workdirs]
    combined = formatting.combined(
      dict(zip(names, summaries, strict=True)),
      dict(zip(names, baselines, strict=True)),
    )
  text = (
    _environment()
    .get_template(TEMPLATE)
    .render(
      title=f"alcurr: {', '.join(names)}",
      command=_command(workdirs, out),
      plotly_js=Markup(plotly.offline.get_plotlyjs()),
      combined=combined,
      views=views,
    )
  )
  out.parent.mkdir(parents=True, exist_ok=True)
  files.write_file(out, lambda file: file.write(text.encode()))


def check_experiment(workdir: pathlib.Path) -> None:
  """Refuses a folder that has nothing to report."""
  if not workdir.is_dir():
    raise UserError(f"{workdir} is no folder; name that of an experiment.")
  try:
    config = files.read_json(workdir / "config.json")
    known = {"samplers", "baseline"} <= set(config)
  except (OSError, ValueError, TypeError):
    known = False
  if not known:
    raise UserError(
      f"{workdir} is no experiment: it has no config.json of one."
    )
  finished = {result["sampler"] for result in tables.read_results(workdir)}
  if not finished:
    raise UserError(f"{workdir} has no finished sampler to report yet.")
  for name, baseline in curves.read_baselines(workdir).items():
    for file in ("metrics.jsonl", "test.npz"):
      path = workdir / "runs" / name / file
      if not path.exists():
        raise UserError(f"{path} is missing; {name!r} was finished before.")
    if baseline not in finished:
      raise UserError(
        f"{workdir}: {baseline!r}, which {name!r} is compared with, has not "
        "finished yet."
      )


def read_summary(workdir: pathlib.Path) -> pd.DataFrame:
  """summary.csv; made anew where it does not hold what has finished."""
  path = workdir / "summary.csv"
  finished = [result["sampler"] for result in tables.read_results(workdir)]
  if path.exists():
    summary = _read_csv(path)
    if sorted(map(str, summary.get("sampler", []))) == sorted(finished):
      return summary
  config = files.read_json(workdir / "config.json")
  return tables.write_tables(workdir, config["baseline"])


def _read_csv(path: pathlib.Path) -> pd.DataFrame:
  """summary.csv as it was written; without rows where it was not so."""
  try:
    # A sampler may be called 1, or None.
    return pd.read_csv(
      path, dtype={"sampler": str}, keep_default_na=False, na_values=[""]
    )
  except ValueError:  # pandas' parser errors and UTF-8's are
    return pd.DataFrame()


def _names(workdirs: Sequence[pathlib.Path]) -> list[str]:
  """What the experiments are called: their folders' names if these differ."""
  names = [workdir.resolve().name for workdir in workdirs]
  if len(set(names)) == len(names):
    return names
  return [f"{i}: {workdir}" for i, workdir in enumerate(workdirs, start=1)]


def _command(workdirs: Sequence[pathlib.Path], out: pathlib.Path) -> str:
  parts = ["python", "-m", "alcurr.report", *map(str, workdirs)]
  if out != workdirs[0] / "report.html":
    parts += ["--out", str(out)]
  return shlex.join(parts)


def _view(
  workdir: pathlib.Path,
  summary: pd.DataFrame,
  name: str,
  prefix: str,
  out: pathlib.Path,
) -> View:
  """Everything that the page says of an experiment."""
  stems = figures.write_figures(workdir)
  shown = []
  for i, block in enumerate(blocks.make_blocks(workdir, summary, stems)):
    name_of = f"{prefix}-{i}"
    shown.append(
      block._replace(
        id=name_of,
        figure=blocks.figure_html(block, workdir, f"{name_of}-figure"),
        files=_files(workdir, block.stem, out),
      )
    )
  config = files.read_json(workdir / "config.json")
  text = json.dumps(config, indent=2, ensure_ascii=False)
  return View(prefix, name, facts(workdir, config), shown, text)


def _files(
  workdir: pathlib.Path, stem: str, out: pathlib.Path
) -> dict[str, str]:
  """Links from the page to the PNG and the CSV of a figure or table."""
  folder = workdir / "figures"
  links = {}
  for suffix in (".png", ".csv"):
    path = folder / f"{stem}{suffix}"
    if path.exists():
      relative = os.path.relpath(path.resolve(), out.resolve().parent)
      links[path.name] = urllib.parse.quote(pathlib.Path(relative).as_posix())
  return links


def facts(workdir: pathlib.Path, config: dict[str, Any]) -> dict[str, str]:
  """What ran: device, versions, date, budget, model, data, trials."""
  results = tables.read_results(workdir)
  ran = [result.get("environment") or {} for result in results]
  versions = dict.fromkeys(
    ", ".join(
      f"{name} {version}"
      for name, version in environment.items()
      if name not in ("device", "date")
    )
    for environment in ran
  )
  data = config.get("data", {})
  sources = (data.get("source"), data.get("dir"))
  classes = data.get("classes")
  wrong = ", ".join(
    f"{result['sampler']}, trial {i}: at step "
    f"{result['trials'][i]['diverged_step']} ({result['trials'][i]['divergence_reason']})"
    for result in results
    for i in tables.wrong_trials(result)
  )
  skipped = ", ".join(
    f"{result['sampler']}: {count}"
    for result in results
    if (count := sum(t.get("skipped_updates", 0) for t in result["trials"]))
  )
  waiting = set(config["samplers"]) - {r["sampler"] for r in results}
  return {
    "samplers": f"{len(results)}, "
    + (
      f"not finished: {', '.join(sorted(waiting))}" if waiting else "all done"
    ),
    "trials": _unique(str(len(result["trials"])) for result in results),
    "budget": f"{config.get('budget', formatting.NONE)} in each run"
    + (", at equal FLOPs" if config.get("budget_basis") == "flops" else ""),
    "model": _unique(_models(config)),
    "data": " ".join(str(part) for part in sources if part)
    + (f", classes: {classes}" if classes else ""),
    "device": _unique(environment.get("device") for environment in ran),
    "date": _unique(environment.get("date") for environment in ran),
    "versions": "; ".join(versions),
    **({"trials left out": wrong} if wrong else {}),
    **({"updates skipped, of all trials": skipped} if skipped else {}),
  }


def _models(config: dict[str, Any]) -> list[str]:
  """The model of all runs, then those that a run has of its own."""
  runs = [sampler.get("run", {}) for sampler in config["samplers"].values()]
  shared = config.get("model", {})
  found = []
  for model in (shared, *(run["model"] for run in runs if "model" in run)):
    name = model.get("name", shared.get("name"))
    weights = model.get("weights", shared.get("weights"))
    found.append(f"{name} from {weights}" if name and weights else name)
  return found


def _unique(values: Any) -> str:
  """The values that differ, in order."""
  return ", ".join(dict.fromkeys(value for value in values if value))


def _environment() -> jinja2.Environment:
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
