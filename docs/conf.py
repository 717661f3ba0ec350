"""Builds the documentation: sphinx-build docs site.

ALCURR_EXECUTE=1 runs the notebooks of EXECUTED, so that their pages have
outputs. The notebooks are stored without them.
"""

import os
import pathlib
import re
import shutil

import alcurr

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
# Notebooks that take about a minute each.
EXECUTED = {"quickstart", "several_sources", "wrong_labels", "your_loop"}
REPOSITORY = "https://github.com/alcurr/alcurr"

project = "alcurr"
author = "the authors of alcurr"
project_copyright = author
version = release = alcurr.__version__

extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
  "sphinx.ext.viewcode",
  "sphinx_copybutton",
  "sphinx_design",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
nb_execution_mode = "force" if os.environ.get("ALCURR_EXECUTE") else "off"
nb_execution_excludepatterns = [
  f"{path.stem}.ipynb"
  for path in (ROOT / "colabs").glob("*.ipynb")
  if path.stem not in EXECUTED
]
nb_execution_timeout = 900
nb_output_stderr = "remove"  # bars of progress, and warnings about them
nb_execution_raise_on_error = True

autodoc_mock_imports = ["grain", "tensorflow"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
default_role = "code"
napoleon_numpy_docstring = False

html_theme = "sphinx_book_theme"
html_title = "alcurr"
html_theme_options = {
  "repository_url": REPOSITORY,
  "repository_branch": "main",
  "path_to_docs": "docs",
  "use_repository_button": True,
  "use_issues_button": True,
  "show_toc_level": 2,
  "navbar_persistent": [],
}
html_static_path = ["_static"]
html_css_files = ["alcurr.css"]

# Files of the repository that are pages here.
PAGES = {
  "results/README.md": "measurements.md",
  "benchmarks/README.md": "speed.md",
  "CONTRIBUTING.md": "contributing.md",
  "SECURITY.md": "security.md",
  "CHANGELOG.md": "changelog.md",
}


# Headings of the README that a page here includes.
_LOOPS = ("your-own-flax-loop", "your-own-pytorch-loop")


def _link(target: str, folder: pathlib.Path) -> str:
  """Returns a link of a file in `folder`, as the site has it."""
  path, _, anchor = target.partition("#")
  if not path or "://" in path or path.startswith("mailto:"):
    return target
  full = (folder / path).resolve()
  if full.is_relative_to(DOCS):
    return str(full.relative_to(DOCS)) + (anchor and f"#{anchor}")
  name = full.relative_to(ROOT).as_posix()
  if name == "README.md":
    return f"getting_started.md#{anchor}" if anchor in _LOOPS else "index.md"
  if name in PAGES:
    return PAGES[name] + (anchor and f"#{anchor}")
  if full.parent == ROOT / "colabs" and full.suffix == ".ipynb":
    return f"tutorials/{full.name}"
  if full.suffix == ".png":
    return target
  kind = "tree" if full.is_dir() else "blob"
  return f"{REPOSITORY}/{kind}/main/{name}" + (anchor and f"#{anchor}")


def _read(app, name: str, source: list[str]) -> None:
  """Puts in included files, and corrects the links of a page."""
  folder = DOCS
  if match := re.match(r"```{include} (\S+)\n```\n", source[0]):
    path = (DOCS / match[1]).resolve()
    folder, source[0] = path.parent, path.read_text(encoding="utf-8")
  if (DOCS / name).parent == DOCS:
    source[0] = re.sub(
      r"(?<=\])\(([^)\s]+)\)",
      lambda match: f"({_link(match[1], folder)})",
      source[0],
    )


# Pages of the reference: the module, and what its page is called.
REFERENCE = {
  "alcurr": "alcurr",
  "alcurr.samplers": "Samplers",
  "alcurr.samplers.policies": "Policies",
  "alcurr.samplers.scores": "Scores of candidates",
  "alcurr.bandits": "Bandits",
  "alcurr.bandits.gains": "Gains",
  "alcurr.bandits.rewards": "Rewards",
  "alcurr.core.schedules": "Schedules",
  "alcurr.data": "Data",
  "alcurr.models": "Models",
  "alcurr.training": "Training",
  "alcurr.training.losses": "Losses",
  "alcurr.integrations": "Streams",
  "alcurr.integrations.torch": "PyTorch",
  "alcurr.integrations.grain": "grain",
  "alcurr.integrations.tf_data": "tf.data",
  "alcurr.testing": "Laws as tests",
  "alcurr.types": "Records",
  "alcurr.core.errors": "Errors",
}


def _make_pages(app) -> None:
  """Writes the pages of the reference, and copies the notebooks."""
  for name in ("api", "tutorials"):
    shutil.rmtree(DOCS / name, ignore_errors=True)
    (DOCS / name).mkdir()
  for path in (ROOT / "colabs").glob("*.ipynb"):
    # The badge is a picture of another site: a broken one, offline.
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"!\[(Open in Colab)\]\([^)]*\)", r"\1", text)
    (DOCS / "tutorials" / path.name).write_text(text, encoding="utf-8")
  for module, title in REFERENCE.items():
    members = "Comparison, compare, find_label_issues" * (module == "alcurr")
    page = f"# {title}\n\n```{{eval-rst}}\n.. automodule:: {module}\n"
    page += f"   :members: {members}\n```\n"
    (DOCS / f"api/{module}.md").write_text(page, encoding="utf-8")
  page = "# Reference\n\nEvery public name, a page for each module.\n\n"
  page += "```{toctree}\n:maxdepth: 1\n\n"
  page += "".join(f"{module}\n" for module in REFERENCE) + "```\n"
  (DOCS / "api/index.md").write_text(page, encoding="utf-8")


def _escape(app, what, name, obj, options, lines: list[str]) -> None:
  """Escapes what reStructuredText takes for markup: docstrings have none.

  Only `code` is marked. Indented examples become blocks of code.
  """
  text, in_block = [], False
  for i, line in enumerate(lines):
    if line.strip() or what != "module":
      follows = in_block or not "".join(lines[i - 1 : i]).strip()
      in_code = what == "module" and line.startswith("  ") and follows
      text += ["::", ""] if in_code and not in_block else []
      in_block = in_code
    if in_block:
      text.append(line)
      continue
    parts = re.split(r"(`[^`]*`)", line)
    parts[::2] = [re.sub(r"([*|_\\])", r"\\\1", part) for part in parts[::2]]
    # A letter with a point would begin a list.
    text.append(re.sub(r"(?<=: )([A-Z]\.)(?=\s|$)", r"\\\1", "".join(parts)))
  lines[:] = text


def _shorten(app, what, name, obj, options, signature, returned):
  """Leaves out defaults that are functions, or records of them."""
  function = r"<function (?:[^()<>]|<\w+>)*>"
  record = rf"\((?:{function}|\(\)|[\w, ])*\)"
  if signature:
    default = rf"= (?:(?=\(<function){record}|{function})"
    signature = re.sub(default, "= ...", signature)
  return signature, returned


def _skip(app, what, name, obj, skip, options) -> bool | None:
  """Leaves out the fields of records; their comments are in the source."""
  doc = getattr(obj, "__doc__", None) or ""
  return True if doc.startswith("Alias for field number") else None


def setup(app) -> None:
  """Connects the functions above."""
  app.connect("builder-inited", _make_pages)
  app.connect("source-read", _read)
  app.connect("autodoc-process-docstring", _escape, priority=100)
  app.connect("autodoc-process-signature", _shorten)
  app.connect("autodoc-skip-member", _skip)
