"""Predictions of finished runs against the test scores of their experiment."""

import csv
import json
import shutil

import numpy as np
import pytest
import toy

from alcurr.core.errors import UserError
from alcurr.data import channels, sources, strokes
from alcurr.data.render import render_all
from alcurr.experiments import experiment_runner, predict
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
  """A finished run on drawings: its folder and its test split."""
  return _run(_config(), tmp_path_factory.mktemp("finished") / "drawings")


@pytest.fixture(scope="module")
def on_images(tmp_path_factory):
  """A finished run on images of two channels: its folder and test split."""
  folder = tmp_path_factory.mktemp("images")
  rng = np.random.default_rng(0)
  labels = rng.integers(3, size=300)
  images = rng.integers(256, size=(300, 8, 12, 2), dtype=np.uint8)
  images[..., 0] //= 1 + labels[:, None, None].astype(np.uint8)
  np.savez(folder / "data.npz", images=images, labels=labels)
  config = _config()
  config.data.source, config.data.dir = "npz", str(folder / "data.npz")
  return _run(config, folder / "experiment")


def _run(config, workdir):
  with toy.without_page():
    experiment_runner.run(config, workdir)
  parts = sources.load(config.data, build.cache_dir(config, workdir)).parts
  return workdir / "runs" / "uniform", parts["test"]


@pytest.fixture
def copied(finished, tmp_path):
  """A copy of the run, without its cache."""
  workdir = shutil.copytree(finished[0].parents[1], tmp_path / "copy")
  return workdir / "runs" / "uniform"


@pytest.fixture(scope="module")
def test_file(finished, tmp_path_factory):
  """The drawings of the test split, as a test file of Kaggle."""
  _, dataset = finished
  path = tmp_path_factory.mktemp("kaggle") / "test_simplified.csv"
  with path.open("w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(["key_id", "countrycode", "drawing"])
    for n, key in enumerate(dataset.key.tolist()):
      rows.writerow([key, "US", json.dumps(_lists(dataset.source, n))])
  return path


def _lists(packed, n):
  """Returns a drawing in Google's form: [[x...], [y...]] of each stroke."""
  return [stroke.T.tolist() for stroke in strokes.unpack(packed, n)]


def _scores(folder):
  with np.load(folder / "test.npz") as file:
    return file["rank"], file["loss"]


@pytest.mark.parametrize("trial", [0, 1])
def test_ranks_and_losses_are_those_of_the_evaluation(finished, trial):
  """The loss is -log p of the true class."""
  folder, dataset = finished
  _compare(folder, dataset, trial, dataset.source)


@pytest.mark.parametrize("trial", [0, 1])
def test_images_are_classified_as_in_the_evaluation(on_images, trial):
  folder, dataset = on_images
  _compare(folder, dataset, trial, dataset.source.image)
  _compare(folder, dataset, trial, dataset.source.image / 255)


def test_rendered_drawings_are_classified_as_drawings(finished):
  folder, dataset = finished
  images = render_all(dataset.source, channels.get_render(_config().data))
  rendered = predict.predict_probabilities(folder, images[..., 0]).probability
  drawn = predict.predict_probabilities(folder, dataset.source).probability
  np.testing.assert_allclose(rendered, drawn, rtol=1e-3, atol=1e-5)


def _compare(folder, dataset, trial, inputs):
  names, p = predict.predict_probabilities(folder, inputs, trials=[trial])
  assert names == dataset.class_names
  rank, loss = (scores[trial] for scores in _scores(folder))
  true = p[np.arange(len(p)), dataset.label]
  np.testing.assert_allclose(-np.log(true), loss, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal((p > true[:, None]).sum(1), rank)
  np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)


def test_trials_and_runs_are_averaged(finished, copied):
  """In a copy whose first trial diverged, the second counts as a run."""
  folder, dataset = finished
  some = strokes.take_strokes(dataset.source, np.arange(40))
  each = [
    predict.predict_probabilities(folder, some, trials=[t])[1] for t in (0, 1)
  ]
  assert np.abs(each[0] - each[1]).max() > 0.01
  whole = predict.predict_probabilities(str(folder), some).probability
  np.testing.assert_allclose(whole, np.mean(each, 0), rtol=1e-5, atol=1e-7)
  _diverge_first_trial(copied)
  both = predict.predict_probabilities([folder, copied], some).probability
  expected = each[0] / 4 + 3 * each[1] / 4
  np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-7)


def _diverge_first_trial(folder):
  trials = json.loads((folder / "result.json").read_text())["trials"]
  diverged = {"diverged_step": 3, "divergence_reason": "loss"}
  _edit(folder / "result.json", trials=[diverged, *trials[1:]])


def test_flips_average_with_the_mirrored_drawings(finished):
  """Mirrored within the bounding box of the strokes, which are centred."""
  folder, dataset = finished
  drawings, mirrored = [], []
  for n in range(60):
    drawing = _lists(dataset.source, n)
    right = max(max(x) for x, _ in drawing)
    drawings.append(drawing)
    mirrored.append([[[right - value for value in x], y] for x, y in drawing])
  plain = predict.predict_probabilities(folder, drawings).probability
  other = predict.predict_probabilities(folder, mirrored).probability
  flipped = predict.predict_probabilities(
    folder, drawings, flips=True
  ).probability
  # A pixel at half a step of 1/255 may be rounded to the other side.
  np.testing.assert_allclose(flipped, (plain + other) / 2, atol=2e-3)
  assert np.abs(plain - other).max() > 0.05


def _map3(path, truth):
  """Computes Kaggle's metric from the lines of a submission."""
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
  assert capsys.readouterr().out.startswith(f"{out}: ")
  truth = {
    int(key): dataset.class_names[label].replace(" ", "_")
    for key, label in zip(dataset.key, dataset.label, strict=True)
  }
  result = json.loads((folder / "result.json").read_text())
  assert _map3(out, truth) == pytest.approx(result["trials"][1]["map3"])
  keys = [int(line.split(",")[0]) for line in out.read_text().splitlines()[1:]]
  assert keys == dataset.key.tolist()
  # Nothing is overwritten.
  before = out.read_bytes()
  assert predict.main(command) == 2
  assert f"{out} exists" in capsys.readouterr().err
  assert out.read_bytes() == before


def test_ties_are_ordered_by_class():
  p = np.array([[0.1, 0.3, 0.3, 0.3], [0.4, 0.1, 0.4, 0.1]])
  best = predict.best_classes(p, 3)
  np.testing.assert_array_equal(best, [[1, 2, 3], [0, 2, 1]])


def _refuse(runs, test_file, out, **options):
  """Returns code and place of a refusal, which writes nothing."""
  before = set(out.parent.rglob("*"))
  with pytest.raises(UserError) as mistake:
    predict.submit(runs, test_file, out, **options)
  assert set(out.parent.rglob("*")) == before
  return mistake.value.code, mistake.value.place


@pytest.mark.parametrize(
  ("option", "named"),
  [
    ("--trials=2", "trial 2"),
    ("--trials=a", "--trials"),
    ("--trials=1,1", "--trials"),
    ("--flip=3", "--flip"),
    ("--fast", "--fast"),
  ],
)
def test_wrong_options(finished, test_file, tmp_path, capsys, option, named):
  out = tmp_path / "out.csv"
  command = [str(finished[0]), f"--data={test_file}", f"--out={out}", option]
  assert predict.main(command) == 2
  message = capsys.readouterr().err
  assert message.startswith("alcurr: ") and message.count("\n") == 1
  assert named in message and not out.exists()


def test_wrong_places(finished, test_file, tmp_path):
  folder, out = finished[0], tmp_path / "out.csv"
  for run in (tmp_path / "none", folder.parents[1]):
    expected = ("missing", str(run / "result.json"))
    assert _refuse([run], test_file, out) == expected
  refusal = _refuse([folder], test_file, tmp_path / "no/out.csv")
  assert refusal == ("missing", "--out")
  with pytest.raises(UserError):
    predict.submit([folder], tmp_path / "no.csv", out)
  lines = test_file.read_text().splitlines()
  (tmp_path / "twice.csv").write_text("\n".join([*lines, lines[5]]))
  (tmp_path / "cut.csv").write_text("\n".join([*lines[:4], lines[4][:30]]))
  for name in ("twice.csv", "cut.csv"):
    with pytest.raises(UserError):
      predict.submit([folder], tmp_path / name, out)
  assert not out.exists()


def test_an_unfinished_run_is_refused(copied, test_file, tmp_path):
  (copied / "result.json").unlink()
  refusal = _refuse([copied], test_file, tmp_path / "out.csv")
  assert refusal == ("missing", str(copied / "result.json"))


def _edit(path, **changes):
  record = json.loads(path.read_text())
  path.write_text(json.dumps(record | changes))


def test_damaged_runs(copied, test_file, tmp_path):
  workdir, out = copied.parents[1], tmp_path / "out.csv"
  for name in ("config.json", "gallery.json", "runs/uniform/result.json"):
    path = workdir / name
    text = path.read_text()
    path.write_text(text[:50])
    assert _refuse([copied], test_file, out) == ("damaged", str(path))
    path.write_text(text)
  _edit(workdir / "gallery.json", class_names=["a", "b"])
  with pytest.raises(UserError):  # of another model
    predict.submit([copied], test_file, out)
  path = workdir / "gallery.json"
  record = json.loads(path.read_text())
  del record["input_shape"]
  path.write_text(json.dumps(record))
  assert _refuse([copied], test_file, out) == ("mismatch", str(path))


@pytest.mark.parametrize(
  ("field", "change"),
  [
    ("data.label_noise", lambda data: data.pop("label_noise")),
    ("data.planted_noise", lambda data: data.update(planted_noise="0")),
  ],
)
def test_the_config_of_another_version(
  copied, test_file, tmp_path, field, change
):
  """It names the field, and what can be done about it."""
  path = copied.parents[1] / "config.json"
  config = json.loads(path.read_text())
  change(config["data"])
  path.write_text(json.dumps(config))
  with pytest.raises(UserError) as mistake:
    predict.submit([copied], test_file, tmp_path / "out.csv")
  assert (mistake.value.code, mistake.value.place) == ("mismatch", str(path))
  assert mistake.value.text.startswith(field)
  assert "train the run again" in mistake.value.text


def test_damaged_checkpoints(copied, test_file, tmp_path):
  out = tmp_path / "out.csv"
  checkpoint = copied / "checkpoints" / "40"
  file = max(
    (p for p in checkpoint.rglob("*") if p.is_file()),
    key=lambda p: p.stat().st_size,
  )
  content = file.read_bytes()
  file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(UserError):
    predict.submit([copied], test_file, out)
  shutil.rmtree(checkpoint)
  with pytest.raises(UserError):
    predict.submit([copied], test_file, out)
  assert not out.exists()


def test_diverged_trials_are_excluded(copied, finished, caplog):
  folder, dataset = finished
  _diverge_first_trial(copied)
  rest = predict.predict_probabilities(copied, dataset.source)
  good = predict.predict_probabilities(folder, dataset.source, trials=[1])
  np.testing.assert_array_equal(rest.probability, good.probability)
  assert "diverged" in caplog.text
  with pytest.raises(UserError) as mistake:
    predict.predict_probabilities(copied, dataset.source, trials=[0])
  assert (mistake.value.code, mistake.value.place) == ("unknown", str(copied))
  _edit(copied / "result.json", trials=[{"diverged_step": 3}] * 2)
  with pytest.raises(UserError) as mistake:
    predict.predict_probabilities(copied, dataset.source)
  assert (mistake.value.code, mistake.value.place) == ("unknown", str(copied))


def test_runs_of_other_classes_are_refused(
  finished, copied, test_file, tmp_path
):
  path = copied.parents[1] / "gallery.json"
  names = json.loads(path.read_text())["class_names"]
  _edit(path, class_names=names[::-1])
  runs, out = [finished[0], copied], tmp_path / "out.csv"
  assert _refuse(runs, test_file, out) == ("mismatch", str(copied))


def test_a_run_on_images_refuses_drawings(on_images, test_file, tmp_path):
  folder, _ = on_images
  refusal = _refuse([folder], test_file, tmp_path / "out.csv")
  assert refusal == ("unsupported", str(folder))


@pytest.mark.parametrize(
  ("inputs", "code", "place"),
  [
    ([], "data", "inputs"),
    ([[[[0], [9]]], [[[0], [0, 9]]]], "data", "inputs[1]"),
    ([[[[300], [9]]]], "data", "inputs[0]"),
    ([[[[0, 9], [0, 9]]]], "data", "inputs"),
    (np.zeros((2, 16, 17)), "mismatch", "inputs"),
    (np.zeros((2, 16, 16, 3)), "mismatch", "inputs"),
  ],
)
def test_wrong_inputs(finished, inputs, code, place):
  with pytest.raises(UserError) as mistake:
    predict.predict_probabilities(finished[0], inputs)
  assert (mistake.value.code, mistake.value.place) == (code, place)


def _tuples(value):
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _points(drawing):
  """Returns strokes as the quickdraw package has them: lists of tuples."""
  return [[*zip(*stroke, strict=True)] for stroke in drawing]


def test_drawings_in_other_containers(finished):
  folder, dataset = finished
  drawings = [_lists(dataset.source, n) for n in range(20)]
  expected = predict.predict_probabilities(folder, drawings).probability
  array = np.empty(20, object)
  array[:] = drawings
  for inputs in (
    _tuples(drawings),
    array,
    [[np.array(stroke) for stroke in drawing] for drawing in drawings],
    [[[[*map(np.uint8, x)], y] for x, y in d] for d in drawings],
    [_points(drawing) for drawing in drawings],
  ):
    found = predict.predict_probabilities(folder, inputs).probability
    np.testing.assert_array_equal(found, expected)
  found = predict.predict_probabilities(folder, drawings[3]).probability
  np.testing.assert_allclose(found, expected[3:4], rtol=1e-4)


def test_one_image_and_a_list_of_images(on_images):
  folder, dataset = on_images
  image = dataset.source.image[:5]
  expected = predict.predict_probabilities(folder, image).probability
  found = predict.predict_probabilities(folder, [*image]).probability
  np.testing.assert_array_equal(found, expected)
  found = predict.predict_probabilities(folder, image[2]).probability
  np.testing.assert_allclose(found, expected[2:3], rtol=1e-4)


def test_a_number_of_numpy_chooses_a_trial(finished):
  folder, dataset = finished
  some = strokes.take_strokes(dataset.source, np.arange(3))
  expected = predict.predict_probabilities(folder, some, trials=[1])
  found = predict.predict_probabilities(folder, some, trials=np.int64(1))
  np.testing.assert_array_equal(found.probability, expected.probability)


def test_an_experiment_names_its_runs(finished):
  folder = finished[0]
  with pytest.raises(UserError) as mistake:
    predict.predict_probabilities(folder.parents[1], [[[[1], [2]]]])
  assert mistake.value.code == "missing" and str(folder) in mistake.value.text
  with pytest.raises(UserError) as mistake:
    predict.predict_probabilities([], [[[[1], [2]]]])
  assert (mistake.value.code, mistake.value.place) == ("missing", "run")


@pytest.mark.parametrize("value", [-1.0, 2.0, np.nan])
def test_images_out_of_range_are_refused(finished, value):
  with pytest.raises(UserError):
    predict.predict_probabilities(finished[0], np.full((2, 16, 16), value))
