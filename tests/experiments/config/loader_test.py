"""Options of the command line set the fields of a config."""

import pytest
from ml_collections import ConfigDict
from refusal import refused

from alcurr import samplers
from alcurr.core.errors import UserError
from alcurr.experiments.config import build, loader, plain
from configs import default


def test_options_set_fields_by_their_types():
  config = default.get_config()
  options = [
    "--config.trials=5",
    *("--config.data.label_noise", "0.5"),
    "--config.data.recognized_only",
    "--noconfig.samplers.uniform.replacement",
    "--config.samplers.bandit.epsilon=linear(value=1.0)",
    "--config.optimizer={'name': 'sgd(momentum=0.9)', 'learning_rate': 2}",
    "--config.trials=4",
  ]
  changed = loader.with_options(config, options)
  assert changed.trials == 4 and isinstance(changed.trials, int)
  assert changed.data.label_noise == 0.5
  assert changed.data.recognized_only is True
  assert changed.samplers.uniform.replacement is False
  assert changed.samplers.bandit.epsilon == "linear(value=1.0)"
  assert changed.optimizer.name == "sgd(momentum=0.9)"
  assert changed.is_locked
  assert config == default.get_config()


def test_samplers_of_any_name_have_options():
  config = default.get_config()
  names = ("v1.0", "v1", "v1.0.1", "lambda", "2nd", "my-own")
  with config.unlocked():
    for name in names:
      config.samplers = plain.to_config(
        config.samplers.to_dict() | {name: {"name": "uniform", "interval": 0}}
      )
  options = [
    f"--config.samplers.{name}.interval={i}" for i, name in enumerate(names, 1)
  ]
  options += ["--config.trials=4", "--config.samplers.v1.0.name=curriculum"]
  changed = loader.with_options(config, options)
  found = changed.samplers.to_dict()
  assert [found[name]["interval"] for name in names] == [1, 2, 3, 4, 5, 6]
  assert found["v1.0"]["name"] == "curriculum" and found["v1"]["name"] == (
    "uniform"
  )
  assert changed.trials == 4 and changed.is_locked
  assert loader.value_of(config, "samplers.v1.0.1.interval", "7") == 7
  for field, code in (("intervall", "unknown"), ("interval", "type")):
    place = f"--config.samplers.v1.0.{field}"
    with pytest.raises(UserError) as mistake:
      loader.with_options(config, [f"{place}=often"])
    assert (mistake.value.code, mistake.value.place) == (code, place)


def test_an_option_adds_a_sampler():
  options = ["--config.samplers.trust=label_trust(least_weight=0)"]
  config = loader.with_options(default.get_config(), options)
  assert {*config.samplers} == {"uniform", "bandit", "trust"}
  added = build.build_experiment(config).runs["trust"].make_sampler(100)
  given = samplers.label_trust(batch_size=32, num_steps=100, least_weight=0)
  assert added.spec == given.spec
  with refused("unknown", "samplers.trust"):
    wrong = ["--config.samplers.trust=label_trsut"]
    build.build_experiment(loader.with_options(default.get_config(), wrong))


def test_options_may_come_before_the_config():
  rest = loader.parse_flags(["x", "--config.trials=5", "--config.seed=2"])
  config = loader.load("configs/quickstart.py", rest[1:])
  assert (config.trials, config.seed) == (5, 2)


@pytest.mark.parametrize(
  ("option", "code", "place"),
  [
    ("--config.trials=x", "type", "--config.trials"),
    ("--config.trails=3", "unknown", "--config.trails"),
    ("--config.data.dir", "syntax", "--config.data.dir"),
    ("--config.data=3", "type", "--config.data"),
    ("--trials=3", "unknown", "--trials"),
    ("stray", "unknown", "stray"),
  ],
)
def test_mistakes_in_options(option, code, place):
  with pytest.raises(UserError) as mistake:
    loader.with_options(default.get_config(), [option])
  assert (mistake.value.code, mistake.value.place) == (code, place)


@pytest.mark.parametrize(
  ("option", "expected"),
  [
    ("--config.samplers=unifrm", "uniform?"),
    ("--config.optimizer=sgd", "learning_rate"),
    ("--config.samplers.bandit=softmax", "epsilon"),
  ],
)
def test_a_value_for_a_group_is_answered_with_its_fields(option, expected):
  with pytest.raises(UserError) as mistake:
    loader.with_options(default.get_config(), [option])
  assert mistake.value.code == "type"
  assert mistake.value.place == option.partition("=")[0]
  assert expected in mistake.value.text


@pytest.mark.parametrize(
  ("field", "text", "value"),
  [
    ("batch_size", "8", 8),
    ("optimizer.learning_rate", "1e-3", 0.001),
    ("data.recognized_only", "false", False),
    ("model.name", "cnn(width=0.5, norm='group')", None),
  ],
)
def test_a_value_has_the_type_of_its_field(field, text, value):
  read = loader.value_of(default.get_config(), field, text)
  expected = text if value is None else value
  assert read == expected and type(read) is type(expected)


def test_a_group_of_fields_is_no_value():
  with pytest.raises(UserError) as mistake:
    loader.value_of(ConfigDict({"a": {"b": 1}}), "a", "{'b': 2}")
  assert (mistake.value.code, mistake.value.place) == ("type", "--config.a")
