"""Operations of two operands whose gradients have lowerings of their own.

y = f(a, b) is linear in a and in b. So are the gradients that autodiff needs,
a' = g(y', b) and b' = h(a, y'), and each of the three is the transpose of the
others: a family that is closed under differentiation, forward and backward,
to any order. `jax.custom_vjp` would refuse forward mode.
"""

import functools
from collections.abc import Callable

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from alcurr.types import Array


def make_bilinear(
  name: str,
  forward: Callable[..., Array],
  first_grad: Callable[..., Array],
  second_grad: Callable[..., Array],
) -> tuple[Callable[..., Array], ...]:
  """The three functions, differentiable into each other.

  Args:
    name: for the programs that they stand in.
    forward: (a, b, **static) -> y, linear in a and in b.
    first_grad: (y', b, **static) -> a'.
    second_grad: (a, y', **static) -> b'.

  Returns:
    `forward`, `first_grad`, `second_grad`, with the same arguments.
  """
  f = _make_primitive(name, forward)
  g = _make_primitive(f"{name}_first_grad", first_grad)
  h = _make_primitive(f"{name}_second_grad", second_grad)
  # By the operand that is sought: (cotangent, first operand, second operand).
  ad.defbilinear(
    f,
    lambda ct, a, b, **s: g.bind(ct, b, **s),
    lambda ct, a, b, **s: h.bind(a, ct, **s),
  )
  ad.defbilinear(
    g,
    lambda ct, y, b, **s: f.bind(ct, b, **s),
    lambda ct, y, b, **s: h.bind(ct, y, **s),
  )
  ad.defbilinear(
    h,
    lambda ct, a, y, **s: g.bind(y, ct, **s),
    lambda ct, a, y, **s: f.bind(a, ct, **s),
  )
  return f.bind, g.bind, h.bind


def _make_primitive(name: str, fun: Callable[..., Array]) -> Primitive:
  primitive = Primitive(name)
  primitive.def_impl(fun)

  @primitive.def_abstract_eval
  def _(*operands, **static):
    out = jax.eval_shape(functools.partial(fun, **static), *operands)
    return jax.core.ShapedArray(out.shape, out.dtype)

  def batch(operands, axes, **static):
    # Differentiated before it is batched, it needs no rules of its own.
    batched = jax.vmap(functools.partial(fun, **static), in_axes=axes)
    return batched(*operands), 0

  batching.primitive_batchers[primitive] = batch
  mlir.register_lowering(primitive, mlir.lower_fun(fun, multiple_results=False))
  return primitive
