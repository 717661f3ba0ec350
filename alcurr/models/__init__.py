"""Networks by name: one private file per family, each a factory of a `Model`.

Flax is imported here and nowhere else. `from_linen`, `from_nnx` and
`from_functions` turn a network of your own into a `Model`; `mean_field` gives
one Gaussian weights.

To add a network, write its file: a docstring with the paper and a table of
the layers, a Linen module built from `layers.Kit`, and a function that builds
the module, with the decorator `imagenet.factory`. Then enter it in MODELS.

`mlp` and `bag_of_tokens` are for rows, and have arguments of their own. Those
of every other network, by name (`cnn` and `bayesian_cnn` have the first five
and `dtype`), raise ValueError where they are out of range:

  input_shape  (H, W, C), at least MIN_SIZE of the network's file; any C
  num_classes  V classes, or numbers to predict
  width        multiplies the channels, positive
  norm         "batch" or "group" (which does not mix examples)
  conv         the lowering of convolutions and pools: "auto", the fastest on
               the backend, or "lax", "shift", "matmul"; see `lowerings`
  dtype        of the arithmetic, "float32" or "bfloat16"; parameters, batch
               statistics and logits are float32
  remat        whether the backward pass recomputes each block instead of
               storing it, which saves memory
  weights      a file of ImageNet weights to start from; see `imagenet`
  one_channel  how weights for RGB treat images of one channel: "sum" adds up
               the first kernel over its inputs, "triple" repeats the image
"""

from alcurr.core.registry import Registry
from alcurr.models._bag_of_tokens import bag_of_tokens
from alcurr.models._bayesian import bayesian_cnn, mean_field
from alcurr.models._cnn import cnn
from alcurr.models._inception_resnet import inception_resnet_v2
from alcurr.models._mlp import mlp
from alcurr.models._mobilenet import mobilenet
from alcurr.models._nasnet import nasnet_large, nasnet_mobile
from alcurr.models._resnet import resnet50
from alcurr.models._se_resnext import se_resnext50_32x4d
from alcurr.models.adapters import from_functions, from_linen, from_nnx
from alcurr.models.scoring import with_scorer
from alcurr.types import Model

__all__ = [
  "MODELS",
  "bag_of_tokens",
  "bayesian_cnn",
  "cnn",
  "from_functions",
  "from_linen",
  "from_nnx",
  "inception_resnet_v2",
  "mean_field",
  "mlp",
  "mobilenet",
  "nasnet_large",
  "nasnet_mobile",
  "resnet50",
  "se_resnext50_32x4d",
  "with_scorer",
]

MODELS = Registry(
  "models",
  {
    "bag_of_tokens": bag_of_tokens,
    "bayesian_cnn": bayesian_cnn,
    "cnn": cnn,
    "inception_resnet_v2": inception_resnet_v2,
    "mlp": mlp,
    "mobilenet": mobilenet,
    "nasnet_large": nasnet_large,
    "nasnet_mobile": nasnet_mobile,
    "resnet50": resnet50,
    "se_resnext50_32x4d": se_resnext50_32x4d,
  },
  record=Model,
)
