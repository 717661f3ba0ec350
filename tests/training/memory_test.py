"""What a run needs of memory, what there is, and what is said of too much."""

import functools
import json
import pathlib
import shlex
import types

import jax
import numpy as np
import pytest
import toy
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.data.pool import Dataset, make_gather, on_device
from alcurr.experiments import advice, precompile, runner, savings, setup
from alcurr.experiments.config import build
from alcurr.report import page
from alcurr.training import compilation, memory
from alcurr.training.memory import Need
from alcurr.training.run import Chunks, CompiledRun, compile_run, init_trials
from configs import default

GB = 10**9


def _shapes(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


@pytest.fixture(scope="module")
def toy_pools():
  pools = {"train": toy.make_pool(640), "valid": toy.make_pool(96, seed=1)}
  return pools | {"probe": pools["valid"]}


def test_the_pool_is_counted_by_hand_and_twice_named_counts_once(toy_pools):
  need = memory.need(
    compile_run(toy.make_run(trials_by="vmap"), toy_pools), toy_pools
  )
  # An example: 16 uint8 and a label and a difficulty of 4 bytes each; in each
  # of five partitions an arm and a place, 4 bytes each.
  examples = (640 + 96) * (16 + 4 + 4 + 5 * (4 + 4))
  # An arm: a start and a size. Three partitions of 5 arms, labels, both.
  num_arms = 3 * toy.NUM_ARMS + toy.NUM_CLASSES * (1 + toy.NUM_ARMS)
  assert need.pool == examples + 2 * num_arms * (4 + 4)


def test_the_state_is_parameters_moments_sampler_and_key(toy_pools):
  need = memory.need(
    compile_run(toy.make_run(trials_by="vmap"), toy_pools), toy_pools
  )
  params = (16 * toy.NUM_CLASSES + toy.NUM_CLASSES) * 4
  # Adam has two moments and a count; the sampler a key, its group's size, the
  # pass and the place in it; the run a step and a key.
  assert need.state == params + (2 * params + 4) + (8 + 3 * 4) + (4 + 8)
  assert need.trials == 2
  # What each of the 640 examples was counted with, on the host.
  assert need.exposure == 640 * 4
  states = 2 * (need.state + need.exposure)
  assert need.total == need.pool + states + need.activations


def test_activations_grow_with_the_batch(toy_pools):
  def activations(**changes) -> int:
    plan = compile_run(toy.make_run(trials_by="vmap", **changes), toy_pools)
    return memory.need(plan, toy_pools).training

  small, large = activations(), activations(batch_size=512)
  # At least the images of a batch as floats, of two trials.
  assert large - small >= (512 - 8) * 2 * 16 * 4


def test_the_greedier_program_counts_and_donated_results_do_not():
  def program(temp, output, alias):
    analysis = types.SimpleNamespace(
      temp_size_in_bytes=temp,
      output_size_in_bytes=output,
      alias_size_in_bytes=alias,
    )
    return types.SimpleNamespace(memory_analysis=lambda: analysis)

  state = jax.eval_shape(
    functools.partial(init_trials, toy.make_run(trials_by="vmap")),
    toy.make_pool(64),
  )
  chunks = Chunks([], program(100, 50, 45), None)
  plan = CompiledRun(chunks, 1, program(90, 20, 0), state, 0, 0)
  need = memory.need(plan, {})
  assert (need.training, need.evaluation, need.activations) == (105, 110, 110)


def test_where_a_backend_cannot_tell_what_is_known_counts():
  silent = types.SimpleNamespace(memory_analysis=lambda: None)
  state = jax.eval_shape(
    functools.partial(init_trials, toy.make_run(trials_by="vmap")),
    toy.make_pool(64),
  )
  chunks = Chunks([], silent, None)
  need = memory.need(CompiledRun(chunks, 1, silent, state, 0, 0), {})
  assert need.activations is None and need.total == 2 * need.state > 0
  assert need.parts().endswith("activations unknown")
  assert memory.fits(need, need.total * 2)
  assert not memory.fits(need, need.total)  # there is the margin
  assert memory.fits(need, None)


def test_a_plan_from_shapes_from_numpy_and_from_arrays_is_one_program(
  toy_pools,
):
  """So that planning ahead compiles nothing twice."""
  first = compile_run(toy.make_run(trials_by="vmap"), _shapes(toy_pools))
  compiled = len(compilation._compiled)
  for pools in (jax.tree.map(np.asarray, toy_pools), toy_pools):
    plan = compile_run(toy.make_run(trials_by="vmap"), pools)
    assert plan.chunks.program is first.chunks.program
    assert plan.score is first.score
  assert len(compilation._compiled) == compiled


def test_one_pool_of_two_names_is_put_on_the_device_once(toy_pools):
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
  assert 0 < memory.device_memory() <= info["MemTotal"]
  assert memory._available() == pytest.approx(info["MemAvailable"], rel=0.1)


def _write(folder, files):
  for name, text in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
  ("files", "left"),
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
def test_a_container_s_limit_counts(files, left, tmp_path, monkeypatch):
  _write(tmp_path, files)
  monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
  monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroups")
  assert memory._left_in_cgroups() == left


def test_an_accelerator_has_what_is_not_in_use(monkeypatch):
  stats = {"bytes_limit": 80 * GB, "bytes_in_use": GB}
  device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
  monkeypatch.setattr(jax, "devices", lambda: [device])
  assert memory.device_memory() == 79 * GB
  stats.clear()
  assert memory.device_memory() is None


@pytest.mark.parametrize(
  ("count", "words"),
  [(12_340_000_000, "12.3 GB"), (45_600_000, "45.6 MB"), (700, "0.7 kB")],
)
def test_bytes_in_words(count, words):
  assert memory.in_words(count) == words


# Settings, against a device that is imagined.


def _case(need: Need, free: int, backend="cpu", **changes) -> savings.Case:
  config = build.changed(default.get_config(), changes)
  return savings.Case(
    config,
    names=("uniform",),
    need=need,
    free=free,
    num_train=100_000,
    train_bytes=need.pool / 100_000,
  )


def _measure(case: savings.Case):
  """Needs that follow the settings as activations do."""

  def measure(values):
    config = build.changed(case.config, values)
    build.build_experiment(config)
    share = config.batch_size / case.config.batch_size
    trials = config.trials / case.config.trials
    chunk = config.chunk_steps / case.config.chunk_steps
    if (config.trials_by, case.config.trials_by) == ("map", "vmap"):
      trials = 1 / case.config.trials
    saved = 0.3 if "remat=True" in config.model.name else 1
    saved *= 0.5 if "bfloat16" in config.model.name else 1
    count = config.data.train_examples or case.num_train
    if config.data.pool == "host":
      count = 0
    return case.need._replace(
      pool=int(case.train_bytes * count),
      trials=config.trials,
      training=int(case.need.training * share * trials * saved),
      ahead=int(case.need.ahead * share * chunk),
    )

  return measure


def _suggest(case, monkeypatch, backend="cpu"):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  return advice.suggest(case, _measure(case))


MOBILENET = {"trials_by": "vmap", "batch_size": 512, "model.name": "mobilenet"}


def test_what_changes_least_is_said_first(monkeypatch):
  need = Need(GB, GB // 10, 3, 40 * GB, GB)
  assert _suggest(_case(need, 24 * GB, **MOBILENET), monkeypatch) == [
    "--config.trials_by=map",
    "--config.batch_size=256",
    "--config.trials=1",
  ]


def test_an_accelerator_can_save_within_the_model_too(monkeypatch):
  need = Need(GB, GB // 10, 1, 40 * GB, GB)
  model = {"model.name": "mobilenet(width=2.0)"}
  case = _case(need, 24 * GB, **MOBILENET | model)
  assert _suggest(case, monkeypatch, "gpu") == [
    '--config.model.name="mobilenet(width=2.0, remat=True)"',
    "--config.batch_size=256",
    "--config.model.name=\"mobilenet(width=2.0, dtype='bfloat16')\"",
  ]


def test_a_pool_that_is_too_large_is_cut(monkeypatch):
  need = Need(20 * GB, GB // 10, 3, 2 * GB, GB)
  (said,) = _suggest(_case(need, 16 * GB, **MOBILENET), monkeypatch)
  assert said == "--config.data.train_examples=64000"


def test_an_accelerator_can_leave_the_pool_on_the_host(monkeypatch):
  need = Need(20 * GB, GB // 10, 3, 2 * GB, GB)
  case = _case(need, 16 * GB, **MOBILENET)
  assert _suggest(case, monkeypatch, "gpu")[:2] == [
    "--config.data.pool=host",
    "--config.data.train_examples=64000",
  ]


def test_less_can_be_fetched_ahead(monkeypatch):
  need = Need(GB, GB // 10, 3, GB, GB, ahead=20 * GB)
  case = _case(need, 16 * GB, **MOBILENET | {"chunk_steps": 100})
  assert _suggest(case, monkeypatch)[0] == "--config.chunk_steps=50"


def test_several_together_where_none_is_enough(monkeypatch):
  # The states of three trials and the activations of one are too much.
  need = Need(GB, 5 * GB, 3, 512 * 3 * GB, GB)
  assert _suggest(_case(need, 17 * GB, **MOBILENET), monkeypatch) == []
  need = Need(GB, GB, 3, 512 * 3 * GB, GB)
  case = _case(need, 6 * GB, **MOBILENET)
  assert _suggest(case, monkeypatch) == [
    "--config.trials_by=map --config.batch_size=1"
  ]


def test_a_run_s_own_batch_size_is_changed_where_it_stands(monkeypatch):
  case = _case(Need(GB, 1, 1, 40 * GB, GB), 24 * GB, **MOBILENET)
  with case.config.unlocked():
    case.config.samplers.uniform.run = ConfigDict({"batch_size": 64})
  options = savings.smaller_batches(case._replace(names=("uniform", "bandit")))
  assert next(options).settings == {
    "samplers.uniform.run.batch_size": 32,
    "batch_size": 256,
  }


# And for real, of a model that is compiled in no time.


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
    lambda *args: sources.LoadedData(parts, make_gather(), None),
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


def _needs(config, cache_dir, name="uniform") -> Need:
  """What planning says of a run; its programs are kept."""
  context = setup.load_context(build.build_experiment(config), cache_dir)
  pools = setup.host_pools(context)
  setup.check_fit(context, pools)
  return precompile._plan(context, pools, name)[1]


def test_too_much_is_one_sentence_and_each_setting_in_it_fits(
  tmp_path, monkeypatch, linear
):
  config, workdir = _tiny(), tmp_path / "run"
  need = _needs(config, tmp_path / "cache")
  free = int(0.9 * need.total)
  monkeypatch.setattr(memory, "device_memory", lambda: free)
  put = []
  monkeypatch.setattr(runner, "on_device", put.append)
  with pytest.raises(UserError) as refused:
    runner.run(config, workdir)
  said = str(refused.value)
  assert said.startswith(
    f"samplers.uniform needs about {memory.in_words(need.total)} of memory"
  )
  assert f"the device has {memory.in_words(free)} free; each of" in said
  assert said.count(". ") == 0 and said.endswith(".")
  assert not workdir.exists() and not put
  options = [w.rstrip(",.") for w in shlex.split(said) if w.startswith("--")]
  assert len(options) == 3
  for option in options:
    name, value = option.removeprefix("--config.").split("=", 1)
    value = json.loads(value) if value.isdigit() else value
    changed = build.changed(config, {name: value})
    assert memory.fits(_needs(changed, tmp_path / "cache"), free)


def test_a_run_that_fits_goes_on(tmp_path, monkeypatch, linear):
  config = _tiny()
  monkeypatch.setattr(page, "write_report", lambda *args: None)
  free = int(1.06 * _needs(config, tmp_path / "cache").total)
  monkeypatch.setattr(memory, "device_memory", lambda: free)
  compiled = len(compilation._compiled)
  runner.run(config, tmp_path / "run")
  assert (tmp_path / "run/runs/uniform/result.json").exists()
  # From shapes or from arrays: the programs are those that were measured.
  assert len(compilation._compiled) == compiled
  # Finished, it is not asked about again.
  monkeypatch.setattr(memory, "device_memory", lambda: 0)
  runner.run(config, tmp_path / "run")


@pytest.mark.slow
def test_the_reference_model_is_asked_about_too(tmp_path, monkeypatch, linear):
  config = _tiny(mine={"name": "curriculum", "run": {"batch_size": 2}})
  del config.samplers.uniform
  config.baseline = "mine"
  config.batch_size = 256
  config.trials = 1
  need = _needs(config, tmp_path / "cache", precompile.REFERENCE)
  free = int(0.9 * need.total)
  assert memory.fits(_needs(config, tmp_path / "cache", "mine"), free)
  monkeypatch.setattr(memory, "device_memory", lambda: free)
  with pytest.raises(UserError, match="the reference model needs") as refused:
    runner.run(config, tmp_path / "run")
  assert "--config.batch_size=" in str(refused.value)
