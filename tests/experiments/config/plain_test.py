"""Values of Python, NumPy and JAX become a config's, by one set of rules."""

import fractions
import pathlib

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from alcurr.core.errors import UserError
from alcurr.experiments.config import build, loader, plain, schema
from configs import default


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    (np.int64(2), 2),
    (np.uint8(2), 2),
    (np.float32(0.5), 0.5),
    (np.float16(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.array(3), 3),
    (np.array([1, 2]), [1, 2]),
    (np.array(["a", "b"], object), ["a", "b"]),
    (jnp.float32(0.5), 0.5),
    (jnp.bfloat16(0.5), 0.5),
    (jnp.arange(2), [0, 1]),
    (fractions.Fraction(1, 2), 0.5),
    (pathlib.Path("a/b"), "a/b"),
    (range(2), [0, 1]),
    ((np.int8(1), "x", None), (1, "x", None)),
    (jnp.bfloat16, "bfloat16"),
    (np.dtype("float32"), "float32"),
    (ml_collections.ConfigDict({"a": {"b": 1}}), {"a": {"b": 1}}),
    ({np.str_("a"): np.int64(1)}, {"a": 1}),
  ],
)
def test_values_become_plain(value, expected):
  found = plain.convert(value, "x")
  assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("value", [object(), b"x", 1j, np.complex64(1), len])
def test_no_config_holds(value):
  with pytest.raises(UserError) as raised:
    plain.convert({"b": [value]}, "a")
  assert (raised.value.code, raised.value.place) == ("type", "a.b")


@pytest.mark.parametrize(
  ("field", "value", "expected"),
  [
    ("trials", np.int64(2), 2),
    ("optimizer.learning_rate", 1, 1.0),
    ("data.classes", 5, "5"),
    ("data.classes", ["cat", np.str_("dog")], "cat,dog"),
    ("data.channels", ("ink", "order"), "ink,order"),
    ("data.dir", pathlib.Path("a"), "a"),
    ("thresholds", (0.5, np.float64(0.25)), "0.5,0.25"),
    ("tracking", ["tensorboard"], "tensorboard"),
    ("samplers.bandit.warmup", np.int32(3), 3),
    ("samplers.bandit.run", {"budget": 3, "batch_size": np.int64(4)}, None),
  ],
)
def test_a_field_set_in_a_file_or_by_a_call(field, value, expected):
  """The two give the same config."""
  config = default.get_config()
  group, _, name = field.rpartition(".")
  target = config
  for part in filter(None, group.split(".")):
    target = target[part]
  target[name] = value
  config = plain.normalize(config, schema.FIELDS)
  called = plain.merge(default.get_config(), {field: value})
  called = plain.normalize(called, schema.FIELDS)
  assert config.to_dict() == called.to_dict()
  target = config
  for part in field.split("."):
    target = target[part]
  if expected is None:
    assert target.to_dict() == {"budget": "3", "batch_size": 4}
  else:
    assert target == expected and type(target) is type(expected)


def test_a_class_with_a_comma_is_no_text_list():
  config = plain.merge(default.get_config(), {"data.classes": ["a,b", "c"]})
  with pytest.raises(UserError) as raised:
    build.build_experiment(config)
  assert (raised.value.code, raised.value.place) == ("type", "data.classes")


@pytest.mark.parametrize(
  "changes",
  [
    {"optimizer.learning_rate": 0.5, "samplers.bandit.run.batch_size": 4},
    {
      "optimizer": {"learning_rate": 0.5},
      "samplers": {"bandit": {"run": {"batch_size": 4}}},
    },
    {"optimizer": {"learning_rate": 0.5}, "samplers.bandit.run.batch_size": 4},
  ],
)
def test_dicts_and_dotted_names_change_only_their_fields(changes):
  before = default.get_config()
  after = plain.merge(before, changes)
  flat, old = (schema.flatten(c.to_dict()) for c in (after, before))
  assert {k: v for k, v in flat.items() if old.get(k, v) != v} == {
    "optimizer.learning_rate": 0.5
  }
  assert flat.keys() - old.keys() == {"samplers.bandit.run.batch_size"}
  assert before == default.get_config()


@pytest.mark.parametrize(
  ("changes", "code", "place"),
  [
    ({"optimizer": "adam"}, "type", "optimizer"),
    ({"optimizer": None}, "type", "optimizer"),
    ({"trials": {"a": 1}}, "unknown", "trials.a"),
    ({"trials.a": 1}, "unknown", "trials.a"),
    ({"samplers": ["uniform"]}, "type", "samplers"),
    ({"optimizer.learning_rate": 10**400}, "range", "optimizer.learning_rate"),
    ({"budget": 10}, "syntax", "budget"),
    ({"trials": None}, "type", "trials"),
    ({"data.dir": True}, "type", "data.dir"),
  ],
)
def test_mistakes(changes, code, place):
  with pytest.raises(UserError) as raised:
    build.build_experiment(plain.merge(default.get_config(), changes))
  assert (raised.value.code, raised.value.place) == (code, place)


def test_a_sampler_whose_name_has_dots():
  config = default.get_config()
  config.samplers["v1.0"] = {"name": "active_bandit"}
  config = plain.merge(config, {"samplers.v1.0.warmup": 3})
  config = plain.merge(config, {"samplers": {"v1.0": {"interval": 2}}})
  assert config.samplers["v1.0"].to_dict() == {
    "name": "active_bandit",
    "warmup": 3,
    "interval": 2,
  }
  config.baseline = "v1.0"
  changed = loader.with_options(config, ["--config.trials=1"])
  assert list(build.build_experiment(changed).runs) == [*config.samplers]


def test_an_option_sets_a_field_that_is_none():
  option = "--config.samplers.bandit.warmup=7"
  config = loader.with_options(default.get_config(), [option])
  assert config.samplers.bandit.warmup == 7
  assert default.get_config().samplers.bandit.warmup is None


@pytest.mark.parametrize("name", ["a:b.py", "a:b/x.py", "x.py", ":.py"])
@pytest.mark.parametrize("argument", [None, "", "a=1", "x:y"])
def test_the_colon_of_an_argument_follows_a_file(tmp_path, name, argument):
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True)
  path.touch()
  text = str(path) if argument is None else f"{path}:{argument}"
  assert loader.split(text) == (str(path), argument)
