"""Several sources of data: which of them help a target, and by how much.

  alcurr run sources:dir=DIR

DIR holds a .npz file of each source, under any name, and valid.npz, test.npz
and probe.npz of the target alone. With `source=folder` each is a folder of
images, such as DIR/web/cat/1.png, and with `source=files` of drawings.

A bandit that is paid for influence on the probe is compared with all sources
alike, with each source alone, and with the probe as one more source. All runs
cost the same. Arguments: `dir`, `source` and `trials`.
"""

import pathlib

from ml_collections import ConfigDict

from configs import default

TARGET = ("valid", "test", "probe")  # what is no source
# Every source as often as any other.
ALIKE = {"name": "mixture", "power": 0.0}


def bandit(**changes) -> ConfigDict:
  """Returns the bandit over sources.

  Its step is five times the default, because a run has few measurements: the
  first ten should already show which sources harm.
  """
  return default.bandit(
    **{
      "gain": "influence(probe_size=64, prepare_interval=4)",
      "partition": "groups",
      "arms_per_batch": None,
      "bandit": "softmax(learning_rate=1.0)",
      "reward": "z_score",
      "epsilon": "0.05",
      "interval": 8,
      "warmup": 0,
    }
    | changes
  )


def find(folder: str, suffix: str) -> dict[str, str]:
  """Returns the path of each source and of each part of the target, by name.

  Raises:
    ValueError: fewer than two sources, or a part of the target is missing.
  """
  paths = sorted(pathlib.Path(folder).expanduser().glob(f"[!.]*{suffix}"))
  found = {
    path.name.removesuffix(suffix): str(path)
    for path in paths
    if path.is_dir() == (not suffix)
  }
  missing = [name for name in TARGET if name not in found]
  if missing or len(found) < len(TARGET) + 2:
    expected = ", ".join(f"{name}{suffix}" for name in TARGET)
    got = ", ".join(f"{name}{suffix}" for name in found) or "none"
    kind = "files" if suffix else "folders"
    raise ValueError(
      f"dir: expected {kind} {expected} and at least two sources in "
      f"{folder!r}, got {got}"
    )
  return found


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(text, dir=".", source="npz", trials=3)
  found = find(args["dir"], ".npz" if args["source"] == "npz" else "")
  config = default.get_config()
  config.data.source = args["source"]
  config.data.classes = "all"
  for name in TARGET:
    config.data[f"{name}_dir"] = found.pop(name)
  config.data.sources = ConfigDict(
    {name: {"dir": path} for name, path in found.items()}
  )
  alone = {
    f"only_{name}": {"name": "mixture", "weights": {name: 1.0}}
    for name in found
  }
  config.samplers = ConfigDict(
    {
      "alike": ALIKE,
      "influence": bandit(),
      **alone,
      "with_probe": ALIKE | {"run": {"train_on": "train_and_probe"}},
    }
  )
  config.baseline = "alike"
  config.grid = ("alike", *alone)  # of the report's regret
  config.trials = args["trials"]
  config.budget = "20000 examples"
  config.budget_basis = "flops"
  return config
