"""Tests that the networks have the logits of Keras and timm in `golden/`.

`parity_test.py` compares with the libraries themselves.
"""

import numpy as np
import pytest
import seeded

REMAKE = "run `python tests/models/oracles.py` (extra `parity`)"


# The others take longer to compile; models_test.py has the table of mobilenet.
FAST = {"cnn"}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in seeded.GOLDEN
  ],
)
def test_logits(name):
  num, size, modes, options = seeded.GOLDEN[name]
  golden = np.load(seeded.GOLDEN_DIR / f"{name}.npz")
  image = seeded.images(num, size)
  ours = seeded.Ours(name, size, **options)
  assert seeded.checksum({"": image}) == golden["image"], REMAKE
  assert seeded.checksum(ours.weights()) == golden["weights"], REMAKE
  for mode in modes:
    logits = ours.logits(image, train=mode == "train")
    error = seeded.relative_error(logits, golden[mode])
    print(f"{name} {mode} {error:.1e}")
    assert error <= 1e-4
