"""Networks by name: one file per family, each a factory of a `Model`.

The only importer of Flax. Adding one: write its file (docstring with the
paper and the table of layers; a Linen module of the pieces in `layers.py`,
called as `module(image, train=...)`; a factory that checks its arguments and
returns `from_linen(module, image_shape)`) and enter it in MODELS.
"""

from alcurr.models.cnn import cnn
from alcurr.models.layers import from_linen
from alcurr.models.mobilenet import mobilenet

__all__ = ["MODELS", "cnn", "from_linen", "mobilenet"]

MODELS = {"cnn": cnn, "mobilenet": mobilenet}
