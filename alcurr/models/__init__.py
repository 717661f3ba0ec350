"""Networks by name: one file per family, each a factory of a `Model`.

The only importer of Flax. Adding one: write its file (docstring with the
paper and the table of layers; a Linen module of the pieces in `layers.py`,
called as `module(image, train=...)`; a factory that checks its arguments and
returns `from_linen(module, image_shape)`) and enter it in MODELS. A network of
your own, of Linen, NNX or plain functions, is a `Model` by `adapters`.

Arguments of every network (the small `cnn` has the first five and `dtype`):

  image_shape  (H, W, C), any number of channels
  num_classes  V, at least 2
  width        multiplies the channels, positive
  norm         "batch" or "group" (which does not mix examples)
  conv         the lowering of convolutions and pools: "auto", the fastest on
               the backend, or "lax", "shift", "matmul", see `lowerings`
  dtype        of the arithmetic, "float32" or "bfloat16"; parameters, batch
               statistics and logits are float32
  remat        whether a block's forward pass is done again in the backward
               pass, which saves the memory of what lies within it
  weights      a file of ImageNet weights to start from, see `imagenet`
  one_channel  what weights for RGB do with images of one channel: "sum" the
               first kernel over its inputs, or "triple" the image
"""

from alcurr.core.registry import Registry
from alcurr.models._cnn import cnn
from alcurr.models._inception_resnet import inception_resnet_v2
from alcurr.models._mobilenet import mobilenet
from alcurr.models._nasnet import nasnet_large, nasnet_mobile
from alcurr.models._resnet import resnet50
from alcurr.models._se_resnext import se_resnext50_32x4d
from alcurr.models.adapters import from_functions as from_functions
from alcurr.models.adapters import from_linen as from_linen
from alcurr.models.adapters import from_nnx as from_nnx
from alcurr.types import Model

MODELS = Registry(
  "models",
  {
    factory.__name__: factory
    for factory in (
      cnn,
      inception_resnet_v2,
      mobilenet,
      nasnet_large,
      nasnet_mobile,
      resnet50,
      se_resnext50_32x4d,
    )
  },
  record=Model,
)
