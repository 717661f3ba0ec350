"""Generated pages of the documentation are up to date."""

import importlib.util
import pathlib

import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["errors", "samplers"])
def test_a_generated_page_is_up_to_date(name):
  script = DOCS / f"make_{name}.py"
  spec = importlib.util.spec_from_file_location("make", script)
  make = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(make)
  page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
  assert page == make.make_page(), f"python docs/make_{name}.py"
