"""PyTorch's datasets are the arrays that their loader would collate."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from refusal import refused

torch = pytest.importorskip("torch", reason="the extra `torch` brings it")
from alcurr.data.torch_datasets import is_dataset, read_items  # noqa: E402

data = torch.utils.data
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(20) % 3


class Photos(data.Dataset):
  """PIL's images and classes, as torchvision's ImageFolder has them."""

  classes = ("ant", "bee", "cat")

  def __init__(self, transform=lambda image: image, label=int):
    self.transform, self.label = transform, label

  def __len__(self):
    return len(IMAGES)

  def __getitem__(self, i):
    return self.transform(Image.fromarray(IMAGES[i])), self.label(LABELS[i])


def _to_tensor(image):
  """As torchvision's ToTensor does."""
  return torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255


def test_a_tensor_dataset_is_its_tensors():
  rows = torch.tensor(RNG.normal(size=(20, 4)).astype(np.float32))
  labels = torch.tensor(LABELS)
  items = read_items(data.TensorDataset(rows, labels), "inputs")
  np.testing.assert_array_equal(items.inputs, rows)
  assert items.inputs.dtype == np.float32
  assert items.labels == labels.tolist() and items.class_names is None


@pytest.mark.parametrize("transform", [lambda image: image, _to_tensor])
def test_items_are_those_of_pytorchs_own_loader(transform):
  dataset = Photos(transform)
  items = read_items(dataset, "inputs")
  plain = Photos(lambda image: np.array(transform(image)))
  ((inputs, labels),) = data.DataLoader(plain, batch_size=20)
  np.testing.assert_array_equal(items.inputs, inputs)
  assert items.labels == labels.tolist()
  assert items.class_names == ["ant", "bee", "cat"]


def test_a_subset_has_its_own_order_and_the_names_that_it_needs():
  order = [7, 3, 11, 4, 5]
  subset = data.Subset(data.Subset(Photos(), range(1, 20)), order)
  items = read_items(subset, "inputs")
  np.testing.assert_array_equal(items.inputs, IMAGES[1:][order])
  assert items.labels == LABELS[1:][order].tolist()
  assert items.class_names == ["ant", "bee", "cat"]
  some = data.Subset(Photos(), [0, 1, 3, 4])  # no cat
  assert read_items(some, "inputs").class_names is None
  texts = Photos(label=lambda i: Photos.classes[i])
  assert read_items(texts, "inputs").class_names is None


class Listed(data.Dataset):
  """Any items."""

  def __init__(self, *items):
    self.items = items

  def __len__(self):
    return len(self.items)

  def __getitem__(self, i):
    return self.items[i]


def test_inputs_may_be_dicts_and_labels_vectors():
  rows = [{"a": torch.ones(2) * i, "b": i} for i in range(4)]
  targets = torch.arange(8.0).reshape(4, 2)
  items = read_items(Listed(*zip(rows, targets, strict=True)), "inputs")
  np.testing.assert_array_equal(items.inputs["a"][:, 0], range(4))
  np.testing.assert_array_equal(items.inputs["b"], range(4))
  assert items.labels == targets.tolist()


def _noisy(image):
  return np.asarray(image) / 255 + torch.rand(()).item()


class Endless(data.IterableDataset):
  def __iter__(self):
    return iter([])


PAIR = torch.zeros(3), 0


@pytest.mark.parametrize(
  ("dataset", "code"),
  [
    (Listed(), "data"),
    (Listed(PAIR, (torch.zeros(4), 0)), "data"),
    (Listed(PAIR, (torch.zeros(3).double(), 0)), "data"),
    (Listed(PAIR, ({"x": torch.zeros(3)}, 0)), "data"),
    (Listed((*PAIR, 1)), "data"),
    (Listed({"image": PAIR[0], "label": 0}), "data"),
    (Listed(torch.zeros(3)), "data"),
    (Listed((torch.zeros(3).bfloat16(), 0)), "data"),
    (Photos(_noisy), "data"),
    (Photos(label=lambda i: torch.rand(()) + int(i)), "data"),
    (Endless(), "type"),
    (data.DataLoader(Photos()), "type"),
  ],
)
def test_datasets_without_arrays_are_refused(dataset, code):
  assert is_dataset(dataset)
  with refused(code, "test"):
    read_items(dataset, "test")


def test_other_things_are_no_datasets():
  for value in (None, IMAGES, torch.zeros(3), [PAIR], ([1], [2])):
    assert not is_dataset(value)


def test_pytorch_is_not_imported_to_find_out():
  program = """
import sys
from alcurr.data.torch_datasets import is_dataset
assert not is_dataset([1]) and "torch" not in sys.modules
"""
  subprocess.run([sys.executable, "-c", program], check=True)
