"""The table of fields is that of the configs."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.experiments.config import schema
from configs import default


def test_it_has_the_fields_and_types_of_the_defaults():
  found = schema.flatten(default.get_config().to_dict())
  mine = {n: type(v) for n, v in found.items() if not n.startswith("samplers")}
  assert mine == schema.FIELDS


def test_numbers_of_numpy_are_numbers():
  config = ConfigDict(default.get_config().to_dict(), type_safe=False)
  config.trials, config.data.valid_fraction = np.int64(3), 0
  schema.check(config)
  for value in (np.float32(3), "3", None, False):
    config.trials = value
    with pytest.raises(UserError, match="trials must be a whole number"):
      schema.check(config)
