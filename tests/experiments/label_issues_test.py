"""Wrong labels are found in the user's own rows, whatever the data."""

import json
import shutil

import bright_rows
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusal import refused

import alcurr
from alcurr.data import sources
from alcurr.data.pool import locate
from alcurr.experiments import suspects
from alcurr.types import LabelJudgement
from configs import default

NAMES = np.array(["ant", "=bee", "cat"])


@pytest.fixture(scope="module")
def data():
  """Images with one bright row, their class; a fifth of the labels is wrong."""
  rng = np.random.default_rng(0)
  true = rng.integers(0, 3, 500)
  images = rng.integers(0, 100, (500, 4, 4)).astype(np.uint8)
  images[np.arange(500), true] += 120
  wrong = rng.random(500) < 0.2
  given = (true + wrong * rng.integers(1, 3, 500)) % 3
  return images, NAMES[given], NAMES[true]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("issues") / "experiment"


@pytest.fixture(scope="module")
def found(data, workdir):
  return alcurr.find_label_issues(
    *data[:2],
    model=bright_rows.linear,
    trials=2,
    config={"optimizer.learning_rate": 0.1, "tracking": "none"},
    workdir=workdir,
  )


def test_every_row_is_judged_and_the_wrong_ones_come_first(data, found):
  _, given, true = data
  assert sorted(found["index"]) == list(range(500))
  index = found["index"].to_numpy()
  assert (found["given_label"] == given[index]).all()
  wrong = (given != true)[index]
  count = wrong.sum()
  assert wrong[:count].mean() > 0.9
  suggested = found["suggested_label"][wrong] == true[index][wrong]
  assert suggested.mean() > 0.9
  assert found["probability"].is_monotonic_decreasing
  assert found["probability"].between(0, 1).all()
  rate = found.attrs
  assert rate["rate_low"] <= rate["rate"] <= rate["rate_high"]
  assert rate["rate_low"] <= count / 500 <= rate["rate_high"]
  assert rate["judged"] == 500


def test_a_comparison_and_its_report_show_them(found, workdir):
  result = alcurr.Comparison(workdir)
  pd.testing.assert_frame_equal(result.suspects("label_trust"), found)
  with refused("unknown", "name"):
    result.suspects("uniform")
  shown = pd.read_csv(workdir / "figures" / "suspects_label_trust.csv")
  assert shown["index"].tolist() == found["index"][: len(shown)].tolist()
  assert (workdir / "figures" / "suspects_label_trust.png").exists()
  page = (workdir / "report.html").read_text(encoding="utf-8")
  assert "Probably mislabelled, by label_trust" in page
  assert "Nothing was held out" in page
  # A spreadsheet takes no class for a formula.
  text = (workdir / "runs/label_trust/suspects.csv").read_text()
  assert "'=bee" in text and ",=bee" not in text
  with np.load(workdir / "runs/label_trust/suspects.npz") as file:
    assert file["image"].shape == (24, 4, 4, 1)


def test_too_small_a_budget_is_not_an_estimate_of_zero(data):
  found = alcurr.find_label_issues(
    *data[:2],
    model=bright_rows.linear,
    budget="1 epoch",
    trials=1,
    config={"tracking": "none"},
  )
  assert (found["probability"] == 0).all()
  assert found["probability"].dtype == float
  assert (found.attrs["rate_low"], found.attrs["rate_high"]) == (0, 1)


def test_the_images_are_those_of_the_first_rows(data, found, workdir):
  with np.load(workdir / "runs/label_trust/suspects.npz") as file:
    image = file["image"][..., 0]
  np.testing.assert_array_equal(image, data[0][found["index"][:24]])


def test_without_a_sampler_that_judges_there_is_nothing(
  found, workdir, tmp_path
):
  copy = tmp_path / "x"
  shutil.copytree(workdir, copy)
  path = copy / "runs/label_trust/result.json"
  record = json.loads(path.read_text())
  (copy / "runs/label_trust/suspects.csv").unlink()
  with refused("missing", copy / "runs/label_trust/suspects.csv"):
    alcurr.Comparison(copy).suspects()
  for text in ("", "a,b\n1,2\n"):
    (copy / "runs/label_trust/suspects.csv").write_text(text)
    with refused("damaged", copy / "runs/label_trust/suspects.csv"):
      alcurr.Comparison(copy).suspects()
  del record["wrong_labels"]
  trials = [{"diverged_step": 1, "divergence_reason": "loss"}] * 2
  path.write_text(json.dumps(record | {"trials": trials}))
  for name in (None, "label_trust"):
    with refused("diverged", copy):
      alcurr.Comparison(copy).suspects(name)
  path.write_text(json.dumps(record))
  with refused("unsupported", copy):
    alcurr.Comparison(copy).suspects()


def test_trials_are_averaged_and_vote():
  judged = LabelJudgement(
    wrong=np.array([[0, 1], [1, 1], [0.5, 1]], np.float32),
    score=np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    suggested=np.array([[0, -1], [2, 1], [2, 1]], np.int32),
    rate=np.array([0.1, 0.2, 0.3]),
    rate_low=np.array([0.0, 0.1, 0.2]),
    rate_high=np.array([0.3, 0.3, 0.3]),
  )
  mean = suspects.mean_judgement(judged)
  np.testing.assert_allclose(mean.wrong, [0.5, 1])
  np.testing.assert_allclose(mean.score, [3, 4])
  np.testing.assert_array_equal(mean.suggested, [2, 1])
  assert mean.rate == pytest.approx(0.2)
  none = judged._replace(suggested=np.full((3, 2), -1, np.int32))
  assert suspects.mean_judgement(none).suggested.tolist() == [-1, -1]


def test_rows_of_two_splits_say_which(tmp_path):
  np.savez(
    tmp_path / "a.npz",
    images=np.random.default_rng(0).integers(0, 255, (90, 4, 4), np.uint8),
    labels=NAMES[np.arange(90) % 3],
  )
  parts = _parts(tmp_path, source="npz", dir=str(tmp_path / "a.npz"))
  both = {name: parts[name] for name in ("train", "probe")}
  label = np.concatenate([part.label for part in both.values()])
  size = len(label)
  judged = LabelJudgement(
    np.repeat(np.float32([0.5]), size),
    np.arange(size),
    (label + 1) % 3,
    *np.float32([0.5, 0.4, 0.6]),
  )
  table, order = suspects.make_table(judged, both)
  assert order.tolist() == list(range(size))[::-1]
  assert table["split"].tolist() == ["probe"] * len(both["probe"].label) + [
    "train"
  ] * len(both["train"].label)
  assert (table["given_label"] == NAMES[table["index"] % 3]).all()


def _parts(tmp_path, **changes):
  data = default.get_config().data
  data.update(classes="all", probe_fraction=0.2, **changes)
  sources.check(data)
  return sources.load(data, tmp_path / "cache").parts


def _located(part):
  return pd.DataFrame(locate(part, np.arange(len(part.label)))).assign(
    label=np.array(part.class_names)[part.label]
  )


def test_rows_of_splits_with_planted_noise_are_of_the_file(tmp_path):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (300, 6, 6, 3), np.uint8)
  labels = NAMES[rng.integers(0, 3, 300)]
  np.savez(tmp_path / "a.npz", images=images, labels=labels)
  parts = _parts(
    tmp_path,
    source="npz",
    dir=str(tmp_path / "a.npz"),
    label_noise=0.3,
    train_examples=100,
  )
  for name, part in parts.items():
    index = _located(part)["index"].to_numpy()
    np.testing.assert_array_equal(part.source.image, images[index])
    same = np.array(part.class_names)[part.label] == labels[index]
    np.testing.assert_array_equal(
      same, ~part.flags["planted"] if name == "train" else True
    )
  # Without a hold-out all rows are trained on.
  parts = _parts(
    tmp_path, source="npz", dir=str(tmp_path / "a.npz"), hold_out=False
  )
  assert sorted(_located(parts["train"])["index"]) == list(range(300))


def _save_folder(folder, count=40):
  rng = np.random.default_rng(1)
  for name in ("cat", "dog"):
    (folder / name).mkdir(parents=True)
    for i in range(count):
      image = Image.fromarray(rng.integers(0, 255, (6, 6), np.uint8))
      image.save(folder / name / f"{i}.png")


def test_images_of_a_folder_have_their_paths(tmp_path):
  _save_folder(tmp_path / "a")
  parts = _parts(
    tmp_path, source="folder", dir=str(tmp_path / "a"), image_size=6
  )
  seen = []
  for part in parts.values():
    for i, row in enumerate(_located(part).to_dict("records")):
      image = np.asarray(Image.open(tmp_path / "a" / row["path"]))
      np.testing.assert_array_equal(part.source.image[i, ..., 0], image)
      assert row["path"].startswith(row["label"])
      seen.append(row["path"])
  assert len(set(seen)) == len(seen) == 80


@pytest.mark.parametrize(
  "kind", ["files", "one file", "prepared", "one file prepared"]
)
def test_drawings_have_their_file_line_and_key(tmp_path, kind):
  rows = [
    {
      "word": word,
      "drawing": [[[i, 9, 3, 1], [0, i, 5, 2]]],
      "key_id": str(7 * i + k + 1),
    }
    for i in range(60)
    for k, word in enumerate(("cat", "dog"))
  ]
  rows[4]["key_id"] = "not a number"
  folder = tmp_path / "files"
  folder.mkdir()
  lines = [json.dumps(row) for row in rows]
  lines.insert(2, "broken")
  lines.insert(3, "broken")
  texts = {"cat": lines[::2], "dog": lines[1::2]}
  if kind.startswith("one file"):
    texts = {"both": lines}
  for name, text in texts.items():
    (folder / f"{name}.ndjson").write_text("\n".join(text))
  changes = {"source": "files", "dir": str(folder), "on_error": "skip"}
  if kind.startswith("one file"):
    changes["dir"] = str(folder / "both.ndjson")
  if kind.endswith("prepared"):
    from alcurr.data.quickdraw import packed

    place = changes["dir"]
    packed.prepare(place, tmp_path / "store", on_error="skip")
    changes = {"source": "prepared", "dir": str(tmp_path / "store")}
  parts = _parts(tmp_path, **changes, hold_out=False)
  table = _located(parts["train"])
  assert len(table) == 120
  for row in table.to_dict("records"):
    text = (folder / row["file"]).read_text().splitlines()[row["line"] - 1]
    record = json.loads(text)
    assert record["word"] == row["label"]
    is_number = record["key_id"].isdecimal()
    assert row["key"] == (record["key_id"] if is_number else "")
  # Also when it is read from the cache.
  again = _located(_parts(tmp_path, **changes)["train"])
  assert {*again["line"]} <= {*table["line"]} and "file" in again


def test_rows_of_several_sources_say_which(tmp_path):
  _save_folder(tmp_path / "a")
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (50, 6, 6), np.uint8)
  labels = np.array(["dog", "cat"])[rng.integers(0, 2, 50)]
  np.savez(tmp_path / "a.npz", images=images, labels=labels)
  data = default.get_config().data
  data.image_size = 6
  data.sources = {
    "photos": {"source": "folder", "dir": str(tmp_path / "a")},
    "others": {"source": "npz", "dir": str(tmp_path / "a.npz")},
  }
  data.update(hold_out=False, classes="all")
  part = sources.load(data, tmp_path / "cache").parts["train"]
  table = _located(part)
  assert table["source"].value_counts().to_dict() == {
    "photos": 80,
    "others": 50,
  }
  photos = table[table["source"] == "photos"]
  assert (photos["path"].str.split("/").str[0] == photos["label"]).all()
  assert (photos["index"] == "").all()
  others = table[table["source"] == "others"]
  assert (labels[others["index"].astype(int)] == others["label"]).all()


def test_bitmaps_have_their_file_and_row(tmp_path):
  rng = np.random.default_rng(0)
  rows = {
    name: rng.integers(0, 255, (30, 784), np.uint8) for name in ("a", "b")
  }
  (tmp_path / "d").mkdir()
  for name, bitmaps in rows.items():
    np.save(tmp_path / "d" / f"full_numpy_bitmap_{name}.npy", bitmaps)
  parts = _parts(
    tmp_path, source="files", dir=str(tmp_path / "d"), max_per_class=25
  )
  for part in parts.values():
    for i, row in enumerate(_located(part).to_dict("records")):
      assert row["file"] == f"full_numpy_bitmap_{row['label']}.npy"
      np.testing.assert_array_equal(
        part.source.image[i].ravel(), rows[row["label"]][row["row"]]
      )
