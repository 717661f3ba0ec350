"""Options of the command line set the fields of a config."""

import pytest
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.experiments.config import loader
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
