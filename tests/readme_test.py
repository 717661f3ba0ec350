"""Tests of the README: its code runs, and its links exist."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from sklearn.datasets import load_digits

README = pathlib.Path(__file__).parents[1] / "README.md"


def _blocks(heading):
  """Returns the Python blocks of a section."""
  section = README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
  return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def _loss(w, images, label):
  logits = images @ w
  return float(
    -jax.nn.log_softmax(logits)[jnp.arange(len(label)), label].mean()
  )


def test_the_loop_in_plain_jax():
  """Both the model and the bandit learn."""
  loop, arrays = _blocks("Samplers in your own loop")
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
  loop, _ = _blocks("Samplers in your own loop")
  (training,) = _blocks("In a loop you already have")
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
    "docs/errors.md",
    "docs/loops.md",
    "results/README.md",
  ],
)
def test_every_path_on_a_page_exists(page):
  page = README.parent / page
  text = page.read_text()
  for link in re.findall(r"\]\(((?!http)[^)]+)\)", text):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists(), link
    assert not anchor or anchor in _anchors(target), link
  for path in re.findall(r"--config=(configs/\w+\.py)", text):
    assert (README.parent / path).exists(), path


@pytest.mark.slow
def test_the_experiment_in_a_notebook(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (block,) = _blocks("In a notebook")
  digits = load_digits()
  names = {"images": digits.images / 16, "labels": digits.target}
  exec(block, names)
  assert names["result"].summary["top1"].max() > 0.8
  assert (tmp_path / "report.html").exists()
