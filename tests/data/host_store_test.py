"""Pools on the host: what is fetched, and that runs stay the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from alcurr.data import strokes
from alcurr.data.host_store import make_fetch, make_lookup
from alcurr.data.pool import make_gather
from alcurr.data.quickdraw import synthetic
from alcurr.data.render import make_render
from alcurr.training import loop
from alcurr.training.run import RunSpec, compile_run
from alcurr.training.scoring import make_score
from alcurr.types import Images, Pool, Stored, Strokes

_SAMPLERS = {
  "uniform": {"name": "uniform"},
  "bandit_self": {
    "name": "active_bandit",
    "bandit": "softmax(learning_rate=1.0)",
    "gain": "self_prediction_gain(probe_size=4)",
    "reward": "rank(window=50)",
    "warmup": 2,
    "epsilon": "linear(value=1.0, end=0.1)",
  },
  "curriculum": {"name": "curriculum"},
  "fixed_policy": {"name": "fixed_policy", "policy": "uniform"},
}


def _store() -> Strokes:
  return synthetic.make_synthetic(60, num_classes=3).source


def _memory_mapped(store, folder):
  """The same store in files, of which nothing is read ahead."""
  mapped = {}
  for name, array in store._asdict().items():
    np.save(folder / f"{name}.npy", array)
    mapped[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
  return type(store)(**mapped)


@pytest.mark.parametrize("memory_mapped", [False, True])
def test_drawings_are_those_of_the_store(memory_mapped, tmp_path):
  store = _store()
  there = _memory_mapped(store, tmp_path) if memory_mapped else store
  fetch = make_fetch(make_lookup(there))
  row = np.array([7, 0, 59, 7, 31], np.int32)
  found = jax.device_get(jax.jit(fetch)(row))
  for place, drawing in enumerate(row):
    mine = strokes.unpack(found, place)
    theirs = strokes.unpack(store, drawing)
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
      np.testing.assert_array_equal(a, b)


def test_images_are_those_of_the_store():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (9, 4, 5, 1)).astype(np.uint8)
  row = np.array([8, 3, 3], np.int32)
  found = jax.jit(make_fetch(make_lookup(Images(image))))(row)
  np.testing.assert_array_equal(found.image, image[row])


def test_trials_fetch_each_its_own():
  store = _store()
  fetch, render = make_fetch(make_lookup(store)), make_render(size=12)
  row = np.array([[1, 2, 3], [50, 2, 51]], np.int32)

  def image(row):
    return render(fetch(row), jnp.arange(3))

  together = jax.jit(jax.vmap(image))(row)
  on_device = jax.tree.map(jnp.asarray, store)
  for mine, rows in zip(together, row, strict=True):
    np.testing.assert_array_equal(mine, render(on_device, rows))


def test_stores_that_look_alike_are_not_confused():
  """Programs are compiled once for each text, and must tell stores apart."""
  image = np.zeros((4, 2, 2, 1), np.uint8)
  texts = {
    jax.jit(make_fetch(make_lookup(Images(image))))
    .lower(np.zeros(3, np.int32))
    .as_text()
    for _ in range(3)
  }
  assert len(texts) == 3


def test_a_pool_on_the_host_needs_a_fetch():
  pool = toy.make_pool(8)._replace(source=Stored(jnp.arange(8)))
  with pytest.raises(ValueError, match="needs a fetch function"):
    make_gather()(pool, jnp.arange(2))


def _pools() -> tuple[dict[str, Pool], dict[str, Pool], Images]:
  """Pools on the device; the same on the host, and the store of them."""
  pools = {
    "train": toy.make_pool(640),
    "probe": toy.make_pool(60, seed=2),
    "valid": toy.make_pool(100, seed=1),
  }
  # One store of all, in another order than any pool's.
  order = np.random.default_rng(0).permutation(800).astype(np.int32)
  image = np.empty((800, 4, 4, 1), np.uint8)
  image[order] = np.concatenate([p.source.image for p in pools.values()])
  parts = np.split(order, np.cumsum([640, 60]))
  on_host = {
    name: pool._replace(source=Stored(jnp.asarray(row)))
    for (name, pool), row in zip(pools.items(), parts, strict=True)
  }
  return pools, on_host, Images(image)


def _run(sampler: str, trials_by: str, store: Images | None, **changes):
  lookup = make_lookup(store) if store else None
  fetch = make_fetch(lookup) if lookup else None
  gather = make_gather(fetch=fetch)
  run = toy.make_run(_SAMPLERS[sampler], num_steps=12, trials_by=trials_by)
  return run._replace(
    gather=gather,
    score=make_score(toy.make_linear(), gather, 50, trials_by),
    lookup=lookup,
    **changes,
  )


def _train(run: RunSpec, pools: dict[str, Pool]):
  rows = []
  plan = compile_run(run, pools)
  result = loop.train(run, plan, pools, rows.append, lambda *_: None)
  for row in rows:
    del row["train_seconds"]
  return toy.arrays(result.state), toy.arrays(result.exposure), rows


@pytest.mark.parametrize(
  ("sampler", "trials_by"),
  [
    ("bandit_self", "map"),
    pytest.param("uniform", "vmap", marks=pytest.mark.slow),
    pytest.param("bandit_self", "vmap", marks=pytest.mark.slow),
    pytest.param("curriculum", "map", marks=pytest.mark.slow),
    pytest.param("fixed_policy", "map", marks=pytest.mark.slow),
  ],
)
def test_a_run_is_the_same(sampler, trials_by):
  pools, on_host, store = _pools()
  state, seen, rows = _train(_run(sampler, trials_by, None), pools)
  run = _run(sampler, trials_by, store)
  other_state, other_seen, other_rows = _train(run, on_host)
  # Every draw, and all that is not rounded; XLA may fuse the two programs
  # differently, and so round the rest.
  np.testing.assert_equal(seen, other_seen)
  for mine, theirs in zip(state, other_state, strict=True):
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
  for row, other in zip(rows, other_rows, strict=True):
    assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
