"""Pools that a user made of parts that do not fit each other."""

import jax
import numpy as np
import pandas as pd
import pytest

from alcurr import data, samplers
from alcurr.core.errors import UserError
from alcurr.integrations import IndexStream
from alcurr.training import make_hooks
from alcurr.types import Images, Pool, Rows, Strokes

ROWS, LABEL = np.ones((40, 3), np.float32), np.zeros(40, np.int32)
GOOD = Pool(ROWS, LABEL, {}, {})
SAMPLER = samplers.uniform(batch_size=8)


def _stream(pool):
  IndexStream(SAMPLER, pool)


def _hooks(pool):
  hooks = make_hooks(SAMPLER, lambda params, batch: batch.inputs.sum(-1))
  hooks.init(jax.random.key(0), (), pool)


@pytest.mark.parametrize("enter", [_stream, _hooks])
@pytest.mark.parametrize(
  ("changes", "code", "place"),
  [
    ({"label": LABEL[:30]}, "data", "pool.source"),
    ({"source": pd.DataFrame(ROWS)}, "type", "pool.source"),
    ({"source": {"a": ROWS, "b": ROWS[1:]}}, "data", "pool.source['b']"),
    ({"source": Rows(ROWS.astype(str))}, "type", "pool.source.inputs"),
    ({"label": LABEL.astype(str)}, "type", "pool.label"),
    ({"label": LABEL.astype(bool)}, "data", "pool.label"),
    ({"label": pd.Series(LABEL)}, "type", "pool.label"),
    ({"label": LABEL.tolist()}, "type", "pool.label"),
    ({"label": LABEL[:0]}, "data", "pool.label"),
    ({"scores": {"length": LABEL[1:]}}, "data", "pool.scores['length']"),
    ({"partitions": {"label": LABEL}}, "type", "pool.partitions['label']"),
    (
      {"partitions": {"label": data.by_label(LABEL[1:], LABEL[1:], 1)}},
      *("data", "pool.partitions['label']"),
    ),
  ],
)
def test_a_pool_that_does_not_fit_itself_is_refused(
  changes, code, place, enter
):
  with pytest.raises(UserError) as error:
    enter(GOOD._replace(**changes))
  assert (error.value.code, error.value.place) == (code, place)


@pytest.mark.parametrize("enter", [_stream, _hooks])
def test_arrays_are_no_pool(enter):
  with pytest.raises(UserError) as error:
    enter(ROWS)
  assert (error.value.code, error.value.place) == ("type", "pool")


@pytest.mark.parametrize(
  "source",
  [
    (),
    Images(np.zeros((40, 2, 2, 1), np.uint8)),
    # Two points for each of 40 drawings of one stroke.
    Strokes(
      np.zeros((80, 2), np.uint8),
      np.arange(0, 82, 2, dtype=np.uint32),
      np.arange(41, dtype=np.int32),
    ),
  ],
)
def test_all_kinds_of_sources_are_pools(source):
  _stream(GOOD._replace(source=source))
  _hooks(GOOD._replace(source=source, label=np.zeros((40, 2), np.float32)))


def test_a_gather_of_the_users_own_knows_its_source():
  hooks = make_hooks(
    SAMPLER, lambda params, batch: batch.inputs, gather=lambda pool, index: None
  )
  hooks.init(jax.random.key(0), (), GOOD._replace(source=["a", "b"]))


def test_a_missing_partition_comes_with_what_makes_it():
  sampler = samplers.label_trust(batch_size=8, num_steps=40)
  with pytest.raises(UserError) as error:
    IndexStream(sampler, GOOD)
  assert "'label'" in error.value.text
  assert "alcurr.data.PARTITIONS" in error.value.text


def test_a_text_is_no_sampler():
  for enter in (
    lambda: IndexStream("uniform", GOOD),
    lambda: make_hooks("uniform", len),
  ):
    with pytest.raises(UserError) as error:
      enter()
    assert error.value.code == "argument"
