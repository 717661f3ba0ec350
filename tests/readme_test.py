"""What the README shows runs as it stands."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import toy

README = pathlib.Path(__file__).parents[1] / "README.md"


def _loss(w, images, label):
  logits = images @ w
  return float(
    -jax.nn.log_softmax(logits)[jnp.arange(len(label)), label].mean()
  )


def test_the_loop_without_train_py():
  """The samplers in a bare JAX loop: it learns, and so does the bandit."""
  loop, arrays = re.findall(
    r"```python\n(.*?)```", README.read_text(), re.DOTALL
  )
  _, training = loop.split("\n)\n")  # after the sampler is made
  assert sum(bool(line.strip()) for line in training.splitlines()) <= 15
  toys = toy.make_pool()
  names = {
    "my_images": np.asarray(toys.source.image),
    "my_labels": np.asarray(toys.label),
    "my_difficulty": np.asarray(toys.difficulty),
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


def test_every_path_it_names_is_there():
  text = README.read_text()
  headings = {
    re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
  }
  for anchor in re.findall(r"\]\(#([^)]+)\)", text):
    assert anchor in headings, anchor
  for path in re.findall(r"\]\(((?!http|#)[^)]+)\)", text):
    assert (README.parent / path).exists(), path
  for path in re.findall(r"--config=(configs/\w+\.py)", text):
    assert (README.parent / path).exists(), path
