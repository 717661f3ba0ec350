"""The pools of an experiment: their partitions, by the groups they have."""

import numpy as np
from refusal import refused

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


JOINT = {
  "data.probe_fraction": 0.2,
  "model.name": "cnn(width=0.1)",
  "budget": "4 steps",
  "train_on": "train_and_probe",
}


def test_planted_mistakes_are_known_where_the_probe_is_trained_on(tmp_path):
  """The labels of the probe are right there."""
  rng = np.random.default_rng(0)
  changes = {
    "data.source": "npz",
    "data.dir": _npz(tmp_path / "a.npz", rng),
    "data.label_noise": 0.5,
    "batch_size": 4,
  }
  config = plain.merge(default.get_config(), JOINT | changes)
  oracle = {"name": "active_bandit", "partition": "planted"}
  config.samplers = plain.to_config({"uniform": {"name": "uniform"}})
  config.samplers.oracle = oracle
  context = setup.load_context(build.build_experiment(config), tmp_path / "c")
  arm = host_pools(context)["train_and_probe"].partitions["planted"].arm
  train, probe = (context.parts[name] for name in ("train", "probe"))
  labels = np.load(tmp_path / "a.npz")["labels"]
  wrong = [part.label != labels[part.row] for part in (train, probe)]
  assert wrong[0].any() and not wrong[1].any()
  np.testing.assert_array_equal(arm, np.concatenate(wrong))


def test_a_probe_that_is_not_held_out_is_not_trained_on_twice():
  config = plain.merge(default.get_config(), JOINT | {"data.hold_out": False})
  with refused("conflict", "train_on"):
    build.build_experiment(config)
