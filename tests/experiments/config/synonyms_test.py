"""Hints for the names that other tools have for fields."""

import re

import pytest

from alcurr.core.errors import UserError
from alcurr.experiments.config import loader, schema, synonyms
from configs import default


def test_every_hint_names_a_field():
  for text in synonyms.SYNONYMS:
    if match := re.match(r"--config\.([\w.]+)", text):
      known = match[1] in schema.FIELDS or match[1] == "samplers.NAME.name"
      assert known, text


def test_no_name_means_two_fields():
  names = [name for names in synonyms.SYNONYMS.values() for name in names]
  assert len(names) == len({*names})


@pytest.mark.parametrize(
  ("option", "field"),
  [
    ("--config.lr=0.1", "--config.optimizer.learning_rate"),
    ("--config.learning_rate=0.1", "--config.optimizer.learning_rate"),
    ("--config.optimizer.lr=0.1", "--config.optimizer.learning_rate"),
    ("--config.epochs=3", "--config.budget='10 epochs'"),
    ("--config.max_steps=3", "--config.budget='2000 steps'"),
    ("--config.seeds=3", "--config.trials"),
    ("--lr=0.1", "--config.optimizer.learning_rate"),
    ("--batch-size=8", "--config.batch_size"),
    ("--trials=8", "--config.trials"),
  ],
)
def test_a_name_of_another_tool(option, field):
  with pytest.raises(UserError) as raised:
    loader.with_options(default.get_config(), [option])
  assert raised.value.code == "unknown"
  assert raised.value.place == option.split("=")[0]
  assert field in raised.value.text


def test_a_typo_has_the_nearest_field():
  with pytest.raises(UserError, match=r"--config\.trials"):
    loader.with_options(default.get_config(), ["--config.trails=3"])
