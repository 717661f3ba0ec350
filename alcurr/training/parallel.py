"""Many devices: one mesh with the axes `trial` and `data`, split by JAX.

Trials are split over `trial`: each part of the devices runs the program of one
device on its own trials. A batch is split over `data` after it was drawn. Draws
and states are the same on every device, so that no number depends on how many
there are, except that sums over a batch associate otherwise.

The functions that steps call (`split_trials`, `split_gather`, `replicate`) look
at the mesh of the context, see `jax.set_mesh`. Without one they change nothing:
the program of one device is the same as if they were not there.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alcurr.training.meshes import COPY, DATA, TRIAL
from alcurr.types import Array, Fetched, Pool, PyTree

REPLICATED = PartitionSpec()
BY_TRIAL = PartitionSpec(TRIAL)  # of arrays with a leading axis [S]
BY_DEVICE = PartitionSpec((TRIAL, DATA))


def _context_size(axis: str) -> int:
  """Returns the size of an axis of the context's mesh; 0 without a mesh."""
  return jax.sharding.get_abstract_mesh().shape.get(axis, 0)


def replicate(tree: PyTree) -> PyTree:
  """Makes every device of a trial compute, or receive, all of a tree."""
  if not _context_size(DATA):
    return tree
  return jax.lax.with_sharding_constraint(tree, REPLICATED)


def split_batch(tree: PyTree) -> PyTree:
  """Splits arrays [B, ...] over the devices of a trial, if B divides."""
  num = _context_size(DATA)
  if not num:
    return tree

  def split(leaf: Array) -> Array:
    spec = REPLICATED if leaf.shape[0] % num else PartitionSpec(DATA)
    return jax.lax.with_sharding_constraint(leaf, spec)

  return jax.tree.map(split, tree)


def round_up(batch_size: int) -> int:
  """Returns the next batch size that the devices of a trial divide."""
  num = max(_context_size(DATA), 1)
  return -(-batch_size // num) * num


def split_gather(
  gather: Callable[[Pool, Array], PyTree],
) -> Callable[[Pool, Array], PyTree]:
  """Makes each device of a trial gather its own slice of a batch.

  `gather` is a function (pool, index [b]) -> arrays [b, ...]. Where the devices
  do not divide b, each gathers all. Within `split_trials` no axis is left to
  JAX, as callbacks to the host demand: each device fetches its own slice.
  """

  def gather_split(pool: Pool, index: Array) -> PyTree:
    num = _context_size(DATA)
    if not num:
      return gather(pool, index)
    spec = REPLICATED if index.shape[0] % num else PartitionSpec(DATA)
    return jax.shard_map(
      gather,
      in_specs=(_specs(pool, PartitionSpec(DATA)), spec),
      out_specs=spec,
      axis_names={DATA, COPY},
      check_vma=False,
    )(pool, index)

  return gather_split


def split_trials(fun: Callable) -> Callable:
  """Splits the trials of `fun(state [S], *shared) -> arrays [S, ...]`."""

  @functools.wraps(fun)  # programs have its name
  def fun_split(state: PyTree, *shared: PyTree) -> PyTree:
    if not _context_size(TRIAL):
      return fun(state, *shared)
    return jax.shard_map(
      fun,
      in_specs=(BY_TRIAL, *_specs(shared, BY_TRIAL)),
      out_specs=BY_TRIAL,
      axis_names={TRIAL},
      check_vma=False,
    )(state, *shared)

  return fun_split


def _specs(tree: PyTree, of_fetched: PartitionSpec) -> PyTree:
  """Returns the specs of replicated arrays, and of examples of a chunk."""

  def is_fetched(x: PyTree) -> bool:
    return isinstance(x, Fetched)

  def spec(x: PyTree) -> PartitionSpec:
    return of_fetched if is_fetched(x) else REPLICATED

  return jax.tree.map(spec, tree, is_leaf=is_fetched)


def shardings(mesh: Mesh, state: PyTree, *shared: PyTree) -> tuple:
  """Returns the shardings of the arguments of `split_trials`'s function."""
  del state
  by_argument = (BY_TRIAL, *_specs(shared, BY_DEVICE))
  return jax.tree.map(lambda spec: NamedSharding(mesh, spec), by_argument)


def put(mesh: Mesh | None, tree: PyTree, spec: PartitionSpec) -> PyTree:
  """Puts arrays that every process has on the devices of a mesh.

  Without a mesh, they go to the device as they are.
  """
  if mesh is None:
    return jax.device_put(tree, may_alias=False)
  sharding = NamedSharding(mesh, spec)

  def put_leaf(leaf: Array | np.ndarray) -> Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(put_leaf(jax.random.key_data(leaf)))
    leaf = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)

  return jax.tree.map(put_leaf, tree)


def stack(trees: Sequence[PyTree]) -> PyTree:
  """Stacks trees of arrays with a new leading axis, without compiling."""

  def stack_leaves(*leaves: Array) -> Array:
    if jax.dtypes.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
      # NumPy has no keys.
      data = stack_leaves(*map(jax.random.key_data, leaves))
      return jax.random.wrap_key_data(data)
    return jax.device_put(np.stack(jax.device_get(leaves)))

  return jax.tree.map(stack_leaves, *trees)


def replicator(mesh: Mesh | None) -> Callable[[PyTree], PyTree]:
  """Returns a function that puts arrays on every device of a mesh."""
  return lambda tree: put(mesh, tree, REPLICATED)


def on_host(tree: PyTree) -> PyTree:
  """Returns a state that may be split over trials, in host memory.

  With several processes, all must call it.
  """
  leaves = jax.tree.leaves(tree)
  if all(getattr(x, "is_fully_addressable", True) for x in leaves):
    return jax.device_get(tree)
  whole = NamedSharding(leaves[0].sharding.mesh, REPLICATED)
  return local(jax.jit(lambda x: x, out_shardings=whole)(tree))


def local(tree: PyTree) -> PyTree:
  """Returns this process's copy of replicated arrays, on one device."""
  return jax.tree.map(
    lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree
  )
