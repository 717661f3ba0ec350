"""The memory and the files that the benchmark of `prepare` measures."""

import json
import subprocess
import sys

from benchmarks import prepare

_HOLD = "import time; x = bytearray(80 * 10**6); print(1, flush=True); "


def test_memory_is_that_of_all_processes(tmp_path):
  """A process of 80 MB that starts another: 160 MB and two interpreters."""
  script = tmp_path / "two.py"
  script.write_text(
    "import subprocess, sys, time\n"
    "x = bytearray(80 * 10**6)\n"
    f"subprocess.run([sys.executable, '-c', '{_HOLD}time.sleep(1)'])\n"
  )
  _, peak = prepare.watch([sys.executable, str(script)])
  assert 160e6 < peak < 260e6


def test_a_process_that_has_ended_holds_nothing():
  process = subprocess.Popen([sys.executable, "-c", ""])
  process.wait()
  assert prepare.resident(process.pid) == 0


def test_the_source_is_ndjson(tmp_path):
  size = prepare.write_source(tmp_path, 60, 2)
  files = sorted(tmp_path.iterdir())
  assert [file.name for file in files] == ["class 0.ndjson", "class 1.ndjson"]
  assert sum(file.stat().st_size for file in files) == size
  for file in files:
    rows = [json.loads(line) for line in file.open()]
    assert len({row["key_id"] for row in rows}) == 30
    assert all(row["word"] == file.stem for row in rows)
    for row in rows:
      assert all(len(x) == len(y) for x, y in row["drawing"])


def test_a_row_has_drawings_time_and_memory(tmp_path):
  row = prepare.measure(tmp_path, 40, 2)
  assert row["drawings"] == 40 and row["classes"] == 2
  assert row["seconds"] > 0 and row["mb"] > 10
