"""Tests of the configs: each passes the checks and is what its text says."""

import image_networks
import pytest

from alcurr.data.partitions import PARTITIONS
from alcurr.experiments import experiment_runner, predict
from alcurr.experiments.config import build, plain
from configs import (
  ablation,
  default,
  doodles,
  evidence,
  headroom,
  honest,
  influence,
  kaggle,
  label_issues,
  noisy_labels,
  paper,
  quickstart,
  sources,
  zoo,
)


@pytest.mark.parametrize(
  "config",
  [
    *(module.get_config() for module in (default, doodles, quickstart)),
    *(paper.get_config(f"part={p}") for p in ("table1", "table2", "all")),
    paper.get_config("scale=0.02,part=all,batch=64"),
    honest.get_config("trials=2"),
    ablation.get_config(),
    ablation.get_config("batch_size=512,norm=batch"),
    evidence.get_config("regime=sources,probe=32,frozen=1 0 0 1 0"),
    *(
      evidence.get_config(f"regime={r}")
      for r in evidence.REGIMES.keys() - {"sources"}
    ),
    headroom.get_config("noise=0.3,passes=10"),
    influence.get_config("part=all,probe=noisy"),
    label_issues.get_config("source=files"),
    noisy_labels.get_config("loss=superloss"),
    zoo.get_config("model=inception_resnet_v2"),
    kaggle.get_config("size=small"),
    *(kaggle.get_config(f"model={name}") for name in image_networks.NAMES),
  ],
)
def test_it_passes_the_checks(config):
  if config.data.source == "files":
    config.data.dir = "somewhere"
  build.build_experiment(config)


@pytest.mark.parametrize("source", ["npz", "folder"])
def test_several_sources_are_found_in_their_folder(source, tmp_path):
  """The target is no source, and every source has a run of its own."""
  suffix = ".npz" if source == "npz" else ""
  for name in ("web", "shop", "valid", "test", "probe"):
    path = tmp_path / f"{name}{suffix}"
    path.touch() if suffix else path.mkdir()
  (tmp_path / "README.txt").touch()
  config = sources.get_config(f"dir={tmp_path},source={source}")
  build.build_experiment(config)
  assert {*config.data.sources} == {"shop", "web"}
  assert config.data.probe_dir == str(tmp_path / f"probe{suffix}")
  alone = [config.samplers[f"only_{name}"].weights for name in ("shop", "web")]
  assert [weights.to_dict() for weights in alone] == [{"shop": 1}, {"web": 1}]
  next(tmp_path.glob("probe*")).rename(tmp_path / "prob")
  with pytest.raises(ValueError, match=r"dir: expected .* probe"):
    sources.get_config(f"dir={tmp_path},source={source}")


def test_an_argument_overrides_the_size_of_kaggles_config():
  config = kaggle.get_config("size=small,epochs=2")
  assert (config.budget, config.batch_size) == ("2.0 epochs", 32)
  with pytest.raises(ValueError):
    kaggle.get_config("size=tiny")


def test_the_paper_at_full_size_is_the_papers():
  config = paper.get_config()
  assert config.budget == "1 epoch" and config.trials == 3
  assert config.data.train_examples == 500_000
  assert config.batch_size == 512 and config.model.name == "mobilenet"
  total = config.data.num_examples
  assert round(config.data.valid_fraction * total) == 1000
  assert round(config.data.test_fraction * total) == 75_000
  # The random split leaves enough to train on, at six standard deviations.
  share = 1 - config.data.valid_fraction - config.data.test_fraction
  deviation = (total * share * (1 - share)) ** 0.5
  assert total * share - 6 * deviation > 500_000
  assert len(config.samplers) == 9
  assert config.samplers.bandit.warmup == 100
  run = build.run_config(config, "bandit_32")
  assert (run.batch_size, run.baseline) == (32, "uniform_32")


@pytest.mark.slow
def test_the_kaggle_config_trains_and_predicts(quickdraw_dir, tmp_path):
  """On real drawings, with small numbers of everything."""
  config = kaggle.get_config("model=cnn,epochs=0.5,trials=2")
  assert config.budget == "0.5 epochs" and config.batch_size == 512
  tiny = {
    "data.dir": str(quickdraw_dir / "simplified"),
    "data.classes": "ant,The Eiffel Tower,bicycle,cat",
    "data.max_per_class": 40,
    "data.image_size": 12,
    "data.valid_fraction": 0.2,
    "data.test_fraction": 0.2,
    "batch_size": 8,
    "eval_batch_size": 32,
    "num_evals": 1,
    "difficulty.budget": "4 steps",
    "difficulty.num_arms": 2,
    "samplers.bandit.warmup": 2,
    "samplers.influence.arms_per_batch": 8,
    "samplers.influence.interval": 2,
    "model.name": "cnn(width=0.1)",
  }
  workdir = tmp_path / "runs" / "kaggle"
  with pytest.MonkeyPatch.context() as patch:
    # Writing the page takes longest, and other tests cover it.
    patch.setattr(experiment_runner.page, "write_report", lambda *args: None)
    summary = experiment_runner.run(plain.merge(config, tiny), workdir)
  assert summary["sampler"].tolist() == ["uniform", "bandit", "influence"]
  assert (summary["top1"] <= summary["map3"]).all()
  assert (summary["map3"] <= summary["top3"]).all()
  runs = [workdir / "runs" / name for name in ("uniform", "bandit")]
  names, p = predict.predict_probabilities(
    runs, [[[[0, 255], [9, 9]]], [[[3], [4]]]]
  )
  assert names == ("The Eiffel Tower", "ant", "bicycle", "cat")
  assert p.shape == (2, 4) and (p > 0).all()
  assert p.sum(1) == pytest.approx([1, 1], abs=1e-5)


def test_the_ablation_is_a_full_factorial():
  """Each cell has one level of each factor, and its own uniform baseline."""
  config = ablation.get_config()
  cells = {tuple(cell.to_dict().items()) for cell in config.cells.values()}
  assert len(config.cells) == len(cells) == 2**4 * 4
  for name in config.cells:
    run = build.run_config(config, name)
    base = build.run_config(config, run.baseline)
    assert (base.batch_size, base.model.name) == (
      run.batch_size,
      run.model.name,
    )


def test_an_argument_of_the_ablation_fixes_a_factor():
  config = ablation.get_config("batch_size=512,norm=batch")
  assert len(config.cells) == 2 * 2 * 4
  for cell in config.cells.values():
    assert (cell.batch_size, cell.norm) == ("512", "batch")
  assert set(config.samplers) == {*config.cells, "uniform_batch_512"}
  with pytest.raises(ValueError, match="norm"):
    ablation.get_config("norm=layer")


def test_every_sampler_is_tuned_over_the_same_rates():
  config = honest.get_config("rates=0.02 1e-3 1.5e-3 0.001")
  rates = [0.001, 0.0015, 0.02]
  for runs in config.best_setting.values():
    each = [build.run_config(config, name) for name in runs]
    assert [run.optimizer.learning_rate for run in each] == rates
    assert len({run.baseline for run in each}) == len(rates)
  assert config.baseline == "uniform-lr1e-03"
  names = ("uniform-lr1e-03", "uniform-lr15e-04", "uniform-lr2e-02")
  assert config.best_setting.uniform == names
  assert len(config.samplers) == len(config.best_setting) * len(rates)
  for text in ("rates=fast", "rates="):
    with pytest.raises(ValueError, match="rates"):
      honest.get_config(text)


def test_settings_of_influence_differ_in_one_argument():
  config = influence.get_config("part=all")
  first = config.samplers.influence.to_dict()
  for name, sampler in config.samplers.items():
    if sampler.name == "active_bandit" and name != "influence":
      other = sampler.to_dict()
      changed = {k for k in first if other[k] != first[k]}
      # `prepare_interval` counts measurements, so it changes with `interval`.
      assert len(changed - {"gain"}) <= 1 and changed


def test_partitions_that_configs_name_exist():
  for config in (headroom.get_config(), influence.get_config("part=all")):
    for sampler in config.samplers.values():
      assert sampler.get("partition", "difficulty") in PARTITIONS
