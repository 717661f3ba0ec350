"""The record of all that a run's numbers depend on, and of nothing else."""

import os

import jax
import pytest

from alcurr.core import environment

_DEVICES = "--xla_force_host_platform_device_count"


@pytest.fixture
def before(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_b")
  monkeypatch.delenv("NPROC", raising=False)
  return environment.current()


@pytest.mark.parametrize(
  ("context", "name"),
  [
    (lambda: jax.threefry_partitionable(False), "jax_threefry_partitionable"),
    (
      lambda: jax.default_matmul_precision("bfloat16"),
      "jax_default_matmul_precision",
    ),
    (lambda: jax.enable_x64(True), "jax_enable_x64"),
    (lambda: jax.default_prng_impl("rbg"), "jax_default_prng_impl"),
    (lambda: jax.disable_jit(), "jax_disable_jit"),
  ],
)
def test_options_of_jax_that_change_numbers(context, name, before):
  with context():
    text = environment.differences(before, environment.current())
  assert text.startswith(f"{name} was ") and "," not in text


@pytest.mark.parametrize(
  "context",
  [
    lambda: jax.log_compiles(True),
    lambda: jax.debug_nans(True),
    lambda: jax.checking_leaks(),
    lambda: jax.transfer_guard("log"),
    lambda: jax.numpy_rank_promotion("raise"),
  ],
)
def test_options_of_jax_that_do_not(context, before):
  with context():
    assert environment.current() == before


@pytest.mark.parametrize(
  ("variable", "value", "name"),
  [
    ("XLA_FLAGS", "--xla_b --xla_a=1 --xla_dump_to=/tmp", ""),
    ("XLA_FLAGS", f"--xla_b --xla_a=1 {_DEVICES}=8", ""),
    ("XLA_FLAGS", "--xla_b --xla_a=2", "--xla_a"),
    ("XLA_FLAGS", "--xla_a=1", "--xla_b"),
    ("XLA_FLAGS", "--xla_a=1 --xla_b --xla_cpu_c=true", "--xla_cpu_c"),
    ("NPROC", "77", "threads"),
    ("NPROC", "x", ""),
    ("NVIDIA_TF32_OVERRIDE", "0", "NVIDIA_TF32_OVERRIDE"),
    ("JAX_TRACEBACK_FILTERING", "off", ""),
  ],
)
def test_variables(variable, value, name, before, monkeypatch):
  monkeypatch.setenv(variable, value)
  text = environment.differences(before, environment.current())
  assert text.split(" ")[0] == name


def test_the_flags_may_be_in_a_file(before, monkeypatch, tmp_path):
  (tmp_path / "flags").write_text("--xla_b\n--xla_a=1\n")
  monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
  assert environment.current() == before


def test_threads_are_the_cores_that_the_process_may_use(before, monkeypatch):
  cores = {0, 1, 2, 3, 4}
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
  now, then = environment.current(), before | {"threads": "2"}
  text = environment.differences(then, now)
  assert text == "threads was 2 and is 5 (NPROC=2 restores it)"


def test_differences_are_named():
  before = {"same": 1, "gone": 2, "inner": {"x": 3, "y": 4}}
  now = {"same": 1, "inner": {"x": 3, "y": 5}, "new": 6}
  assert environment.differences(before, before) == ""
  assert environment.differences(before, now) == (
    "gone was 2 and is unset, y was 4 and is 5, new was unset and is 6"
  )
  many = {str(i): i for i in range(9)}
  assert environment.differences(many, {}).endswith(" and 4 more")
