"""report.html: experiments as one page that works offline."""

import base64
import json
import os
import pathlib
import shlex
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2
import pandas as pd
import plotly.offline
from markupsafe import Markup

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.report import formatting, interactive, sections, tables
from alcurr.report.gallery import read_gallery


def write_report(workdirs: Sequence[pathlib.Path], out: pathlib.Path) -> None:
  """Writes a page about one or more experiments, from their files alone.

  Also writes the figures of each, as PNG and CSV, to its figures/.

  Args:
    workdirs: of the experiments, in the order of the page.
    out: the page; its links to the figures are relative to it.

  Raises:
    UserError: a workdir that is not an experiment, or has no finished run.
  """
  for workdir in workdirs:
    check_experiment(workdir)
  summaries = [read_summary(workdir) for workdir in workdirs]
  names = [workdir.resolve().name for workdir in workdirs]
  if len(set(names)) < len(names):
    names = [f"{i}: {workdir}" for i, workdir in enumerate(workdirs, start=1)]
  combined = None
  if len(workdirs) > 1:
    combined = formatting.combined(dict(zip(names, summaries, strict=True)))
  command = ["python", "-m", "alcurr.report", *map(str, workdirs)]
  if out != workdirs[0] / "report.html":
    command += ["--out", str(out)]
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
  text = environment.get_template("page.html.j2").render(
    title=f"alcurr: {', '.join(names)}",
    command=shlex.join(command),
    plotly_js=Markup(plotly.offline.get_plotlyjs()),
    combined=combined,
    views=[
      _view(workdir, summaries[i], f"e{i}", out) | {"name": names[i]}
      for i, workdir in enumerate(workdirs)
    ],
  )
  out.parent.mkdir(parents=True, exist_ok=True)
  files.write_file(out, lambda file: file.write(text.encode()))


def check_experiment(workdir: pathlib.Path) -> None:
  """Refuses a folder with nothing to report.

  Raises:
    UserError: it is not an experiment, has no finished run, or lacks files of
      a finished run or its baseline.
  """
  path = workdir / "config.json"
  config = (path.exists() and files.read_record(path)) or {}
  if not {"samplers", "baseline"} <= config.keys():
    text = "expected the config.json of an experiment"
    raise UserError("missing", str(workdir), text)
  results = tables.read_results(workdir)
  finished = {result["sampler"] for result in results}
  if not finished:
    raise UserError("missing", str(workdir), "no sampler has finished yet")
  for result in results:
    name, baseline = result["sampler"], result["baseline"]
    if baseline not in finished:
      text = f"{baseline}, the baseline of {name}, has not finished yet"
      raise UserError("missing", str(workdir), text)
    for file in ("metrics.jsonl", "test.npz"):
      path = workdir / "runs" / name / file
      if not path.exists():
        raise UserError("missing", str(path), f"{name} finished with this file")


def read_summary(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns summary.csv, rewritten if it does not match the finished runs."""
  path = workdir / "summary.csv"
  finished = [result["sampler"] for result in tables.read_results(workdir)]
  if path.exists():
    summary = _read_csv(path)
    if sorted(map(str, summary.get("sampler", []))) == sorted(finished):
      return summary
  return tables.write_tables(workdir)


def _read_csv(path: pathlib.Path) -> pd.DataFrame:
  """Returns summary.csv; empty if it cannot be parsed."""
  names = {"sampler": str, "baseline": str}  # one may be called 1, or None
  try:
    return pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])
  except ValueError:  # pandas' parser errors and UTF-8's are
    return pd.DataFrame()


def _view(
  workdir: pathlib.Path, summary: pd.DataFrame, prefix: str, out: pathlib.Path
) -> dict[str, Any]:
  """Writes an experiment's figures; returns what the template shows of it."""
  views = []
  for i, section in enumerate(sections.make_sections(workdir, summary)):
    paths = _write_files(workdir, section)
    table = section.table
    if table is None and section.figure is None:
      table = formatting.any_table(section.data)
    views.append(
      {
        "id": f"{prefix}-{i}",
        "title": section.title,
        "text": section.text,
        "table": table,
        "figure": _figure(section, paths, f"{prefix}-{i}-figure"),
        "links": {path.name: _link(path, out) for path in paths},
      }
    )
  config = files.read_json(workdir / "config.json")
  return {
    "id": prefix,
    "facts": facts(workdir, config),
    "sections": views,
    "config": json.dumps(config, indent=2, ensure_ascii=False),
  }


def _write_files(
  workdir: pathlib.Path, section: sections.Section
) -> list[pathlib.Path]:
  """Writes figures/<stem>.png, if there is a figure, and figures/<stem>.csv."""
  csv = workdir / "figures" / f"{section.stem}.csv"
  csv.parent.mkdir(exist_ok=True)
  tables.write_csv(csv, section.data)
  if section.figure is None:
    return [csv]
  png = csv.with_suffix(".png")
  files.write_file(
    png, lambda file: section.figure.savefig(file, format="png", dpi=120)
  )
  return [png, csv]


def _figure(
  section: sections.Section, paths: list[pathlib.Path], name: str
) -> str:
  """Returns the figure of a section as HTML, or ""."""
  if section.chart is not None:
    return Markup(interactive.to_html(section.chart, name))
  if section.figure is None:
    return ""
  source = base64.b64encode(paths[0].read_bytes()).decode()
  image = Markup('<img alt="{}" src="data:image/png;base64,{}">')
  return image.format(section.title, source)


def _link(path: pathlib.Path, out: pathlib.Path) -> str:
  relative = os.path.relpath(path.resolve(), out.resolve().parent)
  return urllib.parse.quote(pathlib.Path(relative).as_posix())


def facts(workdir: pathlib.Path, config: dict[str, Any]) -> dict[str, str]:
  """Returns what ran: budget, model, data, trials, device, versions, date."""
  results = tables.read_results(workdir)
  environments = [result.get("environment") or {} for result in results]
  trials = [
    (f"{result['sampler']}, trial {i}", trial)
    for result in results
    for i, trial in enumerate(result["trials"])
  ]
  data = config.get("data", {})
  gallery = read_gallery(workdir)
  classes = len(gallery.info["class_names"]) if gallery else 0
  waiting = sorted(set(config["samplers"]) - {r["sampler"] for r in results})
  status = f"not finished: {', '.join(waiting)}" if waiting else "all finished"
  rows = {
    "samplers": f"{len(results)}, {status}",
    "trials": _unique(str(len(result["trials"])) for result in results),
    "budget": f"{config.get('budget', formatting.NONE)} per trial"
    + ", at equal FLOPs" * (config.get("budget_basis") == "flops"),
    "model": _unique(_models(config)),
    "data": " ".join(filter(None, (data.get("source"), data.get("dir"))))
    + f", {classes} classes" * bool(classes),
    "device": _unique(e.get("device") for e in environments),
    "date": _unique(e.get("date") for e in environments),
    "versions": _unique(
      f"{package} {version}"
      for environment in environments
      for package, version in environment.items()
      if package not in ("device", "date")
    ),
    "diverged": ", ".join(
      f"{name}: at step {trial['diverged_step']} ({trial['divergence_reason']})"
      for name, trial in trials
      if trial.get("diverged_step")
    ),
    "skipped updates": ", ".join(
      f"{name}: {trial['skipped_updates']}"
      for name, trial in trials
      if trial.get("skipped_updates")
    ),
  }
  return {name: text for name, text in rows.items() if text}


def _models(config: dict[str, Any]) -> Iterable[str | None]:
  """Yields the model of all runs, then those of single runs."""
  runs = [sampler.get("run", {}) for sampler in config["samplers"].values()]
  shared = config.get("model", {})
  for model in (shared, *(run["model"] for run in runs if "model" in run)):
    name = model.get("name", shared.get("name"))
    weights = model.get("weights", shared.get("weights"))
    yield f"{name} from {weights}" if name and weights else name


def _unique(values: Iterable[str | None]) -> str:
  """Returns the different values, in order."""
  return ", ".join(dict.fromkeys(value for value in values if value))
