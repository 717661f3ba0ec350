"""The page works offline, shows what the files say, and escapes every name."""

import base64
import html.parser
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from refusal import refused
from toy_report import BANDIT, EVIL

from alcurr.core.errors import UserError
from alcurr.experiments.comparison import Comparison
from alcurr.report import __main__ as main__
from alcurr.report import page, sections


class _Page(html.parser.HTMLParser):
  """Tags, attributes, texts and scripts as a browser reads them."""

  def __init__(self, text: str):
    super().__init__()
    self.tags: list[str] = []
    self.attributes: list[tuple[str, str, str | None]] = []
    self.scripts: list[str] = []
    self.texts: list[str] = []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += [(tag, key, value) for key, value in attrs]

  def handle_data(self, data):
    inside = self.get_starttag_text() or ""
    (self.scripts if inside.startswith("<script") else self.texts).append(data)

  def values(self, tag: str, key: str) -> list[str]:
    return [v for t, k, v in self.attributes if (t, k) == (tag, key)]


@pytest.fixture(scope="module")
def written(experiment, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("page") / "it"
  shutil.copytree(experiment, workdir)
  page.write_report([workdir], workdir / "report.html")
  return workdir, _Page((workdir / "report.html").read_text())


def test_nothing_is_fetched(written):
  _, read = written
  assert not {"link", "iframe", "object", "embed"} & set(read.tags)
  assert read.values("script", "src") == []
  assert all(s.startswith("data:") for s in read.values("img", "src"))
  for href in read.values("a", "href"):
    assert href.startswith(("#", "data:text/csv;base64,"))
  (policy,) = read.values("meta", "content")[:1]
  assert "default-src 'none'" in policy
  assert "connect-src" not in policy


def test_one_figure_is_interactive(written):
  workdir, read = written
  assert sum("* plotly.js v" in script for script in read.scripts) == 1
  # One interactive chart; all figures are the PNG files, that too in print.
  assert sum("Plotly.newPlot" in s[:5000] for s in read.scripts) == 1
  shown = {base64.b64decode(s.split(",")[1]) for s in read.values("img", "src")}
  files = {p.read_bytes() for p in (workdir / "figures").glob("*.png")}
  assert shown == files


def test_every_name_is_a_text(written):
  _, read = written
  assert not any(s.lstrip().startswith("alert") for s in read.scripts)
  assert "b" not in read.tags
  words = " ".join(read.texts)
  assert BANDIT in words
  assert "</pre><script>alert(2)</script>" in words
  data = "".join(s for s in read.scripts if "* plotly.js v" not in s)
  assert "<b>" not in data
  assert "<script>alert" not in data


def test_every_figure_is_a_png_with_its_csv(written):
  workdir, read = written
  figures = workdir / "figures"
  for png in figures.glob("*.png"):
    assert png.read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(png.with_suffix(".csv"))) > 0
  stems = {path.stem for path in figures.glob("*.png")}
  assert stems == {
    *("learning_curves", "train_and_valid_loss", "accuracy_against_cost"),
    *("least_and_most", "hard_and_easy", "difficulty_by_class"),
    *("summary", "pool_seen", f"policy_{BANDIT}"),
  }
  # The page has the tables itself, and can be copied alone.
  links = [h for h in read.values("a", "href") if not h.startswith("#")]
  tables = [base64.b64decode(link.split(",")[1]) for link in links]
  downloads = dict(zip(read.values("a", "download"), tables, strict=True))
  assert downloads == {p.name: p.read_bytes() for p in figures.glob("*.csv")}


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(written):
  _, read = written
  ids = [value for _, key, value in read.attributes if key == "id"]
  assert len(ids) == len(set(ids))
  inner = [h[1:] for h in read.values("a", "href") if h.startswith("#")]
  assert inner
  assert set(inner) <= set(ids)


def test_the_page_says_what_the_files_say(written):
  """Both reach 0.2 and 0.4 of valid top-1; only the bandit at half the cost."""
  workdir, read = written
  words = [text.strip() for text in read.texts]
  for fact in ("1 epoch per trial", "cnn", "<cpu>", "2026-01-01"):
    assert fact in words
  assert f"python -m alcurr.report {workdir}" in words
  # Ranks 0 to 4 in turn: top-1 is 20 %, top-3 60 %, the same in both trials.
  summary = pd.read_csv(workdir / "figures/summary.csv")
  assert summary["top1"].tolist() == [0.2, 0.2]
  assert "20.00 ± 0.00" in words
  costs = pd.read_csv(workdir / "figures/costs.csv").set_index("sampler")
  # 0.4 is reached at step 20 of 0.5 s each instead of 40; scoring took 5 s.
  assert costs.loc[BANDIT, "saved_seconds"] == 10
  assert costs.loc[BANDIT, "payback_runs"] == 0.5
  # Levels that nobody reached have no row.
  assert "not reached" not in words and "0 of 2" not in words
  paper = pd.read_csv(workdir / "figures/paper_table_1.csv")
  assert paper["sampler"].tolist() == ["uniform"]
  assert paper["paper_top3"].tolist() == [0.8983]
  assert paper["top3"].tolist() == [0.6]
  assert paper["low"][0] < 0.6 < paper["high"][0]


@pytest.mark.usefixtures("one_pixel")
def test_optional_sections_are_shown(make_experiment, monkeypatch):
  workdir = make_experiment()
  table = pd.DataFrame({"sampler": [EVIL[0]], "regret": [1.23456789]})
  table.attrs = {"base": "uniform", "best": EVIL[1], "count": 2}
  optional = {
    "regret": lambda workdir: table,
    "effects": lambda workdir: pd.DataFrame(),
  }
  monkeypatch.setattr(sections, "OPTIONAL", optional)
  page.write_report([workdir], workdir / "report.html")
  words = _Page((workdir / "report.html").read_text()).texts
  assert {"Regret to the best fixed policy", EVIL[0], "1.235"} <= set(words)
  assert any(f"the best fixed policy: {EVIL[1]}." in text for text in words)
  assert not any("factorial" in text for text in words)
  data = pd.read_csv(workdir / "figures/regret.csv")
  assert data["regret"].tolist() == pytest.approx([1.23456789], rel=1e-5)


@pytest.mark.usefixtures("one_pixel")
def test_several_experiments_are_compared(make_experiment, tmp_path):
  first, second = make_experiment("first"), make_experiment("second")
  out = tmp_path / "pages" / "both.html"
  status = main__.main([str(first), str(second), "--out", str(out)])
  assert status == 0
  read = _Page(out.read_text())
  for title in ("All experiments", "first", "second"):
    assert title in read.texts
  assert sum("* plotly.js v" in script for script in read.scripts) == 1
  names = read.values("a", "download")
  assert names.count("summary.csv") == 2


@pytest.mark.usefixtures("one_pixel")
def test_an_experiment_without_a_gallery_or_a_summary(make_experiment):
  workdir = make_experiment()
  (workdir / "gallery.npz").unlink()
  page.write_report([workdir], workdir / "report.html")
  assert (workdir / "summary.csv").exists()
  read = _Page((workdir / "report.html").read_text())
  assert "Summary" in read.texts
  assert not any("informative" in title for title in read.texts)


def _unfinished(workdir: pathlib.Path, name: str) -> None:
  (workdir / "runs" / name / "result.json").unlink()


def _none_finished(workdir: pathlib.Path) -> None:
  _unfinished(workdir, "uniform")
  _unfinished(workdir, BANDIT)


def _broken(workdir: pathlib.Path) -> None:
  (workdir / "config.json").write_text("{")


@pytest.mark.parametrize(
  ("spoil", "place"),
  [
    (_none_finished, ""),
    (lambda workdir: _unfinished(workdir, "uniform"), ""),
    (_broken, ""),
    (
      lambda workdir: (workdir / "runs/uniform/metrics.jsonl").unlink(),
      "runs/uniform/metrics.jsonl",
    ),
    (lambda workdir: (workdir / "config.json").unlink(), ""),
  ],
)
def test_a_missing_file_is_reported_in_a_line(
  make_experiment, capsys, spoil, place
):
  workdir = make_experiment()
  spoil(workdir)
  with pytest.raises(UserError) as error:
    page.write_report([workdir], workdir / "report.html")
  assert error.value.code == "missing"
  assert error.value.place == str(workdir / place)
  assert main__.main([str(workdir)]) == 2
  text = capsys.readouterr().err
  assert text.startswith(f"alcurr: {workdir / place}: ")
  assert text.count("\n") == 1


@pytest.mark.parametrize(
  "argv", [[], ["missing"], ["."], [".", "--frobnicate"], [".", "--out", "."]]
)
def test_a_mistake_in_the_arguments(tmp_path, monkeypatch, capsys, argv):
  monkeypatch.chdir(tmp_path)
  assert main__.main(argv) == 2
  error = capsys.readouterr().err
  assert error.startswith("alcurr: ")
  assert error.count("\n") == 1


@pytest.mark.usefixtures("one_pixel")
def test_an_unfinished_sampler_is_named(make_experiment):
  workdir = make_experiment()
  _unfinished(workdir, BANDIT)
  page.write_report([workdir], workdir / "report.html")
  read = _Page((workdir / "report.html").read_text())
  assert f"1, not finished: {BANDIT}" in read.texts


def test_a_model_is_named_with_its_weights(make_experiment):
  workdir = make_experiment()
  path = workdir / "config.json"
  config = json.loads(path.read_text())
  config["model"] = {"name": "mobilenet", "weights": "imagenet.h5"}
  config["samplers"]["uniform"]["run"] = {"model": {"weights": ""}}
  path.write_text(json.dumps(config))
  facts = page.facts(workdir, config)
  assert facts["model"] == "mobilenet from imagenet.h5, mobilenet"


def test_the_data_are_described_by_the_pool_and_not_by_the_config(written):
  """The config's default is 30 classes; the data have 4, and no drawings."""
  workdir, read = written
  config = json.loads((workdir / "config.json").read_text())
  facts = page.facts(workdir, config)
  assert facts["data"].endswith(", 4 classes")
  assert not any("drawing" in text.lower() for text in read.texts)
  (workdir / "gallery.npz").rename(workdir / "other.npz")
  assert "classes" not in page.facts(workdir, config)["data"]
  (workdir / "other.npz").rename(workdir / "gallery.npz")


@pytest.mark.parametrize("has_paper", [True, False])
def test_only_the_papers_experiment_refers_to_it(make_experiment, has_paper):
  workdir = make_experiment()
  path = workdir / "config.json"
  config = json.loads(path.read_text())
  if not has_paper:
    del config["paper"]
    path.write_text(json.dumps(config))
  made = sections.make_sections(workdir, page.read_summary(workdir))
  titles = [section.title for section in made]
  numbered = [title for title in titles if "of the paper" in title]
  # Table I, and figures 4, 5, 8, 1, 2 and 3.
  assert len(numbered) == (7 if has_paper else 0)


def test_it_is_a_program():
  command = [sys.executable, "-m", "alcurr.report", "--help"]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert "DIR" in done.stdout


def test_a_config_is_shown_whole(written):
  workdir, read = written
  config = json.loads((workdir / "config.json").read_text())
  shown = [text for text in read.texts if '"thresholds"' in text]
  assert [json.loads(text) for text in shown] == [config]


@pytest.mark.usefixtures("one_pixel")
def test_a_folder_that_cannot_be_written_to(
  make_experiment, tmp_path, monkeypatch
):
  """As root, who may write anywhere, tests see it by `os.access` alone."""
  workdir, access = make_experiment(), os.access
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}

  def on_read_only_disk(path, mode):
    is_there = pathlib.Path(path).is_relative_to(workdir)
    return access(path, mode) and not (is_there and mode & os.W_OK)

  monkeypatch.setattr(os, "access", on_read_only_disk)
  result = Comparison(workdir)
  assert set(result.summary["sampler"]) == {"uniform", BANDIT}
  result.report(tmp_path / "page.html")
  read = _Page((tmp_path / "page.html").read_text())
  assert "Summary" in read.texts and read.values("img", "src")
  assert "summary.csv" in read.values("a", "download")
  assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before
  with refused("disk", "--out"):
    page.write_report([workdir], workdir / "report.html", "--out")


def test_figures_elsewhere_are_not_overwritten(make_experiment, tmp_path):
  workdir = make_experiment()
  (tmp_path / "elsewhere").mkdir()
  (workdir / "figures").symlink_to(tmp_path / "elsewhere")
  with refused("exists", workdir / "figures"):
    page.write_report([workdir], tmp_path / "page.html")
  assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["gallery.npz", f"runs/{BANDIT}/test.npz"])
def test_a_fifo_is_not_opened(make_experiment, tmp_path, name):
  workdir = make_experiment()
  (workdir / name).unlink()
  os.mkfifo(workdir / name)
  with refused("data", workdir / name):
    page.write_report([workdir], tmp_path / "page.html")


def test_an_experiment_stays_where_it_was(make_experiment, monkeypatch):
  workdir = make_experiment()
  monkeypatch.chdir(workdir.parent)
  result = Comparison(workdir.name)
  monkeypatch.chdir("/")
  assert result.workdir == workdir and len(result.summary)
