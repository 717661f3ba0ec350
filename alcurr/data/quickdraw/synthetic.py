"""Generated doodles with known faults: the data that comes with the project.

Each drawing is a style of its class (`recipes`), deformed as by an unskilled
hand, in the packed format of real drawings. Given shares are scribbles,
unfinished, or labelled wrongly; flags mark them.
"""

import numpy as np

from alcurr.core.arguments import check_at_least, check_fraction
from alcurr.data import strokes
from alcurr.data.pool import Dataset
from alcurr.data.quickdraw.recipes import DOODLES, Style


def make_synthetic(
  num_examples: int,
  *,
  seed: int = 0,
  num_classes: int = 30,
  scribble_fraction: float = 0.02,
  unfinished_fraction: float = 0.05,
  wrong_label_fraction: float = 0.03,
) -> Dataset:
  """Generates N labelled drawings.

  A fraction changes only the drawings that it hits. Without wrong labels, the
  same drawings have their true labels.

  Args:
    num_examples: N, at least one for each class.
    seed: of everything random.
    num_classes: V, from 2 to 30, equally frequent.
    scribble_fraction: drawings that have nothing to do with their label.
    unfinished_fraction: drawings that end after a part of their points.
    wrong_label_fraction: drawings with the label of another class.

  Returns:
    A dataset with the flags "scribble", "unfinished" and "wrong_label".

  Raises:
    ValueError: an argument out of range.
  """
  fractions = {
    "scribble": scribble_fraction,
    "unfinished": unfinished_fraction,
    "wrong_label": wrong_label_fraction,
  }
  most = len(DOODLES)
  if not 2 <= num_classes <= most:
    raise ValueError(f"num_classes must be in [2, {most}], got {num_classes}")
  check_at_least(num_classes, num_examples=num_examples)
  check_fraction(**{f"{name}_fraction": x for name, x in fractions.items()})
  # A stream for each purpose, so that no fault moves a label or another fault.
  streams = np.random.SeedSequence(seed).spawn(3 + len(fractions))
  rngs = [np.random.default_rng(stream) for stream in streams]
  label = rngs[0].permutation(np.arange(num_examples) % num_classes)
  flags = {
    name: rng.random(num_examples) < fraction
    for rng, (name, fraction) in zip(rngs[3:], fractions.items(), strict=True)
  }
  source = _draw(rngs[1], label, flags)
  other = rngs[2].integers(1, num_classes, num_examples)
  label = np.where(flags["wrong_label"], (label + other) % num_classes, label)
  return Dataset(
    source=source,
    label=label.astype(np.int32),
    key=_keys(seed, num_examples),
    class_names=tuple(DOODLES)[:num_classes],
    flags=flags,
  )


def _keys(seed: int, num_examples: int) -> np.ndarray:
  """Returns keys [N] uint64 (SplitMix64) that do not depend on N."""
  start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
  count = np.arange(1, num_examples + 1, dtype=np.uint64)
  with np.errstate(over="ignore"):
    x = start + count * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def _draw(
  rng: np.random.Generator, label: np.ndarray, flags: dict[str, np.ndarray]
) -> strokes.Strokes:
  num_examples, scribble = len(label), flags["scribble"]
  # Most people draw well; a few do not at all.
  clumsiness = rng.beta(1.6, 3.5, num_examples)
  style = rng.integers(0, 2**16, num_examples)
  groups = []
  for number, styles in enumerate(list(DOODLES.values())[: label.max() + 1]):
    # Forwards, and backwards from the last point to the first.
    variants = [*styles, *([s[::-1] for s in style[::-1]] for style in styles)]
    for choice, variant in enumerate(variants):
      index = np.flatnonzero(
        (label == number) & ~scribble & (style % len(variants) == choice)
      )
      groups.append((index, *_deformed(rng, variant, clumsiness[index])))
  index = np.flatnonzero(scribble)
  groups.append((index, *_scribbles(rng, len(index))))
  # The share of points that are drawn.
  part = rng.uniform(0.25, 0.6, num_examples)
  share = np.where(flags["unfinished"], part, 1.0)
  parts = [_pack(share[index], *group) for index, *group in groups]
  place = np.concatenate([index for index, *_ in groups])
  return strokes.take_strokes(strokes.concatenate(parts), np.argsort(place))


def _deformed(
  rng: np.random.Generator, style: Style, clumsiness: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Deforms a style by clumsiness [n]: [n, P, 2], and each point's stroke."""
  template = np.concatenate(style) - 0.5  # [P, 2]
  stroke = np.repeat(np.arange(len(style)), [len(s) for s in style])
  n, num_points = len(clumsiness), len(template)
  messy = clumsiness[:, None]

  def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=(n, *shape))

  # The whole drawing is rotated, sheared and stretched.
  angle = 0.35 * messy * normal(1)
  shear = 0.35 * messy * normal(1)
  stretch = np.exp(0.25 * (0.3 + messy) * normal(1))
  x, y = template.T
  x, y = stretch * (x + shear * y), y / stretch
  cos, sin = np.cos(angle), np.sin(angle)
  points = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
  # Each stroke misses its place and size a little: gaps and overshoots.
  messy = messy[..., None]
  points *= np.exp(0.2 * messy * normal(len(style), 1))[:, stroke]
  points += 0.12 * messy * normal(len(style), 2)[:, stroke]
  # The pen wobbles slowly along its way and trembles.
  along = np.arange(num_points)[:, None] / max(num_points, 2)
  for cycles in (1, 2, 4):
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 2))
    height = 0.1 * messy * normal(1, 2) / cycles
    points += height * np.sin(2 * np.pi * cycles * along + phase)
  points += 0.03 * (0.2 + messy) * normal(num_points, 2)
  return points, stroke


def _scribbles(
  rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray]:
  """Lets n pens wander: the direction is a random walk; as `_deformed`."""
  num_points = 40
  direction = np.cumsum(rng.normal(0, 0.9, (n, num_points)), axis=1)
  steps = np.stack([np.cos(direction), np.sin(direction)], axis=-1)
  return np.cumsum(steps, axis=1), np.zeros(num_points, int)


def _pack(
  share: np.ndarray, points: np.ndarray, stroke: np.ndarray
) -> strokes.Strokes:
  """Fits drawings to the box, each cut after a share [n] of its points."""
  n, num_points, _ = points.shape
  drawn = np.arange(num_points) < np.ceil(share * num_points)[:, None]
  # Aligned to the top-left corner, with a longer side of 255, as Google's are.
  hidden = ~drawn[..., None]
  low = np.where(hidden, np.inf, points).min(1, keepdims=True)
  high = np.where(hidden, -np.inf, points).max(1, keepdims=True)
  scale = 255 / np.maximum((high - low).max(2, keepdims=True), 1e-9)
  points = np.rint(np.clip((points - low) * scale, 0, 255)).astype(np.uint8)
  stroke_length = np.zeros((n, stroke[-1] + 1), int)
  np.add.at(stroke_length.T, stroke, drawn.T)
  begun = stroke_length > 0
  return strokes.from_lengths(points[drawn], stroke_length[begun], begun.sum(1))
