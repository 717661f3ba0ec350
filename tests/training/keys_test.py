"""Every integer is a seed of its own."""

import jax
import numpy as np
import pytest

from alcurr.training.keys import seed_key


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_a_seed_of_one_word_is_jaxs_own_key(seed):
  for same in (seed, np.int64(seed), np.uint32(seed), np.array(seed)):
    assert seed_key(same) == jax.random.key(seed)


def test_seeds_differ_in_every_bit():
  powers = [1 << bit for bit in (0, 31, 32, 33, 63, 64, 95, 96, 200)]
  seeds = {0, *powers, *(-p for p in powers), *(p + 1 for p in powers)}
  keys = {tuple(jax.random.key_data(seed_key(s)).tolist()) for s in seeds}
  assert len(keys) == len(seeds)


def test_with_64_bit_types_the_keys_are_the_same():
  for seed in (5, -5, 2**32 + 5, 2**64 + 5):
    key = seed_key(seed)
    with jax.enable_x64(True):
      assert seed_key(seed) == key


def test_what_is_no_integer_is_refused():
  for seed in (1.0, "1", None, np.float32(1)):
    with pytest.raises(TypeError):
      seed_key(seed)
