"""Registries, and packages that offer factories by entry points."""

import pathlib
import re
import sys

import jax
import numpy as np
import pytest
import toy

from alcurr.core.errors import UserError
from alcurr.experiments.config import build
from alcurr.samplers import SAMPLERS
from configs import default

CONTRIBUTING = pathlib.Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def install(tmp_path, monkeypatch):
  """A function (package, points, code) that installs a one-module package."""
  monkeypatch.syspath_prepend(tmp_path)

  def write(package, points, code):
    module = package.replace("-", "_")
    (tmp_path / f"{module}.py").write_text(code)
    info = tmp_path / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
      f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    )
    lines = []
    for group, named in points.items():
      lines.append(f"[alcurr.{group}]")
      lines += [f"{name} = {module}:{what}" for name, what in named.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.delitem(sys.modules, module, raising=False)

  return write


def _get(spec):
  return toy.make_sampler(spec, "samplers.x", batch_size=8, num_steps=9)


def _error(spec):
  """Returns the code and the place of a sampler that is refused."""
  with pytest.raises(UserError) as raised:
    _get(spec)
  assert "\n" not in str(raised.value)
  return raised.value.code, raised.value.place


def test_the_skeleton_of_a_sampler_is_named_like_a_built_in_one(install):
  """The sampler of CONTRIBUTING, offered by another package."""
  skeleton, *_ = re.findall(
    r"```python\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL
  )
  points = {"samplers": {"round_robin": "round_robin"}}
  install("their-samplers", points, skeleton)
  sampler = _get({"name": "round_robin", "partition": "label"})
  assert "their_samplers" in sys.modules
  pool = toy.make_pool()
  state = sampler.init(jax.random.key(0), pool)
  for step in range(6):
    draw = sampler.sample(jax.random.key(step), state, pool)
    label = np.asarray(pool.label)[draw.index]
    np.testing.assert_array_equal(label, step % toy.NUM_CLASSES)
    np.testing.assert_array_equal(draw.prob, np.ones(8))
    state = sampler.update(state, draw, ())
  spec = {"name": "round_robin", "arm": "label"}
  assert _error(spec) == ("unknown", "samplers.x")


PARTS = """
import jax, jax.numpy as jnp
from alcurr import bandits
from alcurr.bandits import gains, rewards
from alcurr.models import from_functions
from alcurr.samplers import policies

def halves():
  return lambda logits, label: jnp.full(logits.shape[0], 0.5)

def flat(*, input_shape, num_classes, scale: float = 1.0):
  size = input_shape[0] * input_shape[1] * input_shape[2]
  return from_functions(
    lambda key: scale * jax.random.normal(key, (size, num_classes)),
    lambda w, x: x.reshape(len(x), -1) @ w,
  )

bandit, gain = bandits.softmax, gains.prediction_gain
ranked, policy = rewards.rank, policies.uniform
"""


def test_every_part_of_a_config_may_be_another_packages(install):
  points = {
    "bandits": {"theirs": "bandit"},
    "gains": {"theirs": "gain"},
    "rewards": {"theirs": "ranked"},
    "policies": {"theirs": "policy"},
    "models": {"theirs": "flat"},
    "losses": {"theirs": "halves"},
    "scorers": {"theirs": "halves"},
  }
  install("their-parts", points, PARTS)
  config = default.get_config()
  config.update_from_flattened_dict(
    {
      "model.name": "theirs(scale=0.0)",
      "loss": "theirs",
      "difficulty.scorer": "theirs",
      "samplers.bandit.bandit": "theirs(learning_rate=0.5)",
      "samplers.bandit.gain": "theirs",
      "samplers.bandit.reward": "theirs(window=9)",
    }
  )
  config.samplers.frozen = {"name": "fixed_policy", "policy": "theirs"}
  experiment = build.build_experiment(config)
  model = build.make_model(config, (2, 2, 1), 3)
  params, _ = model.init(jax.random.key(0))
  np.testing.assert_array_equal(params, np.zeros((4, 3)))
  score = experiment.scores["difficulty"].score(np.zeros((2, 3)), None)
  np.testing.assert_array_equal(score, [0.5, 0.5])


def test_nothing_is_imported_before_it_is_named(install):
  """Nor when the names are listed."""
  points = {"samplers": {"theirs": "theirs", "uniform": "mine"}}
  install("not-imported", points, "raise SystemError('imported')")
  _get({"name": "uniform"})  # a built-in name is never a package's
  assert _error({"name": "their"}) == ("unknown", "samplers.x")
  assert _error({}) == ("missing", "samplers.x.name")
  assert "theirs" in SAMPLERS
  assert list(SAMPLERS)[-1] == "theirs"
  assert len(SAMPLERS) == len(set(SAMPLERS))
  assert "not_imported" not in sys.modules


def test_a_registry_knows_what_it_answers(install):
  """`in`, iteration, length and `[]` agree, with and without a package."""
  builtin = list(SAMPLERS)
  install("their-samplers", {"samplers": {"theirs": "theirs"}}, "theirs = int")
  assert "theirs" in SAMPLERS and SAMPLERS["theirs"] is int
  assert [*builtin, "theirs"] == list(SAMPLERS) == list(SAMPLERS.keys())
  assert len(SAMPLERS) == len(builtin) + 1
  assert "no_such" not in SAMPLERS and SAMPLERS.get("no_such") is None
  with pytest.raises(KeyError):
    SAMPLERS["no_such"]


@pytest.mark.parametrize(
  ("code", "reason"),
  [
    ("import nowhere_to_be_found", "ModuleNotFoundError"),
    ("def theirs(:", "SyntaxError"),
    ("1 / 0", "ZeroDivisionError"),
    ("x = 1", "AttributeError"),
    ("theirs = 3", "of type int"),
  ],
)
def test_a_broken_package_is_named(install, code, reason):
  install("broken-package", {"samplers": {"theirs": "theirs"}}, code)
  assert _error({"name": "theirs"}) == ("package", "alcurr.samplers.theirs")
  with pytest.raises(UserError, match=f"package broken-package .*{reason}"):
    _get({"name": "theirs"})


def test_two_packages_with_one_name_are_refused(install):
  for package in ("first-one", "second-one"):
    install(package, {"samplers": {"theirs": "theirs"}}, "")
  assert _error({"name": "theirs"}) == ("package", "alcurr.samplers.theirs")
