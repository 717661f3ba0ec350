"""The guarantees of SECURITY.md about the code as a whole."""

import ast
import pathlib
import re

import numpy as np
import pytest

from alcurr.core.errors import UserError
from alcurr.data import array_files, sources
from configs import default

FETCHES = ("http.client", "urllib.request")
ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted((ROOT / "alcurr").rglob("*.py"))
# Modules that execute what they read, or access the network.
UNSAFE = {
  *("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch"),
  *("socket", "http", "ftplib", "smtplib", "requests", "urllib3"),
}


def _nodes(kind):
  for path in SOURCES:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if isinstance(node, kind):
        yield path.relative_to(ROOT), node


def _importers(module: str) -> set[str]:
  """Returns the files that import a module of `alcurr.data`."""
  return {
    str(path)
    for path, node in _nodes(ast.Import | ast.ImportFrom)
    if module in ast.unparse(node).replace(",", " ").replace(".", " ").split()
  }


def test_no_module_unpickles_evaluates_or_fetches():
  imported = {
    (str(path), name)
    for path, node in _nodes(ast.Import | ast.ImportFrom)
    for name in (
      [alias.name for alias in node.names]
      if isinstance(node, ast.Import)
      else [node.module]
    )
  }
  unsafe = {x for x in imported if x[1].split(".")[0] in UNSAFE}
  unsafe |= {x for x in imported if x[1] == "urllib.request"}
  # Only the download command fetches files.
  download = "alcurr/data/quickdraw/download.py"
  allowed = {(download, name) for name in FETCHES}
  # For its tensors: nothing is loaded with it, see below.
  allowed.add(("alcurr/integrations/torch.py", "torch"))
  # For numbers between a loop's own processes; no objects are sent.
  for module in ("torch", "torch.distributed"):
    allowed.add(("alcurr/integrations/_ranks.py", module))
  assert unsafe == allowed
  assert _importers("http") == {download}
  # The command imports it by name, when it is run.
  assert not _importers("download")
  for path, call in _nodes(ast.Call):
    function = ast.unparse(call.func)
    assert function not in ("eval", "exec", "compile", "torch.load"), path
    if function == "np.load":
      keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
      assert keywords.get("allow_pickle") == "False", (path, call.lineno)


def test_a_pickle_in_an_array_is_not_run(tmp_path):
  ran = tmp_path / "ran"

  class Evil:
    def __reduce__(self):
      return (pathlib.Path.touch, (ran,))

  evil = np.array([Evil()] * 4, object)
  np.savez(tmp_path / "a.npz", images=evil, labels=np.arange(4) % 2)
  np.save(tmp_path / "a.npy", evil, allow_pickle=True)
  for load, name in (
    (array_files.load_npz, "a.npz"),
    (array_files.load_bitmap, "a.npy"),
  ):
    with pytest.raises(UserError) as e:
      load(tmp_path / name)
    assert e.value.place == str(tmp_path / name)
  assert not ran.exists()
  np.load(tmp_path / "a.npy", allow_pickle=True)
  assert ran.exists()  # the pickle does run if it is allowed to


def test_class_names_lead_nowhere(tmp_path):
  """Slashes, dots, quotes and HTML in names have no effect."""
  names = ["../../out", "/etc/out", "a\"b'c", "<script>alert(1)</script>"]
  rng = np.random.default_rng(0)
  np.savez(
    tmp_path / "a.npz",
    images=rng.integers(0, 255, (1000, 4, 4), np.uint8),
    labels=np.array(names * 250),
  )
  data = default.get_config().data
  data.update({"source": "npz", "dir": str(tmp_path / "a.npz")})
  sources.check(data)
  parts = sources.load(data, tmp_path / "cache").parts
  assert set(parts["train"].class_names) == set(names)
  assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_every_guarantee_names_its_tests():
  text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
  rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
  assert len(rows) > 5
  for row in rows:
    named = re.findall(r"`([\w/]+_test\.py)(?:::(\w+))?`", row)
    assert named, row
    for file, test in named:
      content = (ROOT / "tests" / file).read_text(encoding="utf-8")
      assert not test or f"def {test}(" in content, (file, test)
