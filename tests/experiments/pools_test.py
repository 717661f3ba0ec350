"""The pools of an experiment: their partitions, by the groups they have."""

import numpy as np

from alcurr.experiments import setup
from alcurr.experiments.config import build, plain
from alcurr.experiments.pools import host_pools
from configs import default


def _npz(path, rng, names=None):
  arrays = {
    "images": rng.integers(0, 256, (60, 6, 6)).astype(np.uint8),
    "labels": np.arange(60) % 2,
  }
  if names:
    arrays |= {"groups": np.arange(60) % len(names), "group_names": names}
  np.savez(path, **arrays)
  return str(path)


def test_a_probe_without_groups_is_a_group_to_train_on(tmp_path):
  """Only of the runs that train on it; the others have no arm for it."""
  rng = np.random.default_rng(0)
  names = ["a", "b", "c"]
  by_groups = {"name": "mixture", "power": 0.0}
  config = plain.merge(
    default.get_config(),
    {
      "data.source": "npz",
      "data.dir": _npz(tmp_path / "a.npz", rng, names),
      "data.probe_dir": _npz(tmp_path / "b.npz", rng),
      "model.name": "cnn(width=0.1)",
      "budget": "4 steps",
      "batch_size": 4,
    },
  )
  config.samplers = plain.to_config(
    {
      "uniform": {"name": "uniform"},
      "mixture": by_groups,
      "with_probe": {
        **by_groups,
        "weights": (1.0, 1.0, 1.0, 3.0),
        "run": {"train_on": "train_and_probe"},
      },
    }
  )
  experiment = build.build_experiment(config)
  context = setup.load_context(experiment, tmp_path / "cache")
  pools = host_pools(context)
  setup.check_fit(context, pools)
  train = pools["train"].partitions["groups"]
  both = pools["train_and_probe"].partitions["groups"]
  assert tuple(train.names) == ("a", "b", "c")
  assert tuple(both.names) == ("a", "b", "c", "probe")
  assert both.size.tolist() == [*train.size.tolist(), 60]
  assert "groups" not in pools["probe"].partitions
