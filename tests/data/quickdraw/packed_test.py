"""The store that `prepare` makes: equal to its files, even when killed."""

import collections
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import published
import pytest
from refusal import refused

from alcurr.data import __main__ as cli
from alcurr.data import parallel, sources, strokes
from alcurr.data.quickdraw import packed, reader
from configs import default

ROOT = pathlib.Path(packed.__file__).parents[3]
GOOD = '{"drawing":[[[0,9,4,9],[0,9,9,4]]]}'
NO = '{"recognized":false,"drawing":[[[0,9],[0,8]],[[7],[7]]]}'


def _write(directory, **classes):
  directory.mkdir(parents=True, exist_ok=True)
  for name, lines in classes.items():
    (directory / f"{name}.ndjson").write_text("\n".join(lines) + "\n")
  return directory


def _content(folder):
  return {
    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
    for path in folder.rglob("*")
    if path.is_file()
  }


def _assert_same(left, right):
  for a, b in zip(left.source, right.source, strict=True):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype
  np.testing.assert_array_equal(left.label, right.label)
  np.testing.assert_array_equal(left.key, right.key)
  assert left.class_names == right.class_names
  assert left.flags.keys() == right.flags.keys()
  for name, flag in left.flags.items():
    np.testing.assert_array_equal(flag, right.flags[name])


def test_raw_drawings_keep_their_speeds(quickdraw_dir, tmp_path):
  """And lose them where a class, or a drawing of one, has none."""
  raw = sorted((quickdraw_dir / "raw").iterdir())[:2]
  lines = {path.stem: path.read_text().splitlines() for path in raw}
  one, two = lines
  mixed = {one: lines[one], two: [*lines[two], GOOD]}
  plain = {one: lines[one], two: [GOOD]}
  for name, classes, columns in (
    ("raw", lines, 3),
    ("mixed", mixed, 2),
    ("plain", plain, 2),
  ):
    folder = _write(tmp_path / name, **classes)
    packed.prepare(folder, tmp_path / f"{name}.out")
    expected = reader.load(folder)[0]
    assert expected.source.points.shape[1] == columns
    _assert_same(packed.load(tmp_path / f"{name}.out"), expected)


def test_a_drawing_without_times_in_a_later_block(tmp_path, monkeypatch):
  monkeypatch.setattr(strokes, "_PACK_BLOCK", 2)
  timed = '{"drawing":[[[0,9,9,8],[0,9,0,7],[0,5,6,7]]]}'
  folder = _write(
    tmp_path / "files", a=[*[timed] * 3, GOOD], b=[GOOD, *[timed] * 3]
  )
  packed.prepare(folder, tmp_path / "out")
  found = packed.load(tmp_path / "out")
  assert found.source.points.shape == (32, 2)
  _assert_same(found, reader.load(folder)[0])


@pytest.fixture
def some_real(quickdraw_dir, tmp_path):
  """A folder of links to a few real files."""
  folder = tmp_path / "files"
  folder.mkdir()
  for name in ("cat", "ant", "The Eiffel Tower", "zigzag"):
    path = quickdraw_dir / "simplified" / f"{name}.ndjson"
    (folder / path.name).symlink_to(path)
  return folder


def test_a_store_is_what_its_files_say(some_real, tmp_path, capsys):
  out = tmp_path / "out"
  assert cli.main(["prepare", str(some_real), str(out)]) == 0
  store, manifest = packed.open_store(out)
  rows = [
    (label, row)
    for label, name in enumerate(store.class_names)
    for row in published.rows(some_real / f"{name}.ndjson")
  ]
  assert store.label.tolist() == [label for label, _ in rows]
  for i in range(0, len(rows), 25):
    drawing = [s.T.tolist() for s in strokes.unpack(store.source, i)]
    assert drawing == rows[i][1]["drawing"]
  said = [row["recognized"] for _, row in rows]
  assert store.flags["recognized"].tolist() == said
  assert manifest["drawings"] == len(rows) and manifest["skipped"] == {}
  for name in store.class_names:
    file = some_real / f"{name}.ndjson"
    recorded = manifest["files"][name]["blake2b"]
    assert recorded == hashlib.blake2b(file.read_bytes()).hexdigest()
  _assert_same(store, reader.load(some_real)[0])
  assert not (out / "parts").exists()
  assert f"{len(rows)} drawings of 4 classes" in capsys.readouterr().out
  assert isinstance(store.source.points.base, np.memmap)


def test_one_file_of_many_words(quickdraw_dir, tmp_path, capsys):
  names = ("The Eiffel Tower", "ant", "cat")
  real = quickdraw_dir / "simplified"
  path = published.write_master_csv(tmp_path / "master.csv", real, names)
  out = tmp_path / "out"
  assert cli.main(["prepare", str(path), str(out)]) == 0
  assert "120 drawings of 3 classes" in capsys.readouterr().out
  store, manifest = packed.open_store(out)
  _assert_same(store, reader.load(path)[0])
  assert store.class_names == ("The_Eiffel_Tower", "ant", "cat")
  assert [*manifest["classes"].values()] == [40, 40, 40]
  # Each class has its own drawings.
  for label, name in enumerate(names):
    rows = published.rows(real / f"{name}.ndjson")[:40]
    expected = sorted(row["drawing"] for row in rows)
    found = [
      [stroke.T.tolist() for stroke in strokes.unpack(store.source, i)]
      for i in np.flatnonzero(store.label == label)
    ]
    assert sorted(found) == expected
  before = _content(out)
  packed.prepare(path, out)
  assert _content(out) == before
  some = {"classes": "cat,ant", "max_per_class": 7}
  _assert_same(packed.load(out, **some), reader.load(path, **some)[0])
  assert packed.load(out, **some).class_names == ("ant", "cat")
  text = path.read_text()
  path.write_text(text.replace(",cat\n", ",\n"))
  with refused("data", path):
    packed.prepare(path, tmp_path / "other")
  path.write_text(text + "\n,[],,,,ant")
  skipping = packed.prepare(path, tmp_path / "third", "skip")
  assert sum(skipping["skipped"].values()) == 1
  assert skipping["drawings"] == 120


def test_one_class_is_refused(tmp_path):
  folder = _write(tmp_path / "d", ant=[GOOD])
  with refused("data", "classes"):
    packed.prepare(folder, tmp_path / "out")


def test_choices_of_a_store_are_those_of_files(some_real, tmp_path):
  packed.prepare(some_real, tmp_path / "out")
  for options in (
    {},
    {"classes": "zigzag, cat"},
    {"classes": 2, "max_per_class": 50},
    {"recognized_only": True, "max_per_class": 300},
  ):
    expected, _ = reader.load(some_real, **options)
    _assert_same(expected, packed.load(tmp_path / "out", **options))
  with refused("unknown", "classes"):
    packed.load(tmp_path / "out", classes="cta,ant")


def test_bitmaps(tmp_path):
  folder = tmp_path / "files"
  folder.mkdir()
  rows = np.random.default_rng(0).integers(0, 255, (5000, 784), np.uint8)
  np.save(folder / "full_numpy_bitmap_bee.npy", rows)
  np.save(folder / "ant.npy", rows[:3])
  packed.prepare(folder, tmp_path / "out")
  store = packed.load(tmp_path / "out")
  _assert_same(store, reader.load(folder)[0])
  assert store.class_names == ("ant", "bee") and store.flags == {}
  np.testing.assert_array_equal(store.source.image[3:].reshape(-1, 784), rows)
  with refused("conflict", "recognized_only"):
    packed.load(tmp_path / "out", recognized_only=True)


def test_an_experiment_reads_it(tmp_path):
  keyed = [GOOD.replace("{", f'{{"key_id":"{i}",', 1) for i in range(60)]
  packed.prepare(_write(tmp_path / "d", ant=keyed, bee=keyed), tmp_path / "o")
  data = default.get_config().data
  data.update({"source": "prepared", "dir": str(tmp_path / "o")})
  data.update({"classes": "all"})
  sources.check(data)
  parts = sources.load(data, tmp_path / "cache").parts
  assert sum(len(part.label) for part in parts.values()) == 120
  assert not (tmp_path / "cache").exists()


def test_bad_drawings_are_refused_or_counted(tmp_path, capsys):
  folder = _write(tmp_path / "d", ant=[GOOD, "[", NO], bee=[GOOD])
  out = tmp_path / "out"
  assert cli.main(["prepare", str(folder), str(out)]) == 2
  error = capsys.readouterr().err
  assert error.startswith(f"alcurr: {folder / 'ant.ndjson'}:2: ")
  assert cli.main(["prepare", str(folder), str(out), "--on-error=skip"]) == 0
  assert "skipped: 1 broken JSON" in capsys.readouterr().err
  _, manifest = packed.open_store(out)
  assert manifest["skipped"] == {"broken JSON": 1}
  assert manifest["skipped_in"] == {"ant": {"broken JSON": 1}}
  assert manifest["classes"] == {"ant": 2, "bee": 1}
  assert packed.load(out, recognized_only=True).label.tolist() == [0, 1]
  _write(folder, ant=[NO])
  packed.prepare(folder, tmp_path / "other")
  with refused("data", tmp_path / "other"):
    packed.load(tmp_path / "other", recognized_only=True)


def test_existing_folders_are_kept_or_refused(tmp_path, monkeypatch):
  folder = _write(tmp_path / "d", ant=[GOOD], bee=[NO])
  out = tmp_path / "out"
  first = packed.prepare(folder, out)
  before = _content(out)
  monkeypatch.setattr(packed, "_make_part", None)
  assert packed.prepare(folder, out) == first and _content(out) == before
  with refused("exists", "OUT"):
    packed.prepare(folder, out, "skip")
  _write(folder, ant=[NO])
  with refused("exists", "OUT"):
    packed.prepare(folder, out)
  with refused("exists", "OUT"):
    packed.prepare(folder, tmp_path)
  with refused("conflict", "OUT"):
    packed.prepare(folder, folder)
  assert _content(out) == before


def test_damage_is_refused(tmp_path):
  folder = _write(tmp_path / "d", ant=[GOOD], bee=[NO])
  with refused("missing", folder):
    packed.load(folder)
  packed.prepare(folder, tmp_path / "out")
  path = tmp_path / "out" / "points.npy"
  content = path.read_bytes()
  for bad in (content[:-1], content[:-1] + b"\xff", b"", None):
    path.unlink() if bad is None else path.write_bytes(bad)
    with refused("damaged", tmp_path / "out"):
      packed.load(tmp_path / "out")


def test_damaged_parts_are_made_again(tmp_path):
  folder = _write(tmp_path / "d", ant=[GOOD, NO], bee=[NO])
  packed.prepare(folder, tmp_path / "good")
  request = json.loads((tmp_path / "good/manifest.json").read_text())["request"]
  for name in ("points.npy", "manifest.json"):
    out = tmp_path / name
    path = folder / "ant.ndjson"
    part = packed._make_part(out / "parts", request, False, path)
    content = (part / name).read_bytes()
    (part / name).write_bytes(content[:-1] + b"#")
    packed.prepare(folder, out)
    assert _content(out) == _content(tmp_path / "good")


# A process that is killed at the n-th call that changes something on disk.
KILLED = """
import os, pathlib, sys
from alcurr.data import __main__ as cli, cache
from alcurr.data.quickdraw import packed
left = [int(sys.argv.pop(1))]
def dying(function):
  def call(*args, **named):
    left[0] -= 1
    if not left[0]:
      os.kill(os.getpid(), 9)
    return function(*args, **named)
  return call
for module, name in (
  (pathlib.Path, "replace"), (pathlib.Path, "rename"), (cache.np, "save"),
  (packed, "_join"),
):
  setattr(module, name, dying(getattr(module, name)))
write = cache.write_arrays
def logged(entry, arrays, manifest):
  write(entry, arrays, manifest)
  print("made", pathlib.Path(manifest["file"]["path"]).name, flush=True)
cache.write_arrays = logged
sys.exit(cli.main(sys.argv[1:]))
"""


def _run(place, *args):
  return subprocess.run(
    [sys.executable, "-c", KILLED, str(place), *map(str, args)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=300,
  )


def _killed_and_resumed(some_real, tmp_path, places):
  """Killed at the place-th write of each call; every file is made once."""
  out, made = tmp_path / "out", []
  for place in places:
    done = _run(place, "prepare", some_real, out)
    made += [x for x in done.stdout.splitlines() if x.startswith("made")]
    assert done.returncode == -9, done.stderr
  done = _run(-1, "prepare", some_real, out)
  made += [x for x in done.stdout.splitlines() if x.startswith("made")]
  assert done.returncode == 0, done.stderr
  assert sorted(made) == sorted(f"made {p.name}" for p in some_real.iterdir())
  packed.prepare(some_real, tmp_path / "undisturbed")
  assert _content(out) == _content(tmp_path / "undisturbed")


def test_killed_and_resumed(some_real, tmp_path):
  # Within the second file, and within the arrays of the store.
  _killed_and_resumed(some_real, tmp_path, (9, 19))


@pytest.mark.faults
def test_killed_at_every_place(some_real, tmp_path):
  for place in range(1, 36):
    folder = tmp_path / str(place)
    folder.mkdir()
    _killed_and_resumed(some_real, folder, (place,))


@pytest.mark.faults
def test_killed_at_ten_moments_with_workers(quickdraw_dir, tmp_path):
  """By the clock, with workers that must not outlive their parent."""
  script = (
    "import sys\nfrom alcurr.data import __main__ as cli, parallel\n"
    "parallel._PARALLEL_BYTES = 0\n"
    "if __name__ == '__main__': sys.exit(cli.main(sys.argv[1:]))\n"
  )
  path = tmp_path / "script.py"
  path.write_text(script)
  source, out = quickdraw_dir / "simplified", tmp_path / "out"
  command = [sys.executable, str(path), "prepare", str(source), str(out)]
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  for moment in np.linspace(2, 6, 10):
    process = subprocess.Popen(command, env=environment)
    time.sleep(moment)
    process.kill()
    process.wait()
    if (out / "manifest.json").exists():
      break
  subprocess.run(command, env=environment, check=True, timeout=300)
  packed.prepare(source, tmp_path / "undisturbed")
  assert _content(out) == _content(tmp_path / "undisturbed")


def test_workers_end_with_their_parent(tmp_path):
  script = tmp_path / "script.py"
  script.write_text(
    "import os, pathlib, time\n"
    "from alcurr.data import parallel\n"
    "parallel._PARALLEL_BYTES = 0\n"
    "parallel.cores = lambda: 2\n"
    "def work(path):\n"
    "  path.with_suffix('.pid').write_text(str(os.getpid()))\n"
    "  time.sleep(600)\n"
    "if __name__ == '__main__':\n"
    "  here = pathlib.Path(__file__).parent\n"
    "  parallel.each_file(work, [here / 'a', here / 'b'], 'work')\n"
  )
  for name in "ab":
    (tmp_path / name).touch()
  process = subprocess.Popen(
    [sys.executable, str(script)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stderr=subprocess.DEVNULL,
  )
  while len(found := list(tmp_path.glob("*.pid"))) < 2:
    assert process.poll() is None
    time.sleep(0.1)
  process.kill()
  process.wait()
  for path in found:
    while _runs(int(path.read_text())):
      time.sleep(0.1)


def _runs(pid):
  try:
    return " Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
  except FileNotFoundError:
    return False


@pytest.mark.slow
def test_memory_does_not_grow_with_the_classes(
  tmp_path, quickdraw_dir, monkeypatch
):
  lines = (quickdraw_dir / "simplified" / "cat.ndjson").read_bytes()
  rows = np.zeros((300, 784), np.uint8)
  peaks = collections.defaultdict(list)
  for classes in (4, 20):
    for form in ("npy", "ndjson"):
      folder = tmp_path / f"{form}{classes}"
      folder.mkdir()
      for name in range(classes):
        if form == "npy":
          np.save(folder / f"{name}.npy", rows)
        else:
          (folder / f"{name}.ndjson").write_bytes(lines)
      tracemalloc.start()
      packed.prepare(folder, tmp_path / f"out-{form}{classes}")
      peaks[form].append(tracemalloc.get_traced_memory()[1])
      tracemalloc.stop()
  for small, large in peaks.values():
    assert large < 1.25 * small  # manifests: five times the classes


@pytest.mark.slow  # as in reader_test.py
def test_several_processes_make_the_same(some_real, tmp_path, monkeypatch):
  packed.prepare(some_real, tmp_path / "alone")
  monkeypatch.setattr(parallel, "_PARALLEL_BYTES", 0)
  packed.prepare(some_real, tmp_path / "together")
  assert _content(tmp_path / "alone") == _content(tmp_path / "together")
  manifest = json.loads((tmp_path / "alone/manifest.json").read_text())
  assert manifest["versions"]["numpy"] == np.__version__
