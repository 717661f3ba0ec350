"""The fields of a config are those of the defaults."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.experiments.config import schema
from configs import default


def _config():
  return ConfigDict(default.get_config().to_dict(), type_safe=False)


def test_types_are_those_of_the_defaults():
  assert schema.FIELDS["trials"] is int
  assert schema.FIELDS["checkpoint.minutes"] is float
  assert schema.FIELDS["data.recognized_only"] is bool
  assert schema.FIELDS["optimizer.backbone_lr_multiplier"] is float
  assert not [name for name in schema.FIELDS if name.startswith("samplers")]


def test_numbers_of_numpy_are_numbers():
  config = _config()
  config.trials, config.data.valid_fraction = np.int64(3), 0
  schema.check(config)
  for value in (np.float32(3), "3", None, False):
    config.trials = value
    with pytest.raises(UserError) as raised:
      schema.check(config)
    assert (raised.value.code, raised.value.place) == ("type", "trials")


@pytest.mark.parametrize(
  ("change", "code", "place"),
  [
    (lambda c: c.update(trails=3), "unknown", "trails"),
    (lambda c: c.data.update(dirs="x"), "unknown", "data.dirs"),
    (lambda c: delattr(c, "budget"), "missing", "budget"),
    (lambda c: delattr(c.data, "dir"), "missing", "data.dir"),
    (lambda c: delattr(c, "samplers"), "missing", "samplers"),
    (lambda c: c.samplers.update(x=3), "type", "samplers.x"),
  ],
)
def test_mistakes_name_the_field(change, code, place):
  config = _config()
  change(config)
  with pytest.raises(UserError) as raised:
    schema.check(config)
  assert (raised.value.code, raised.value.place) == (code, place)


def test_open_and_free_fields():
  config = _config()
  config.model.width = 3  # its factory checks it
  config.cells = {}  # the report's
  schema.check(config)
  del config.tracking  # of a version without trackers
  with pytest.raises(UserError):
    schema.check(config)
  schema.check(config, finished=True)


def test_sources_must_be_there():
  config = _config()
  del config.data.sources
  with pytest.raises(UserError) as raised:
    schema.check(config)
  assert (raised.value.code, raised.value.place) == ("missing", "data.sources")
  config.data.sources = "photos"
  with pytest.raises(UserError) as raised:
    schema.check(config)
  assert (raised.value.code, raised.value.place) == ("type", "data.sources")
