"""Tests of the README and of pages of docs: code runs, and links exist."""

import pathlib
import re

import bright_rows
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from sklearn.datasets import load_digits

README = pathlib.Path(__file__).parents[1] / "README.md"
LOOPS = README.parent / "docs/loops.md"
START = README.parent / "docs/getting_started.md"
SOURCES = README.parent / "docs/sources.md"


def _blocks(heading, page=README):
  """Returns the Python blocks of a section."""
  section = page.read_text().split(f"\n## {heading}\n")[1]
  section = section.split("\n## ")[0].split("\n### ")[0]
  return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def _loss(w, images, label):
  logits = images @ w
  return float(
    -jax.nn.log_softmax(logits)[jnp.arange(len(label)), label].mean()
  )


def test_the_readme_is_short():
  assert len(README.read_text().splitlines()) <= 200


def test_the_complete_file_for_flax():
  """The sampler finds the labels that the file itself made wrong."""
  (block,) = _blocks("Your own Flax loop")
  names = {}
  exec(block, names)
  wrong = names["truth"] != names["labels"]
  suspects = names["suspects"]
  assert wrong[suspects].mean() > 0.7
  assert suspects[wrong].mean() > 0.7


def test_the_complete_file_for_pytorch():
  """The model classifies most rows as they truly are."""
  torch = pytest.importorskip("torch", reason="needs the extra `torch`")
  (block,) = _blocks("Your own PyTorch loop")
  torch.manual_seed(0)
  names = {}
  exec(block, names)
  with torch.no_grad():
    model = names["model"].cpu()
    predicted = model(names["dataset"].tensors[0]).argmax(-1).numpy()
  assert (predicted == names["truth"]).mean() > 0.8


def test_the_complete_file_for_texts(capsys):
  """The first batch is of the shortest texts."""
  (block,) = _blocks(
    "Text, by length", README.parent / "docs/text_and_tables.md"
  )
  names = {}
  exec(block, names)
  drawn = np.asarray(names["batch"].inputs["length"])
  shortest = np.sort(names["lengths"])
  # The part of the pool at the first step is a hundredth.
  assert drawn.max() <= shortest[len(shortest) // 50]
  assert "(32, 32)" in capsys.readouterr().out


def test_the_loop_in_plain_jax():
  """Both the model and the bandit learn."""
  arrays, loop = _blocks("The three functions", LOOPS)
  _, training = loop.split("\n)\n")  # after the sampler is made
  assert sum(bool(line.strip()) for line in training.splitlines()) <= 15
  toys = toy.make_pool()
  names = {
    "my_images": np.asarray(toys.source.image),
    "my_labels": np.asarray(toys.label),
    "my_difficulty": np.asarray(toys.scores["difficulty"]),
    "images": jnp.asarray(toys.source.image).reshape(640, 16) / 255,
    "w": jnp.zeros((16, toy.NUM_CLASSES)),
  }
  exec(arrays, names)
  exec(loop, names)
  label = names["pool"].label
  assert _loss(names["w"], names["images"], label) < 0.8 * np.log(4)
  state = names["state"]
  assert int(state.step) == 300
  assert float(jnp.abs(state.bandit.weight).max()) > 0.5


def test_the_loop_in_pytorch():
  """The model learns, and every batch gives its arms rewards."""
  torch = pytest.importorskip("torch", reason="needs the extra `torch`")
  _, loop = _blocks("The three functions", LOOPS)
  (training,) = _blocks("PyTorch", LOOPS)
  assert sum(bool(line.strip()) for line in training.splitlines()) <= 15
  toys = toy.make_pool()
  images = np.array(toys.source.image).reshape(640, 16).astype(np.float32)
  label = np.array(toys.label)
  data = torch.from_numpy(images / 255), torch.from_numpy(label).long()
  torch.manual_seed(0)
  model = torch.nn.Linear(16, toy.NUM_CLASSES)
  names = {
    "labels": label,
    "difficulty": np.asarray(toys.scores["difficulty"]),
    "dataset": torch.utils.data.TensorDataset(*data),
    "model": model,
    "optimizer": torch.optim.SGD(model.parameters(), lr=0.5),
  }
  make_sampler, _ = loop.split("\n)\n")
  exec(make_sampler + "\n)\n", names)
  exec(training, names)
  stream = names["batches"].stream
  assert stream.updates == 640 // stream.batch_size == 20
  state = stream.state_dict()
  # A reward for each arm of a batch.
  assert state["sampler.reward.count"] >= 20
  assert np.isfinite(state["sampler.reward.history"]).all()
  loss = torch.nn.functional.cross_entropy(model(data[0]), data[1])
  assert float(loss.detach()) < np.log(toy.NUM_CLASSES)


def _anchors(page: pathlib.Path) -> set[str]:
  """Returns the anchors that GitHub makes of a page's headings."""
  return {
    re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")
    for title in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
  }


@pytest.mark.parametrize(
  "page",
  [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "alcurr/models/README.md",
    "benchmarks/README.md",
    "results/README.md",
    *(f"docs/{path.name}" for path in sorted(LOOPS.parent.glob("*.md"))),
  ],
)
def test_every_path_on_a_page_exists(page):
  page = README.parent / page
  text = page.read_text()
  for link in re.findall(r"\]\(((?!http)[^)]+)\)", text):
    path, _, anchor = link.partition("#")
    if path.startswith("api/"):  # generated when the site is built
      continue
    target = page.parent / path if path else page
    assert target.exists(), link
    assert not anchor or anchor in _anchors(target), link
  for path in re.findall(r"--config=(configs/\w+\.py)", text):
    assert (README.parent / path).exists(), path


@pytest.mark.slow
def test_the_ten_lines(capsys):
  """The verdict is the printed one, to a point on each side."""
  (block,) = _blocks("Ten lines")
  exec(block, {})
  numbers = r"label_trust is better than uniform by ([\d.]+) to ([\d.]+) points"
  printed = re.search(numbers, README.read_text()).groups()
  found = re.search(numbers, capsys.readouterr().out).groups()
  for a, b in zip(printed, found, strict=True):
    assert abs(float(a) - float(b)) < 1


@pytest.mark.slow
def test_the_experiment_in_a_notebook(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (block,) = _blocks("In a notebook", START)
  digits = load_digits()
  names = {"images": digits.images / 16, "labels": digits.target}
  exec(block, names)
  assert names["result"].summary["top1"].max() > 0.8
  assert (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_the_recipe_for_several_sources(tmp_path, monkeypatch):
  """Ten measurements are too few, and the verdict says so."""
  monkeypatch.chdir(tmp_path)
  first, second = _blocks("Arrays", SOURCES)
  images, labels = bright_rows.make_data(480)
  parts = {"": 400, "valid_": 420, "test_": 450, "probe_": 480}
  names, start = {"source": np.array(["real", "distorted"] * 200)}, 0
  for name, end in parts.items():
    names |= {f"{name}images": images[start:end]}
    names |= {f"{name}labels": labels[start:end]}
    start = end
  short = [
    block.replace('"20000 examples"', '"80 steps"').replace("=5,", "=1,")
    for block in (first, second)
  ]
  exec(short[0], names)
  result = names["result"]
  assert {*result.policy("bandit")["arm"]} == {"real", "distorted"}
  assert "bandit measured" in result.verdict
  exec(short[1], names)
  learned = names["again"].policy("learned")["share"]
  found = result.policy("bandit")["share"]
  np.testing.assert_allclose(learned, found, atol=1e-6)
