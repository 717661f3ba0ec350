"""Programs are compiled once, with the options of the backend."""

import re
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.core.errors import UserError
from alcurr.training import compilation

IMAGES, KERNEL = (32, 14, 14, 32), (3, 3, 32, 64)


def _convolve(x, kernel):
  """Returns a convolution and an independent product."""
  out = jax.lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  return out, x.reshape(-1, 32) @ kernel.reshape(32, -1)


def _operands():
  rng = np.random.default_rng(0)
  return rng.normal(size=IMAGES).astype("f4"), rng.normal(size=KERNEL).astype(
    "f4"
  )


def _in_ynn(text: str, operation: str) -> bool:
  """Returns whether a program hands the operation to YNN, in a fusion."""
  bodies = dict(
    re.findall(r"^%?([\w.-]+) \([^\n]*\{\n(.*?)^\}", text, re.M | re.S)
  )
  called = re.findall(r'calls=%?([\w.-]+),[^\n]*"__ynn_fusion"', text)
  return any(f" {operation}(" in bodies[name] for name in called)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="YNN is for CPUs")
def test_convolutions_stay_with_xla_and_products_do_not(monkeypatch):
  monkeypatch.setattr(compilation, "_compiled", {})
  x, kernel = _operands()
  plain = jax.jit(_convolve).lower(x, kernel).compile()
  if not _in_ynn(plain.as_text(), "convolution"):
    pytest.skip("this XLA hands no convolution to YNN")
  ours = compilation.compile_once(_convolve, x, kernel)
  assert not _in_ynn(ours.as_text(), "convolution")
  assert _in_ynn(ours.as_text(), "dot")
  for here, there in zip(ours(x, kernel), plain(x, kernel), strict=True):
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-3)


def test_a_user_s_xla_flags_are_respected(monkeypatch):
  options = compilation.compiler_options.__wrapped__
  flag = "--xla_cpu_experimental_ynn_fusion_type=-reduce"
  monkeypatch.setenv("XLA_FLAGS", flag)
  assert options() == {}


def test_an_unknown_option_is_omitted(monkeypatch):
  monkeypatch.setattr(compilation, "_YNN", "xla_no_such_option")
  assert compilation.compiler_options.__wrapped__() == {}


def test_threads_compile_the_same_program_once(monkeypatch):
  monkeypatch.setattr(compilation, "_compiled", {})
  x = jnp.arange(3.0)
  with futures.ThreadPoolExecutor(8) as threads:
    submitted = [
      threads.submit(compilation.compile_once, lambda y: y * 2 + 1, x)
      for _ in range(16)
    ]
    programs = {id(future.result()) for future in submitted}
  assert len(programs) == 1
  np.testing.assert_array_equal(submitted[0].result()(x), [1, 3, 5])


def test_a_platform_that_is_not_here_is_the_users_mistake(monkeypatch):
  def devices():
    raise RuntimeError("Unable to initialize backend 'cuda': no GPU\n...")

  monkeypatch.setattr(jax, "devices", devices)
  with pytest.raises(UserError) as error:
    compilation.find_devices()
  assert (error.value.code, error.value.place) == ("missing", "JAX_PLATFORMS")
