"""Forged and damaged files are refused, and nothing outside is written."""

import json
import pathlib

import pytest

from alcurr.core.errors import UserError
from alcurr.report import page


def _change(path: pathlib.Path, **changes: object) -> None:
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "..", "a/b", "."])
def test_names_do_not_lead_out_of_the_workdir(make_experiment, tmp_path, name):
  workdir = make_experiment("deep/er/it")
  _change(
    workdir / "config.json",
    samplers={"uniform": {"name": "uniform"}, name: {"name": "uniform"}},
  )
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(UserError):
    page.write_report([workdir], workdir / "report.html")
  assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
  "content", ["{", "[]", "\0", "{}", '{"sampler": "../x"}', "[" * 100_000]
)
def test_a_damaged_result_is_refused(make_experiment, content):
  workdir = make_experiment()
  path = workdir / "runs/uniform/result.json"
  path.write_text(content)
  with pytest.raises(UserError) as error:
    page.write_report([workdir], workdir / "report.html")
  assert (error.value.code, error.value.place) == ("damaged", str(path))


def test_a_torn_line_of_metrics_is_refused(make_experiment):
  workdir = make_experiment()
  path = workdir / "runs/uniform/metrics.jsonl"
  path.write_text(path.read_text()[:-9])
  with pytest.raises(UserError) as error:
    page.write_report([workdir], workdir / "report.html")
  assert (error.value.code, error.value.place) == ("damaged", str(path))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a,b\n1\n1,2,3\n"])
def test_a_damaged_summary_is_rewritten(make_experiment, content):
  workdir = make_experiment()
  good = page.read_summary(workdir)
  (workdir / "summary.csv").write_bytes(content)
  assert list(page.read_summary(workdir).sampler) == list(good.sampler)
