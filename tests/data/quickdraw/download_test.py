"""Downloads from a server that breaks off, fails and sends wrong bytes."""

import base64
import hashlib
import http.server
import io
import os
import pathlib
import threading
import urllib.parse

import numpy as np
import pytest

from alcurr.data import __main__ as cli
from alcurr.data.quickdraw import download

CONTENT = {
  f"/simplified/{name}.ndjson": np.random.default_rng(i).bytes(300_000 + i)
  for i, name in enumerate(("cat", "The Eiffel Tower"))
}


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers as Google's bucket, apart from the faults it is given."""

  def do_HEAD(self):
    self._answer(None)

  def do_GET(self):
    self._answer(self.server.faults.pop(0) if self.server.faults else None)

  def _answer(self, fault):
    server, path = self.server, urllib.parse.unquote(self.path)
    span = self.headers.get("Range")
    server.asked.append((self.command, path, span))
    if server.head is not None:
      self.wfile.write(f"HTTP/1.1 {server.head}\r\n\r\n".encode("latin-1"))
      return
    if path.startswith("/old/"):
      self.send_response(302)
      self.send_header("Location", self.path.removeprefix("/old"))
      self.end_headers()
      return
    content = CONTENT.get(path)
    if isinstance(fault, int) or content is None:
      self.send_error(fault or 404)
      return
    start = int(span[6:-1]) if span and fault != "no range" else 0
    self.send_response(206 if start else 200)
    if start:
      last = len(content) - 1
      self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
    body = content[start:]
    if fault == "other content":
      body = bytes(len(body))
    elif fault == "more":
      body += b"more"
    elif fault == "less":
      body = body[:-100]
    if not (self.command == "HEAD" and server.no_length):
      self.send_header("Content-Length", str(len(body)))
    if server.hashes:
      md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
      self.send_header("x-goog-hash", "crc32c=AAAAAA==")
      self.send_header("x-goog-hash", f"md5={md5}")
    self.end_headers()
    if self.command == "GET":
      self.wfile.write(body[: 70_000 if fault == "dropped" else None])

  def log_message(self, *args):
    pass


@pytest.fixture
def server():
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
  server.faults, server.asked, server.head = [], [], None
  server.hashes, server.no_length = True, False
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  yield server
  server.shutdown()
  server.server_close()
  thread.join()


@pytest.fixture
def waits(monkeypatch):
  waits = []
  monkeypatch.setattr(download.time, "sleep", waits.append)
  return waits


def _download(server, out, *options, classes="cat", sure=("--yes",)):
  base = f"http://127.0.0.1:{server.server_port}"
  chosen = [f"--classes={classes}"] if classes else []
  args = ["download", "simplified", str(out), f"--base={base}"]
  return cli.main([*args, *chosen, *options, *sure])


def _files(out):
  return {path.name: path.read_bytes() for path in pathlib.Path(out).iterdir()}


CAT = {"cat.ndjson": CONTENT["/simplified/cat.ndjson"]}
BOTH = {path.rpartition("/")[2]: data for path, data in CONTENT.items()}


def test_names_with_blanks_and_a_list_of_them(server, tmp_path, capsys):
  names = tmp_path / "categories.txt"
  names.write_text("cat\nThe Eiffel Tower\n\n")
  options = (f"--categories={names}",)
  assert _download(server, tmp_path / "out", *options, classes="") == 0
  assert _files(tmp_path / "out") == BOTH
  assert "2 files of 0.6 MB, 0.6 MB of them missing" in capsys.readouterr().out
  # Again: only the descriptions are requested.
  server.asked.clear()
  assert _download(server, tmp_path / "out", *options, classes="") == 0
  assert {command for command, *_ in server.asked} == {"HEAD"}


@pytest.mark.parametrize(
  "faults",
  [
    ["dropped"] * 9,  # each brings something
    ["dropped", "no range"],
    [503, 429, "less"],
    ["other content"],
    ["dropped", "other content"],
    ["more"],
  ],
)
def test_faults_that_pass(server, tmp_path, waits, faults):
  server.faults = list(faults)
  assert _download(server, tmp_path / "out") == 0
  assert _files(tmp_path / "out") == CAT
  assert waits and max(waits) <= 32


def test_it_resumes_where_it_broke(server, tmp_path, waits):
  server.faults = ["dropped", "dropped"]
  assert _download(server, tmp_path / "out") == 0
  spans = [span for command, _, span in server.asked if command == "GET"]
  assert spans == [None, "bytes=70000-", "bytes=140000-"]
  assert waits == [1, 1]


def test_a_killed_download_resumes(server, tmp_path, waits):
  out = tmp_path / "out"
  out.mkdir()
  for partial, spans in (
    (CAT["cat.ndjson"][:1000], ["bytes=1000-"]),
    (CAT["cat.ndjson"], []),
    (bytes(1000), ["bytes=1000-", None]),  # of another file
    (bytes(10**6), [None]),
  ):
    server.asked.clear()
    (out / "cat.ndjson").unlink(missing_ok=True)
    (out / "cat.ndjson.partial").write_bytes(partial)
    assert _download(server, out) == 0
    assert _files(out) == CAT
    asked = [span for command, _, span in server.asked if command == "GET"]
    assert asked == spans


@pytest.mark.parametrize("fault", [503, "other content", "less", "more"])
def test_faults_that_stay(server, tmp_path, waits, capsys, fault):
  server.faults = [fault] * 99
  assert _download(server, tmp_path / "out") == 1
  error = capsys.readouterr().err
  url = f"http://127.0.0.1:{server.server_port}/simplified/cat.ndjson"
  assert error.startswith(f"alcurr: {url}: ") and "resume" in error
  assert waits[-5:] == [1, 2, 4, 8, 16]
  assert not (tmp_path / "out" / "cat.ndjson").exists()
  server.faults.clear()
  assert _download(server, tmp_path / "out") == 0
  assert _files(tmp_path / "out") == CAT


def test_no_server(server, tmp_path, waits, capsys):
  base = "--base=http://127.0.0.1:1"
  args = ["download", "raw", str(tmp_path / "out"), "--classes=cat", "--yes"]
  assert cli.main([*args, base]) == 1
  error = capsys.readouterr().err
  assert error.startswith("alcurr: http://127.0.0.1:1/raw/cat.ndjson: ")
  assert not list(tmp_path.iterdir())


def test_without_checksums_the_length_is_checked(server, tmp_path, capsys):
  server.hashes = False
  assert _download(server, tmp_path / "out") == 0
  assert "without a checksum" in capsys.readouterr().err
  assert _files(tmp_path / "out") == CAT


def test_mistakes(server, tmp_path, capsys):
  out = tmp_path / "out"
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "cat.ndjson").write_text("mine")
  base = f"http://127.0.0.1:{server.server_port}"
  for folder, options, classes, place in (
    (out, [], "dog", f"{base}/simplified/dog.ndjson"),
    (out, [], "../cat", ""),
    (out, [], ",", "--classes"),
    (out, ["--base=file:///etc"], "cat", "--base"),
    (out, ["--base=http://[::1"], "cat", "--base"),
    (out, ["--base=http://127.0.0.1:99999"], "cat", "--base"),
    (out, [f"--base={base}/with blanks"], "cat", "--base"),
    (out, [f"--base={base}/é"], "cat", "--base"),
    (out, [f"--base={base}?a=b"], "cat", "--base"),
    (
      out,
      [f"--base={base.replace('//', '//user:password@')}"],
      "cat",
      "--base",
    ),
    (out, [], "c\x1b[31mat", ""),
    (out, [], "c\udcffat", ""),
    (out, ["--categories=none"], "", "--categories"),
    (out, [], "", "--classes"),
    (tmp_path / "other", [], "cat", tmp_path / "other" / "cat.ndjson"),
  ):
    assert _download(server, folder, *options, classes=classes) == 2
    assert capsys.readouterr().err.startswith(f"alcurr: {place}")
  assert _files(tmp_path / "other") == {"cat.ndjson": b"mine"}
  server.no_length = True
  assert _download(server, out) == 2
  place = f"{base}/simplified/cat.ndjson"
  assert capsys.readouterr().err.startswith(f"alcurr: {place}: ")
  assert not out.exists()


def test_redirects_on_the_same_server(server, tmp_path):
  out, base = tmp_path / "out", f"http://127.0.0.1:{server.server_port}/old"
  assert (
    _download(server, out, f"--base={base}", classes="The Eiffel Tower") == 0
  )
  assert _files(out) == {k: v for k, v in BOTH.items() if k not in CAT}
  assert (
    "GET",
    "/old/simplified/The Eiffel Tower.ndjson",
    None,
  ) in server.asked


@pytest.mark.parametrize(
  "head",
  [
    # The same server, by another name.
    "302 Found\r\nLocation: http://localhost:{port}/simplified/cat.ndjson",
    "307 Found\r\nLocation: //localhost/cat.ndjson",
    "301 Found\r\nLocation: https://127.0.0.1:{port}/cat.ndjson",
    "302 Found\r\nLocation: ftp://127.0.0.1/cat.ndjson",
    "302 Found\r\nLocation: file:///etc/passwd",
    "302 Found\r\nLocation: http://[",
    "302 Found\r\nLocation: http://127.0.0.1:{port}\x1b[31m/é",
    "302 Found",
    "404 \x1b]0;a title\x07\x9b31m",
    "404 " + 10_000 * "long",
    "200 OK\r\nContent-Length: " + 5_000 * "9",
    "200 OK\r\nContent-Length: -1",
    "200 OK\r\nContent-Length: 5\r\nx-goog-hash: md5=é",
    "200 OK\r\nContent-Length: 5\r\nx-goog-hash: md5=AAAA",
    "200 OK\r\nContent-Length: 5\r\nx-goog-hash: md5=",
  ],
  ids=range(15),
)
def test_answers_that_are_not_trusted(server, tmp_path, waits, capsys, head):
  server.head = head.replace("{port}", str(server.server_port))
  assert _download(server, tmp_path / "out") == 2
  place = f"http://127.0.0.1:{server.server_port}/simplified/cat.ndjson"
  error = capsys.readouterr().err
  assert error.startswith(f"alcurr: {place}: ") and len(error) < 500
  assert error.removesuffix("\n").isprintable()
  assert len(server.asked) == 1 and not list(tmp_path.iterdir())


def test_an_answer_that_is_not_http(server, tmp_path, waits, capsys):
  server.head = "\r\n\x1b[31m"  # read as the status line of another answer
  assert _download(server, tmp_path / "out") == 1
  assert capsys.readouterr().err.removesuffix("\n").isprintable()


def test_nothing_is_written_through_a_link(server, tmp_path, capsys):
  out, mine = tmp_path / "out", tmp_path / "mine"
  mine.write_bytes(CAT["cat.ndjson"][:1000])
  partial, place = out / "cat.ndjson.partial", out / "cat.ndjson"
  out.mkdir()
  for make, taken in (
    (lambda: partial.symlink_to(mine), partial),
    (lambda: partial.symlink_to(tmp_path / "nothing"), partial),
    (lambda: partial.hardlink_to(mine), partial),
    (lambda: os.mkfifo(partial), partial),
    (lambda: place.symlink_to(tmp_path / "nothing"), place),
    (lambda: os.mkfifo(place), place),
  ):
    make()
    assert _download(server, out) == 2
    assert capsys.readouterr().err.startswith(f"alcurr: {taken}: ")
    taken.unlink()
    assert not list(out.iterdir())
  assert mine.read_bytes() == CAT["cat.ndjson"][:1000]
  assert not (tmp_path / "nothing").exists()
  # A link to the complete file is read, as any file.
  mine.write_bytes(CAT["cat.ndjson"])
  place.symlink_to(mine)
  assert _download(server, out) == 0
  assert place.is_symlink()


class _Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.mark.parametrize(
  ("answer", "status"), [("y\n", 0), ("no\n", 2), ("\n", 2), (None, 2)]
)
def test_it_asks_first(server, tmp_path, monkeypatch, capsys, answer, status):
  stdin = io.StringIO() if answer is None else _Terminal(answer)
  monkeypatch.setattr("sys.stdin", stdin)
  assert _download(server, tmp_path / "out", sure=()) == status
  assert ("GET" in [command for command, *_ in server.asked]) == (status == 0)
  assert (tmp_path / "out").exists() == (status == 0)
  error = capsys.readouterr().err
  assert error.startswith("alcurr: --yes: ") == (answer is None)


def test_all_of_googles_names(tmp_path, monkeypatch):
  """From the checkout's third_party, or packaged next to the module."""
  args = cli.parse(["download", "raw", str(tmp_path), "--categories=all"])
  names = download._class_names(args)
  assert len(names) == len(set(names)) == 345
  assert {"cat", "The Eiffel Tower", "zigzag"} <= set(names)
