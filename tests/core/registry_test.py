"""Packages that offer factories by entry points, made of files alone."""

import pathlib
import re
import sys

import jax
import numpy as np
import pytest
import toy

from alcurr import samplers
from alcurr.core.errors import UserError
from alcurr.experiments.config import build
from alcurr.samplers import SAMPLERS
from configs import default

CONTRIBUTING = pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def install(tmp_path, monkeypatch):
  """A function (package, points, code) that installs a package of a module."""
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
  return samplers.get_sampler(spec, "samplers.x", batch_size=8, num_steps=9)


def test_the_skeleton_of_a_sampler_is_named_like_a_built_in_one(install):
  """CONTRIBUTING's own file, as another package's."""
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
  with pytest.raises(
    UserError, match=r"round_robin takes no 'arm'\. Known: arms"
  ):
    _get({"name": "round_robin", "arm": "label"})


PARTS = """
import jax, jax.numpy as jnp
from alcurr import bandits, progress, reward
from alcurr.models import from_functions
from alcurr.samplers import policies

def halves():
  return lambda logits, label: jnp.full(logits.shape[0], 0.5)

def flat(*, image_shape, num_classes, scale: float = 1.0):
  size = image_shape[0] * image_shape[1] * image_shape[2]
  return from_functions(
    lambda key: scale * jax.random.normal(key, (size, num_classes)),
    lambda w, x: x.reshape(len(x), -1) @ w,
  )

bandit, gain = bandits.softmax, progress.prediction_gain
ranked, policy = reward.rank, policies.uniform
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
  build.check(config)
  model = build.make_model(config, (2, 2, 1), 3)
  params, _ = model.init(jax.random.key(0))
  np.testing.assert_array_equal(params, np.zeros((4, 3)))
  scorer = build.make_scorer(config)
  np.testing.assert_array_equal(scorer(np.zeros((2, 3)), None), [0.5, 0.5])


def test_nothing_is_imported_that_is_not_named(install):
  """Nor when the known names are listed."""
  points = {"samplers": {"theirs": "theirs", "uniform": "mine"}}
  install("not-imported", points, "raise SystemError('imported')")
  _get({"name": "uniform"})  # never a package's
  with pytest.raises(
    UserError, match=r"no 'their'\. Known: .*, theirs, uniform"
  ):
    _get({"name": "their"})
  with pytest.raises(UserError, match=r"give it a name\. Known: .*, theirs"):
    _get({})
  assert "not_imported" not in sys.modules
  assert "theirs" not in SAMPLERS


@pytest.mark.parametrize(
  ("code", "what"),
  [
    ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
    ("def theirs(:", "SyntaxError: "),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ("x = 1", "AttributeError: .*'theirs'"),
  ],
)
def test_a_package_that_is_broken_is_named(install, code, what):
  install("broken-package", {"samplers": {"theirs": "theirs"}}, code)
  with pytest.raises(UserError) as raised:
    _get({"name": "theirs"})
  message = str(raised.value)
  start = "the package broken-package offers 'theirs' of alcurr.samplers and"
  assert message.startswith(start)
  assert re.search(what, message)
  assert message.endswith("; mend it, or uninstall it.")
  assert "\n" not in message


def test_what_is_no_factory_is_told(install):
  install("broken-package", {"samplers": {"theirs": "theirs"}}, "theirs = 3")
  with pytest.raises(
    UserError, match="broken_package:theirs, which is of type int"
  ):
    _get({"name": "theirs"})


def test_two_packages_of_one_name_are_told(install):
  for package in ("first-one", "second-one"):
    install(package, {"samplers": {"theirs": "theirs"}}, "")
  with pytest.raises(UserError, match="first-one and second-one each offer"):
    _get({"name": "theirs"})
