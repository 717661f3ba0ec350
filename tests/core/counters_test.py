"""Counters at the end of int32, against Python's integers."""

import jax.numpy as jnp

from alcurr.core.counters import count_in_ring, count_up

LARGEST = 2**31 - 1


def test_a_counter_stays_at_its_largest_number():
  count = jnp.int32(LARGEST - 3)
  for expected in (LARGEST - 1, LARGEST, LARGEST):
    count = count_up(count, jnp.int32(2))
    assert int(count) == expected
  assert count.dtype == jnp.int32


def test_a_ring_counts_its_items_and_places_for_ever():
  count, total = jnp.int32(0), 0
  for by in [3, 7, 0, 6, 7, 7, 1] * 10:
    count, total = count_in_ring(count, by, 7), total + by
    assert min(int(count), 7) == min(total, 7)
    assert int(count) % 7 == total % 7
    assert int(count) < 14
