"""Predictions of finished runs against what their experiment measured."""

import csv
import json
import shutil

import numpy as np
import pytest

from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.data.quickdraw import strokes
from alcurr.experiments import predict, runner
from alcurr.experiments.config import build
from configs import default


def _config():
  config = default.get_config()
  config.trials = 2
  config.batch_size = 16
  config.budget = "40 steps"
  config.num_evals = 1
  config.eval_batch_size = 50
  config.data.num_examples = 600
  config.data.classes = "4"
  config.data.image_size = 16
  config.data.stroke_decay = 0.5
  config.model.name = "cnn(width=0.25)"
  del config.samplers.bandit
  return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A finished run's folder and its test split."""
  workdir = tmp_path_factory.mktemp("finished") / "one"
  config = _config()
  with pytest.MonkeyPatch.context() as patch:
    # The page takes longer than the run, and nothing here reads it.
    patch.setattr(runner.page, "write_report", lambda *args: None)
    runner.run(config, workdir)
  parts = sources.load(config.data, build.cache_dir(config, workdir)).parts
  return workdir / "runs" / "uniform", parts["test"]


@pytest.fixture
def copied(finished, tmp_path):
  """The run in a workdir of the test's own, without its cache."""
  workdir = shutil.copytree(finished[0].parents[1], tmp_path / "copy")
  return workdir / "runs" / "uniform"


@pytest.fixture(scope="module")
def test_file(finished, tmp_path_factory):
  """The drawings of the test split as Kaggle gives its own."""
  _, dataset = finished
  path = tmp_path_factory.mktemp("kaggle") / "test_simplified.csv"
  with path.open("w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["key_id", "countrycode", "drawing"])
    for n, key in enumerate(dataset.key.tolist()):
      rows.writerow([key, "US", json.dumps(_lists(dataset.source, n))])
  return path


def _lists(packed, n):
  """A drawing in Google's form: [[x...], [y...]] of each stroke."""
  return [stroke.T.tolist() for stroke in strokes.unpack(packed, n)]


def _scores(folder):
  with np.load(folder / "test.npz") as file:
    return file["rank"], file["loss"]


@pytest.mark.parametrize("trial", [0, 1])
def test_ranks_and_losses_are_those_of_the_evaluation(finished, trial):
  """Another program, and another way to a loss: -log p of the true class."""
  folder, dataset = finished
  names, p = predict.predict_probabilities(
    folder, dataset.source, trials=[trial]
  )
  assert names == dataset.class_names
  rank, loss = (scores[trial] for scores in _scores(folder))
  true = p[np.arange(len(p)), dataset.label]
  np.testing.assert_allclose(-np.log(true), loss, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal((p > true[:, None]).sum(1), rank)
  np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)


def test_trials_and_runs_are_averaged(finished, copied):
  """Of a copy whose first trial is out, the second counts for a whole run."""
  folder, dataset = finished
  some = strokes.take_strokes(dataset.source, np.arange(40))
  each = [
    predict.predict_probabilities(folder, some, trials=[t])[1] for t in (0, 1)
  ]
  assert np.abs(each[0] - each[1]).max() > 0.01
  whole = predict.predict_probabilities(str(folder), some).probability
  np.testing.assert_allclose(whole, np.mean(each, 0), rtol=1e-5, atol=1e-7)
  _lose_first_trial(copied)
  both = predict.predict_probabilities([folder, copied], some).probability
  expected = each[0] / 4 + 3 * each[1] / 4
  np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-7)


def _lose_first_trial(folder):
  trials = json.loads((folder / "result.json").read_text())["trials"]
  wrong = {"diverged_step": 3, "divergence_reason": "loss"}
  _edit(folder / "result.json", trials=[wrong, *trials[1:]])


def test_flips_average_with_the_mirrored_drawings(finished):
  """Mirrored by hand in the strokes' own box, which rendering centres."""
  folder, dataset = finished
  drawings, mirrored = [], []
  for n in range(60):
    drawing = _lists(dataset.source, n)
    right = max(max(x) for x, _ in drawing)
    drawings.append(drawing)
    mirrored.append([[[right - one for one in x], y] for x, y in drawing])
  plain = predict.predict_probabilities(folder, drawings).probability
  other = predict.predict_probabilities(folder, mirrored).probability
  flipped = predict.predict_probabilities(
    folder, drawings, flips=True
  ).probability
  # A pixel at half a step of 1/255 may be rounded to the other side.
  np.testing.assert_allclose(flipped, (plain + other) / 2, atol=2e-3)
  assert np.abs(plain - other).max() > 0.05


def _map3(path, truth):
  """Kaggle's metric of a submission, from the file's lines alone."""
  header, *lines = path.read_text().splitlines()
  assert header == "key_id,word"
  total = 0
  for line in lines:
    key, words = line.split(",")
    for place, word in enumerate(words.split(" ")[:3], start=1):
      if word == truth[int(key)]:
        total += 1 / place
  assert len(lines) == len(truth)
  return total / len(truth)


def test_a_submission_scores_as_the_run_did(
  finished, test_file, tmp_path, capsys
):
  folder, dataset = finished
  out = tmp_path / "submission.csv"
  command = [str(folder), f"--data={test_file}", f"--out={out}", "--trials=1"]
  assert predict.main(command) == 0
  assert capsys.readouterr().out == f"{out}\n"
  truth = {
    int(key): dataset.class_names[label].replace(" ", "_")
    for key, label in zip(dataset.key, dataset.label, strict=True)
  }
  result = json.loads((folder / "result.json").read_text())
  assert _map3(out, truth) == pytest.approx(result["trials"][1]["map3"])
  keys = [int(line.split(",")[0]) for line in out.read_text().splitlines()[1:]]
  assert keys == dataset.key.tolist()
  # Once more: what is there stays.
  before = out.read_bytes()
  assert predict.main(command) == 2
  assert "is there already; name a new file." in capsys.readouterr().err
  assert out.read_bytes() == before


def test_equal_probabilities_go_by_the_class():
  p = np.array([[0.1, 0.3, 0.3, 0.3], [0.4, 0.1, 0.4, 0.1]])
  best = predict.best_classes(p, 3)
  np.testing.assert_array_equal(best, [[1, 2, 3], [0, 2, 1]])


def _told(run, test_file, out, capsys, *options):
  """What is said of a command that fails, one line, with nothing written."""
  there = set(out.parent.rglob("*"))
  command = [*map(str, run), f"--data={test_file}", f"--out={out}", *options]
  assert predict.main(command) == 2
  said = capsys.readouterr().err.splitlines()
  assert len(said) == 1 and said[0].startswith("alcurr: ")
  assert set(out.parent.rglob("*")) == there
  return said[0]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--trials=2"], "trial 2 is not there; of these choose: 0, 1."),
    (["--trials=a"], "write trials with commas, each once, such as 0,2; got"),
    (["--trials=1,1"], "write trials with commas, each once"),
    (["--flip=3"], "ignored explicit argument"),
    (["--fast"], "unrecognized arguments: --fast; see python -m alcurr.pred"),
  ],
)
def test_wrong_options(finished, test_file, tmp_path, capsys, options, message):
  out = tmp_path / "out.csv"
  assert message in _told([finished[0]], test_file, out, capsys, *options)


def test_wrong_places(finished, test_file, tmp_path, capsys):
  folder, out = finished[0], tmp_path / "out.csv"
  said = _told([tmp_path / "none"], test_file, out, capsys)
  assert "none/result.json cannot be read (No such file or directory)" in said
  said = _told([folder.parents[1]], test_file, out, capsys)
  assert "name the folder of a finished run in its experiment" in said
  said = _told([folder], test_file, tmp_path / "no/out.csv", capsys)
  assert f"there is no folder {tmp_path / 'no'}; make it." in said
  said = _told([folder], tmp_path / "no.csv", out, capsys)
  assert "no.csv: cannot be read (No such file or directory)" in said
  lines = test_file.read_text().splitlines()
  twice = tmp_path / "twice.csv"
  twice.write_text("\n".join([*lines, lines[5]]))
  said = _told([folder], twice, out, capsys)
  assert f"the key_id {lines[5].split(',')[0]} comes twice" in said
  (tmp_path / "cut.csv").write_text("\n".join([*lines[:4], lines[4][:30]]))
  assert "cut.csv:5: " in _told([folder], tmp_path / "cut.csv", out, capsys)


def test_a_run_that_is_not_finished(copied, test_file, tmp_path, capsys):
  (copied / "result.json").unlink()
  said = _told([copied], test_file, tmp_path / "out.csv", capsys)
  assert f"{copied} is not finished; run its experiment's command again" in said


def _edit(path, **changes):
  record = json.loads(path.read_text())
  path.write_text(json.dumps(record | changes))


def test_damaged_runs(copied, test_file, tmp_path, capsys):
  workdir, out = copied.parents[1], tmp_path / "out.csv"
  checkpoint = copied / "checkpoints" / "40"
  file = max(
    (p for p in (checkpoint / "state").rglob("*") if p.is_file()),
    key=lambda p: p.stat().st_size,
  )
  whole = file.read_bytes()
  file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  said = _told([copied], test_file, out, capsys)
  assert f"{checkpoint} is damaged or gone" in said and "was changed" in said
  file.write_bytes(whole)
  for name in ("config.json", "gallery.json", "runs/uniform/result.json"):
    text = (workdir / name).read_text()
    (workdir / name).write_text(text[:50])
    assert f"{name} is damaged" in _told([copied], test_file, out, capsys)
    (workdir / name).write_text(text)
  _edit(workdir / "gallery.json", class_names=["a", "b"])
  said = _told([copied], test_file, out, capsys)
  assert "is of another model than config.json says" in said
  _edit(workdir / "gallery.json", image_shape=[28, 28, 1])
  said = _told([copied], test_file, out, capsys)
  assert "was trained on images of its own, [28, 28, 1]" in said
  shutil.rmtree(checkpoint)
  _edit(workdir / "gallery.json", image_shape=[16, 16, 1])
  assert "is damaged or gone" in _told([copied], test_file, out, capsys)


def test_an_earlier_versions_run(copied, test_file, tmp_path, capsys):
  path = copied.parents[1] / "gallery.json"
  record = json.loads(path.read_text())
  del record["image_shape"]
  path.write_text(json.dumps(record))
  said = _told([copied], test_file, tmp_path / "out.csv", capsys)
  assert "does not tell the image_shape of the experiment; run it again" in said


def test_trials_that_went_wrong_are_left_out(copied, finished, caplog):
  folder, dataset = finished
  _lose_first_trial(copied)
  rest = predict.predict_probabilities(copied, dataset.source)
  good = predict.predict_probabilities(folder, dataset.source, trials=[1])
  np.testing.assert_array_equal(rest.probability, good.probability)
  assert "trial 0 went wrong; it is left out" in caplog.text
  with pytest.raises(
    UserError, match=r"trial 0 went wrong; of these choose: 1"
  ):
    predict.predict_probabilities(copied, dataset.source, trials=[0])
  _edit(copied / "result.json", trials=[{"diverged_step": 3}] * 2)
  with pytest.raises(UserError, match="every trial went wrong; name another"):
    predict.predict_probabilities(copied, dataset.source)


def test_runs_of_other_classes_are_not_averaged(
  finished, copied, test_file, tmp_path, capsys
):
  path = copied.parents[1] / "gallery.json"
  names = json.loads(path.read_text())["class_names"]
  _edit(path, class_names=names[::-1])
  said = _told([finished[0], copied], test_file, tmp_path / "out.csv", capsys)
  assert f"{copied} tells other classes apart than {finished[0]}" in said


@pytest.mark.parametrize(
  ("drawings", "message"),
  [
    ([], "there is no drawing to look at"),
    ([[[[0, 9], [0, 9]]], [[[0], [0, 9]]]], "drawing 1: x and y of unequal"),
    ([[[[0, 300], [0, 9]]]], "drawing 0: a coordinate out of range"),
  ],
)
def test_wrong_drawings(finished, drawings, message):
  with pytest.raises(UserError, match=message):
    predict.predict_probabilities(finished[0], drawings)
