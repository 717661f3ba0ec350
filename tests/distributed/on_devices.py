"""Trains samplers on one device and on several, and prints how they differ.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 \\
      python on_devices.py MESH SMALLER NAME...

A run on MESH is compared with one on one device, and resumed from the middle,
on the devices of SMALLER and on one. A line of JSON for each sampler says the
largest differences; "counts" are of the draws of each example. The pools of
NAME@host are on the host, and those of NAME@split are split over the devices.
"""

import functools
import json
import pathlib
import sys
import tempfile

import jax
import numpy as np
import toy
from ml_collections import ConfigDict
from sampler_table import SAMPLERS

from alcurr import testing
from alcurr.data.host_store import Fetch, Lookup, make_fetch, make_lookup
from alcurr.data.pool import make_gather, on_device
from alcurr.training import checkpoint, compilation, loop, meshes, parallel
from alcurr.training import run as run_module
from alcurr.training.checkpoint_writer import CheckpointWriter
from alcurr.training.run import CompiledRun, RunSpec, compile_run
from alcurr.training.scoring import make_score
from alcurr.types import Images, Pool, Split, Stored

STEPS = 8
SIZES = {"train": (640, 0), "probe": (101, 1), "valid": (91, 2)}  # and seeds
_SETTINGS = ConfigDict({"minutes": 0.0, "steps": STEPS // 2, "keep": 2})


def _make(name: str, mesh: str) -> tuple[RunSpec, dict[str, Pool]]:
  """Makes the run of a sampler on a mesh; "": on one device."""
  name, _, place = name.partition("@")
  run = toy.make_run(
    SAMPLERS[name],
    batch_size=testing.BATCH_SIZE,
    num_steps=STEPS,
    chunk_steps=STEPS // 2,
  )
  devices, batches = jax.devices()[: None if mesh else 1], [testing.BATCH_SIZE]
  run = run._replace(mesh=meshes.make_mesh(mesh, 2, batches, devices))
  pools = {
    split: testing.make_pool(*size, scores=run.sampler.spec.scores)
    for split, size in SIZES.items()
  }
  if place == "host":
    run, pools = _on_host(run, pools)
  if place == "split":
    pools = {k: p._replace(source=Split(p.source)) for k, p in pools.items()}
  return run, pools


@functools.cache  # programs name the store that they fetch from
def _store() -> tuple[Lookup, Fetch, dict[str, np.ndarray]]:
  """Returns a store of all images, and the rows of each pool."""
  images = [testing.make_pool(*x).source.image for x in SIZES.values()]
  lookup = make_lookup(Images(np.concatenate(images)))
  ends = np.cumsum([len(image) for image in images])
  rows = np.split(np.arange(ends[-1], dtype=np.int32), ends[:-1])
  return lookup, make_fetch(lookup), dict(zip(SIZES, rows, strict=True))


def _on_host(
  run: RunSpec, pools: dict[str, Pool]
) -> tuple[RunSpec, dict[str, Pool]]:
  """Returns a run and its pools, with the examples on the host."""
  lookup, fetch, rows = _store()
  gather = make_gather(fetch=fetch)
  score = make_score(run.model, gather, 50, run.trials_by)
  run = run._replace(gather=gather, score=score, lookup=lookup)
  return run, {
    name: pool._replace(source=Stored(rows[name]))
    for name, pool in pools.items()
  }


def _train(
  run: RunSpec,
  compiled: CompiledRun,
  pools: dict[str, Pool],
  folder: pathlib.Path,
) -> tuple[loop.Result, list[dict]]:
  """Trains a run from its latest checkpoint; returns its rows too."""
  pools = on_device(pools, parallel.replicator(run.mesh))
  programs = compiled.chunks.program, compiled.score
  common = {"programs": compilation.digest(*programs)}
  template = loop.abstract_run_state(run, compiled, pools["train"])
  start = checkpoint.restore(folder, template, common)
  rows = []
  with CheckpointWriter(folder, _SETTINGS, common) as writer:
    resume = loop.ResumeOptions(start, writer, lambda: False)
    result = loop.train(
      run, compiled, pools, rows.append, lambda *_: None, None, resume
    )
  return result, rows


def _difference(left, right) -> float:
  """Returns the largest difference of two trees of numbers."""
  pairs = zip(testing.arrays(left), testing.arrays(right), strict=True)
  return max(
    (np.abs(a.astype(float) - b).max(initial=0) for a, b in pairs), default=0
  )


def _compare(one: loop.Result, many: loop.Result) -> dict[str, float]:
  fields = "params", "opt_state", "model_state", "sampler_state", "key"
  found = {
    field: _difference(getattr(one.state, field), getattr(many.state, field))
    for field in fields
  }
  return found | {"counts": _difference(one.exposure, many.exposure)}


def _loss(row: dict) -> float:
  """Returns the loss of a row's evaluation; 0 if there was none."""
  return row["valid"]["loss"] if "valid" in row else 0.0


def _compare_sampler(name: str, mesh: str, smaller: str) -> dict:
  """Returns the differences of a sampler's runs; see the module's docstring."""
  with tempfile.TemporaryDirectory() as folder:
    folder, results, rows = pathlib.Path(folder), {}, {}
    made = {text: _make(name, text) for text in ("", mesh, smaller)}
    compiled = {text: compile_run(*made[text]) for text in made}
    for text in ("", mesh):
      run, pools = made[text]
      results[text], rows[text] = _train(
        run, compiled[text], pools, folder / f"of {text}"
      )
    found = {"sampler": name, "whole": _compare(results[""], results[mesh])}
    found["learned"] = made[""][0].sampler.signal is not None
    metrics = [
      (left["train_loss"] - right["train_loss"], _loss(left) - _loss(right))
      for left, right in zip(rows[""], rows[mesh], strict=True)
    ]
    found["metrics"] = float(np.abs(metrics).max())
    for text in (smaller, ""):
      run, pools = made[text]
      half = folder / f"on {text}"
      half.mkdir()
      (folder / f"of {mesh}" / str(STEPS // 2)).rename(half / str(STEPS // 2))
      result, _ = _train(run, compiled[text], pools, half)
      (half / str(STEPS // 2)).rename(folder / f"of {mesh}" / str(STEPS // 2))
      found[f"resumed on {text}"] = _compare(results[mesh], result)
  return found


def main(mesh: str, smaller: str, *names: str) -> None:
  # The FLOPs of a step take most of the compilation, and are not looked at.
  run_module.count_flops = lambda *_: 0.0
  for name in names:
    jax.clear_caches()
    compilation._compiled.clear()
    print(json.dumps(_compare_sampler(name, mesh, smaller)), flush=True)


if __name__ == "__main__":
  main(*sys.argv[1:])
