"""PyTorch's networks have alcurr's numbers of parameters and classes."""

import image_networks
import jax
import pytest

from alcurr.models import MODELS

torch_models = pytest.importorskip(
  "benchmarks.torch_models", exc_type=ModuleNotFoundError
)
torch = pytest.importorskip("torch")

NETWORKS = sorted({*image_networks.NAMES} - {"bayesian_cnn", "cnn"})


def size(network):
  return sum(p.numel() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NETWORKS)
def test_as_many_parameters_as_alcurr(name):
  model = MODELS[name](input_shape=(75, 75, 3), num_classes=30)
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  network = torch_models.network(name, 30)
  assert size(network) == sum(leaf.size for leaf in jax.tree.leaves(params))
  with torch.inference_mode():
    assert network.eval()(torch.zeros(1, 3, 75, 75)).shape == (1, 30)


def test_nasnet_mobile_has_the_published_size():
  """Like Keras: 5,326,716, of which 36,738 are running statistics."""
  network = torch_models.network("nasnet_mobile", 1000)
  assert size(network) == 5_326_716 - 36_738
