"""report.html: experiments as one page that works offline."""

import base64
import contextlib
import io
import json
import pathlib
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
import pandas as pd
import plotly.offline
from markupsafe import Markup

from alcurr.core import environment, files, paths
from alcurr.core.errors import UserError
from alcurr.data import array_files
from alcurr.report import (
  formatting,
  interactive,
  sections,
  style,
  tables,
  verdict,
)
from alcurr.report.gallery import Gallery, read_gallery

_NARROW = 600  # pixels of a figure that may shrink on a narrow screen
# What runs have in common, by `budget_basis`.
_BASES = {
  "flops": "at equal FLOPs, with the scores before training",
  "step_flops": "at equal FLOPs of training, scores before it not charged",
}


def write_report(
  workdirs: Sequence[str | pathlib.Path],
  out: str | pathlib.Path,
  option: str = "path",
) -> None:
  """Writes a page about one or more experiments, from their files alone.

  Also writes the figures of each experiment to its figures/, as PNG and CSV,
  unless that cannot be written to. The page `out` holds them all, and may be
  copied alone.

  Raises:
    UserError: a workdir that is not an experiment, or has no finished run; or
      at `option`, a page that cannot be written.
  """
  out = paths.absolute(out, option)
  workdirs = [paths.absolute(workdir, "workdirs") for workdir in workdirs]
  if out.is_dir():
    raise UserError("argument", option, f"expected a file, {out} is a folder")
  paths.check_can_make(out.parent, option)
  for workdir in workdirs:
    check_experiment(workdir)
  names = [workdir.resolve().name for workdir in workdirs]
  if len(set(names)) < len(names):
    names = [f"{i}: {workdir}" for i, workdir in enumerate(workdirs, start=1)]
  summaries = dict(zip(names, map(read_summary, workdirs), strict=True))
  command = ["python", "-m", "alcurr.report", *map(_shown, workdirs)]
  if out != workdirs[0] / "report.html":
    command += ["--out", _shown(out)]
  template = jinja2.Template(
    pathlib.Path(__file__).with_name("page.html.j2").read_text("utf-8"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
  text = template.render(
    title=f"alcurr: {', '.join(names)}",
    command=shlex.join(command),
    plotly_js=Markup(plotly.offline.get_plotlyjs()),
    heading=names[0] if len(names) == 1 else f"{len(names)} experiments",
    combined=_grid(formatting.combined(summaries)) if names[1:] else None,
    views=[
      {"name": name, **_view(workdirs[i], summaries[name], f"e{i}")}
      for i, name in enumerate(names)
    ],
  )
  out.parent.mkdir(parents=True, exist_ok=True)
  # A folder's name need not be text.
  content = text.encode(errors="backslashreplace")
  files.write_file(out, lambda file: file.write(content))


def _shown(path: pathlib.Path) -> str:
  """Returns a path as a reader of the page may use it, from the same folder."""
  here = pathlib.Path.cwd()
  return str(path.relative_to(here) if path.is_relative_to(here) else path)


def has_baselines(workdir: pathlib.Path) -> bool:
  """Returns whether any run has finished, and the baseline of each that has."""
  results = tables.read_results(workdir)
  finished = {result["sampler"] for result in results}
  return bool(results) and finished >= {r["baseline"] for r in results}


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
        text = f"expected this file of {name}, which has finished"
        raise UserError("missing", str(path), text)


def read_summary(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns summary.csv, rewritten if it does not match the finished runs."""
  results = tables.read_results(workdir)
  finished = [result["sampler"] for result in results]
  # Pandas' parser errors and UTF-8's are ValueErrors.
  with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
    # A sampler may be called 1, or None.
    names = ("sampler", "baseline")
    summary = tables.read_csv(workdir / "summary.csv", names)
    if sorted(map(str, summary["sampler"])) == sorted(finished):
      return summary.astype({"trials_diverged": int})
  if paths.can_write(workdir):
    return tables.write_tables(workdir)
  return tables.summary_table(workdir, results)


def _view(
  workdir: pathlib.Path, summary: pd.DataFrame, prefix: str
) -> dict[str, Any]:
  """Writes an experiment's figures; returns what the template shows of it."""
  folder = workdir / "figures"
  # An experiment may be read from where nothing can be written.
  writable = paths.can_write(folder)
  if writable:
    files.make_folder(folder)
  parts = []
  for i, section in enumerate(sections.make_sections(workdir, summary)):
    image, png = "", io.BytesIO()
    written = {f"{section.stem}.csv": tables.to_csv(section.data)}
    data = {name: _embedded("text/csv", csv) for name, csv in written.items()}
    if section.figure is not None:
      style.save(section.figure, png)
      image = _image(section, png.getvalue())
      written[f"{section.stem}.png"] = png.getvalue()
    for name, content in written.items() if writable else ():
      files.write_file(folder / name, lambda file, c=content: file.write(c))
    chart = None
    if section.chart is not None:
      chart = interactive.to_html(section.chart, f"{prefix}-{i}-figure")
    parts.append(
      {
        "section": section,
        "image": image,
        "kind": style.kind(section.figure),
        "chart": chart,
        "table": None if section.table is None else _grid(section.table),
        "data": data,
      }
    )
  config = files.read_json(workdir / "config.json")
  return {
    "id": prefix,
    "verdict": verdict.describe(workdir, summary),
    "facts": facts(workdir, config),
    "parts": parts,
    "config": json.dumps(config, indent=2, ensure_ascii=False),
  }


def _image(section: sections.Section, png: bytes) -> Markup:
  """Returns a figure as an image with the size that its fonts are made for."""
  width = round(section.figure.get_figwidth() * style.CSS_DPI)
  name = "small" if width < _NARROW else ""
  image = Markup('<img alt="{}" class="{}" width="{}" src="{}">')
  source = _embedded("image/png", png)
  return image.format(section.title, name, width, source)


def _embedded(kind: str, content: bytes) -> str:
  """Returns the address of a file that is part of the page."""
  return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _grid(table: pd.DataFrame) -> dict[str, Any]:
  """Returns what the template shows of a table of texts.

  Columns are numbers, which are flush right, if most cells begin with one.
  """
  columns = [(name, "") for name in table.columns[:1]]
  for name in table.columns[1:]:
    numbers = table[name].astype(str).str.match(r"[-+]?[\d.]|-$").mean() > 0.5
    # The sign stays with its number.
    name = name.replace(" %", "\N{NO-BREAK SPACE}%")
    columns.append((name, "number" if numbers else ""))
  rows = table.itertuples(index=False, name=None)
  return {"columns": columns, "rows": [*rows]}


def facts(workdir: pathlib.Path, config: dict[str, Any]) -> dict[str, str]:
  """Returns what ran: budget, model, data, trials, device, versions, date."""
  results = tables.read_results(workdir)
  environments = [result.get("environment", {}) for result in results]
  diverged, skipped = [], []
  for result in results:
    for i, trial in enumerate(result["trials"]):
      name = f"{result['sampler']}, trial {i}"
      if step := trial.get("diverged_step"):
        reason = trial["divergence_reason"]
        diverged.append(f"{name}: at step {step} ({reason})")
      if updates := trial.get("skipped_updates"):
        skipped.append(f"{name}: {updates}")
  gallery = read_gallery(workdir)
  waiting = sorted(set(config["samplers"]) - {r["sampler"] for r in results})
  status = f"not finished: {', '.join(waiting)}" if waiting else "all finished"
  rows = {
    "samplers": [f"{len(results)}, {status}"],
    "trials": [str(len(result["trials"])) for result in results],
    "budget": [
      f"{config['budget']} per trial",
      _BASES.get(config.get("budget_basis")),
    ],
    "scores": [
      f"{name}: {'from a file' if flops is None else f'{flops:.3g} FLOPs'}"
      for result in results
      for name, flops in result.get("scores", {}).items()
    ],
    "model": _models(config),
    "data": [
      _place(config["data"]["source"], config["data"]["dir"]),
      *(
        _place(split, place)
        for split in ("valid", "test", "probe")
        if (place := config["data"].get(f"{split}_dir"))
      ),
      gallery and _outputs(gallery, config),
    ],
    "device": [record.get("device") for record in environments],
    "date": [record.get("date") for record in environments],
    "versions": [
      f"{package} {version}"
      for record in environments
      for package, version in record.items()
      if package in environment.VERSIONS
    ],
    "diverged": diverged,
    "skipped updates": skipped,
  }
  # What is not empty, without repetition.
  texts = {k: dict.fromkeys(filter(None, v)) for k, v in rows.items()}
  return {name: ", ".join(text) for name, text in texts.items() if text}


def _place(name: str, place: str) -> str:
  """Returns a source or a split with its place, unless that is of the cache."""
  if array_files.is_of_arrays(place):
    return "given arrays" if name == "npz" else f"{name}: given arrays"
  return f"{name} {place}".strip()


def _outputs(gallery: Gallery, config: dict[str, Any]) -> str:
  if config["data"].get("regression"):
    count = len(gallery.info["target_mean"])
    return f"{count} number{'s' * (count > 1)} to predict"
  return f"{len(gallery.info['class_names'])} classes"


def _models(config: dict[str, Any]) -> Iterator[str | None]:
  """Yields the model of all runs, then those of single runs."""
  runs = (sampler.get("run", {}) for sampler in config["samplers"].values())
  for changes in ({}, *(run["model"] for run in runs if "model" in run)):
    model = config.get("model", {}) | changes
    name, weights = model.get("name"), model.get("weights")
    yield f"{name} from {weights}" if name and weights else name
