"""Generated pages of the documentation are up to date."""

import importlib.util
import pathlib

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def test_the_page_of_errors_is_up_to_date():
  spec = importlib.util.spec_from_file_location("make", DOCS / "make_errors.py")
  make = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(make)
  page = (DOCS / "errors.md").read_text(encoding="utf-8")
  assert page == make.make_page(), "python docs/make_errors.py"
