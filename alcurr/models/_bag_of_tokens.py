"""A classifier of texts: the mean of the embeddings of their tokens.

Joulin, Grave, Bojanowski and Mikolov 2016, "Bag of Tricks for Efficient Text
Classification" (fastText), without n-grams:

  logits = W mean_{l: token_l != 0} E[token_l mod buckets] + b

Token 0 is padding. Rows of E are shared by tokens of the same remainder, so
that any hash may be a token (Weinberger et al. 2009, "Feature Hashing").
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.models import adapters, layers
from alcurr.types import Array, Model, PyTree


class BagOfTokens(nn.Module):
  num_classes: int
  buckets: int
  width: int

  @nn.compact
  def __call__(self, tokens: Array, train: bool) -> Array:
    is_token = (tokens != 0).astype(jnp.float32)[..., None]
    embedding = nn.Embed(self.buckets, self.width, name="embedding")
    vectors = embedding(tokens % self.buckets) * is_token
    mean = vectors.sum(1) / jnp.maximum(is_token.sum(1), 1)
    return nn.Dense(
      self.num_classes, kernel_init=layers.glorot_uniform, name=layers.HEAD
    )(mean)


def bag_of_tokens(
  *,
  input_shape: PyTree,
  num_classes: int,
  buckets: int = 2**15,
  width: int = 64,
) -> Model:
  """Builds a classifier of texts [B, L] int32, of L tokens.

  Args:
    input_shape: a `jax.ShapeDtypeStruct` of L whole numbers.
    num_classes: V classes, or numbers to predict.
    buckets: rows of the embedding.
    width: of the embedding.

  Raises:
    ValueError: an argument is out of range, or the inputs are no tokens.
  """
  check_at_least(1, num_classes=num_classes)
  check_at_least(1, buckets=buckets, width=width)
  is_array = isinstance(input_shape, jax.ShapeDtypeStruct)
  if not (is_array and jnp.issubdtype(input_shape.dtype, jnp.integer)):
    text = "the inputs must be tokens, [N, L] whole numbers"
    raise ValueError(f"{text}, got {input_shape}")
  module = BagOfTokens(num_classes, buckets, width)
  return adapters.from_linen(module, input_shape, head=layers.HEAD)
