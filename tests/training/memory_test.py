"""The memory that a run needs, the free memory, and runs that do not fit."""

import pathlib
import types

import jax
import numpy as np
import pytest
import toy
import toy_samplers
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.data.pool import Dataset, make_gather, on_device
from alcurr.experiments import (
  compiled_runs,
  experiment_runner,
  reference_model,
  setup,
)
from alcurr.experiments.added_trials import Block
from alcurr.experiments.config import build
from alcurr.experiments.pools import host_pools
from alcurr.report import page
from alcurr.training import checkpoint_writer, compilation, memory
from alcurr.training.run import (
  Chunks,
  CompiledRun,
  abstract_trials,
  compile_run,
)
from alcurr.types import Split
from configs import default

GB = 10**9


def _shapes(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


@pytest.fixture(scope="module")
def toy_pools():
  pools = {"train": toy.make_pool(640), "valid": toy.make_pool(96, seed=1)}
  return pools | {"probe": pools["valid"]}


def _compile(pools, **changes):
  return compile_run(toy.make_run(trials_by="vmap", **changes), pools)


def test_a_pool_is_counted_by_hand_and_once(toy_pools):
  needed = memory.estimate(_compile(toy_pools), toy_pools)
  # An example: 16 uint8 and a label and a difficulty of 4 bytes each; in each
  # of eight partitions an arm and a place, 4 bytes each.
  examples = (640 + 96) * (16 + 4 + 4 + 8 * (4 + 4))
  # An arm: a start and a size. Three partitions of 5 arms; labels, and groups,
  # clusters and planted, here the classes; and labels and difficulty.
  num_arms = 3 * toy.NUM_ARMS + toy.NUM_CLASSES * (4 + toy.NUM_ARMS)
  assert needed.pool == examples + 2 * num_arms * (4 + 4)


def test_a_split_pool_is_shared_by_the_devices_of_a_trial(toy_pools):
  compiled = _compile(toy_pools)
  split = {
    name: toy_pools[name]._replace(source=Split(toy_pools[name].source))
    for name in ("train", "valid")
  }
  mesh = types.SimpleNamespace(shape={"trial": 2, "data": 4})
  whole, parts = (
    memory.estimate(compiled, pools, mesh=mesh).pool
    for pools in (toy_pools, split)
  )
  # The images of 16 bytes each; labels and the like are on every device.
  assert whole - parts == (640 + 96) * 16 * 3 // 4


def test_a_state_is_parameters_moments_sampler_and_key(toy_pools):
  needed = memory.estimate(_compile(toy_pools), toy_pools)
  params = (16 * toy.NUM_CLASSES + toy.NUM_CLASSES) * 4
  # Adam has two moments and a count; the sampler a key, its group's size, the
  # pass and the place in it; the run a step and a key.
  assert needed.state == params + (2 * params + 4) + (8 + 3 * 4) + (4 + 8)
  assert needed.trials == 2
  # The exposure count of each of the 640 examples, on the host.
  assert needed.exposure == 640 * 4
  states = 2 * (needed.state + needed.exposure)
  assert needed.total == needed.pool + states + needed.activations


@pytest.mark.slow  # the test of candidates measures them too
def test_activations_grow_with_the_batch(toy_pools):
  small, large = (
    memory._activations(_compile(toy_pools, batch_size=size).chunks.program)
    for size in (8, 512)
  )
  # At least the images of a batch as floats, of two trials.
  assert large - small >= (512 - 8) * 2 * 16 * 4


def test_candidates_count_although_few_are_trained_on(toy_pools):
  few, many = (
    _compile(
      toy_pools,
      sampler=toy_samplers.largest_loss(batch_size=8, num_candidates=count),
    )
    for count in (8, 512)
  )
  # At least the images of the candidates as floats, of two trials.
  grown = memory._activations(many.chunks.program)
  grown -= memory._activations(few.chunks.program)
  assert grown >= (512 - 8) * 2 * 16 * 4
  states = [memory.estimate(run, toy_pools).state for run in (few, many)]
  assert states[0] == states[1]


def _abstract_state():
  return abstract_trials(toy.make_run(trials_by="vmap"), toy.make_pool(64))


def test_the_larger_program_counts_and_donated_results_do_not():
  def program(temp, output, alias):
    analysis = types.SimpleNamespace(
      temp_size_in_bytes=temp,
      output_size_in_bytes=output,
      alias_size_in_bytes=alias,
    )
    return types.SimpleNamespace(memory_analysis=lambda: analysis)

  for training, evaluation, expected in (
    (program(100, 50, 45), program(90, 20, 0), 110),
    (program(100, 50, 30), program(90, 20, 0), 120),
  ):
    chunks = Chunks([], 1, training, None)
    compiled = CompiledRun(chunks, evaluation, _abstract_state(), 0, 0)
    assert memory.estimate(compiled, {}).activations == expected


def test_unknown_activations_do_not_count():
  silent = types.SimpleNamespace(memory_analysis=lambda: None)
  chunks = Chunks([], 1, silent, None)
  compiled = CompiledRun(chunks, silent, _abstract_state(), 0, 0)
  needed = memory.estimate(compiled, {})
  assert needed.activations is None and needed.total == 2 * needed.state > 0
  assert "unknown" in needed.describe()
  assert memory.fits(needed, needed.total * 2)
  assert not memory.fits(needed, needed.total)  # there is a margin
  assert memory.fits(needed, None)


def test_copies_of_the_state_and_prefetched_chunks_count():
  one = memory.Estimate(pool=5, state=7, trials=3, activations=11)
  assert one.total == 5 + 3 * 7 + 11
  copied = one._replace(copies=2, exposure=2, prefetched=13)
  assert copied.total == 5 + 13 + 3 * (3 * (7 + 2)) + 11


@pytest.mark.slow  # experiments rely on it too
def test_shapes_numpy_and_arrays_compile_to_one_program(toy_pools):
  """Otherwise compiling ahead would compile twice."""
  first = _compile(_shapes(toy_pools))
  num_compiled = len(compilation._compiled)
  for pools in (jax.tree.map(np.asarray, toy_pools), toy_pools):
    compiled = _compile(pools)
    assert compiled.chunks.program is first.chunks.program
    assert compiled.score is first.score
  assert len(compilation._compiled) == num_compiled


def test_a_pool_of_two_names_is_put_on_the_device_once(toy_pools):
  put = on_device(
    jax.tree.map(np.asarray, toy_pools) | {"x": toy_pools["valid"]}
  )
  assert isinstance(put["train"].label, jax.Array)
  host = jax.tree.map(np.asarray, toy_pools["valid"])
  put = on_device({"valid": host, "probe": host})
  assert put["probe"] is put["valid"]


def test_the_host_has_what_the_kernel_says():
  lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
  info = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
  assert 0 < memory.free_memory() <= info["MemTotal"]
  assert memory._free_on_host() == pytest.approx(info["MemAvailable"], rel=0.1)


def _write(folder, files):
  for name, text in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
  ("files", "free"),
  [
    ({}, []),
    ({"proc/self/cgroup": "0::/a/b\n"}, []),
    (
      {
        "proc/self/cgroup": "0::/a/b\n",
        "cgroups/a/b/memory.max": "max\n",
        "cgroups/a/b/memory.current": "10\n",
        "cgroups/a/b/memory.stat": "inactive_file 5\n",
        "cgroups/a/memory.max": "1000\n",
        "cgroups/a/memory.current": "700\n",
        "cgroups/a/memory.stat": "anon 600\ninactive_file 100\n",
      },
      [400],
    ),
    (
      {
        "proc/self/cgroup": "5:cpu:/\n4:memory:/not/mounted/here\n",
        "cgroups/memory/memory.limit_in_bytes": "1000\n",
        "cgroups/memory/memory.usage_in_bytes": "1200\n",
        "cgroups/memory/memory.stat": "total_inactive_file 3\n",
      },
      [0],
    ),
  ],
)
def test_a_container_limits_memory(files, free, tmp_path, monkeypatch):
  _write(tmp_path, files)
  monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
  monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroups")
  assert memory._free_in_cgroups() == free


def test_an_accelerator_has_what_is_not_in_use(monkeypatch):
  stats = {"bytes_limit": 80 * GB, "bytes_in_use": GB}
  device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert memory.free_memory() == 79 * GB
  stats.clear()
  assert memory.free_memory() is None


@pytest.mark.parametrize(
  ("count", "text"),
  [(12_340_000_000, "12.3 GB"), (45_600_000, "45.6 MB"), (700, "0.7 kB")],
)
def test_bytes_as_text(count, text):
  assert memory.describe_bytes(count) == text


def _part(num_examples: int, seed: int) -> Dataset:
  pool = jax.tree.map(np.asarray, toy.make_pool(num_examples, seed))
  key = np.arange(num_examples, dtype=np.uint64)
  names = tuple("abcd")
  return Dataset(pool.source, pool.label, key, names, {})


@pytest.fixture
def linear(monkeypatch):
  """Images in place of drawings, and a model of one layer."""
  model = toy.make_linear()
  monkeypatch.setattr(build, "make_model", lambda *args: model)
  parts = {"train": _part(300, 0), "valid": _part(64, 1), "test": _part(64, 2)}
  monkeypatch.setattr(
    sources,
    "load",
    lambda *args: sources.LoadedData(parts, make_gather(), None, "", None),
  )


def _tiny(**samplers_) -> ConfigDict:
  config = default.get_config()
  config.data.probe_fraction = 0.0
  config.data.num_examples = 400
  config.data.classes = str(toy.NUM_CLASSES)
  config.data.image_size = 4
  config.batch_size = 128
  config.trials = 2
  config.trials_by = "vmap"
  config.num_evals = 1
  config.budget = "2 steps"
  config.samplers = ConfigDict({"uniform": {"name": "uniform"}} | samplers_)
  return config


def _estimate(config, cache_dir, name="uniform") -> memory.Estimate:
  """Returns the estimate of a run, whose programs stay compiled."""
  context = setup.load_context(build.build_experiment(config), cache_dir)
  pools = host_pools(context)
  setup.check_fit(context, pools)
  block = Block(name, 0, config.trials)
  compiled = compiled_runs.compile_runs(context, pools, [block])[block][1]
  copies = checkpoint_writer.num_copies(config)
  return memory.estimate(compiled, pools, copies)


def test_a_run_without_room_is_refused(tmp_path, monkeypatch, linear):
  config, workdir = _tiny(), tmp_path / "run"
  needed = _estimate(config, tmp_path / "cache")
  free = int(0.9 * needed.total)
  monkeypatch.setattr(memory, "free_memory", lambda mesh: free)
  put = []
  monkeypatch.setattr(
    experiment_runner, "on_device", lambda *args: put.append(args)
  )
  with pytest.raises(UserError) as refused:
    experiment_runner.run(config, workdir)
  assert (refused.value.code, refused.value.place) == (
    "memory",
    "samplers.uniform",
  )
  assert needed.describe() in refused.value.text
  assert not workdir.exists() and not put


def test_a_run_that_fits_starts(tmp_path, monkeypatch, linear):
  config = _tiny()
  monkeypatch.setattr(page, "write_report", lambda *args: None)
  free = int(1.06 * _estimate(config, tmp_path / "cache").total)
  monkeypatch.setattr(memory, "free_memory", lambda mesh: free)
  num_compiled = len(compilation._compiled)
  experiment_runner.run(config, tmp_path / "run")
  assert (tmp_path / "run/runs/uniform/result.json").exists()
  # From shapes or from arrays: the programs are those of the estimate.
  assert len(compilation._compiled) == num_compiled
  # A finished run needs no memory.
  monkeypatch.setattr(memory, "free_memory", lambda mesh: 0)
  experiment_runner.run(config, tmp_path / "run")


@pytest.mark.slow
def test_the_reference_model_needs_memory_too(tmp_path, monkeypatch, linear):
  config = _tiny(mine={"name": "curriculum", "run": {"batch_size": 2}})
  del config.samplers.uniform
  config.baseline = "mine"
  config.batch_size = 256
  config.trials = 1
  context = setup.load_context(
    build.build_experiment(config), tmp_path / "cache"
  )
  (fit,) = reference_model.missing_fits(context)
  compiled = reference_model.prepare(context, fit)[1]
  copies = checkpoint_writer.num_copies(config)
  needed = memory.estimate(compiled, host_pools(context), copies)
  free = int(0.9 * needed.total)
  assert memory.fits(_estimate(config, tmp_path / "cache", "mine"), free)
  monkeypatch.setattr(memory, "free_memory", lambda mesh: free)
  with pytest.raises(UserError) as refused:
    experiment_runner.run(config, tmp_path / "run")
  assert (refused.value.code, refused.value.place) == ("memory", "difficulty")
