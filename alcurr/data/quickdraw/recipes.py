"""Thirty classes of doodles as recipes: strokes in a unit box, y downwards.

A class has several styles, the ways in which people draw the same thing; a
style is a list of strokes, a stroke an array of points [n, 2].
"""

import numpy as np

Style = list[np.ndarray]


def _line(*corners: tuple[float, float], n: int = 5) -> np.ndarray:
  """A polyline through the corners, with n points a side so that it bends."""
  corners = np.array(corners, float)
  place = np.linspace(0, len(corners) - 1, (n - 1) * (len(corners) - 1) + 1)
  return np.stack(
    [np.interp(place, np.arange(len(corners)), c) for c in corners.T], 1
  )


def _arc(
  x: float, y: float, rx: float, ry: float, a: float = 0, b: float = 1, n=20
) -> np.ndarray:
  """An arc of an ellipse, from a to b in turns, clockwise from the right."""
  turn = 2 * np.pi * np.linspace(a, b, n)
  return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1)


def _around(x: float, y: float, r: float, n: int, first: float = -0.25):
  """n points on a circle, from `first` in turns (-0.25: the top)."""
  turn = 2 * np.pi * (first + np.arange(n) / n)
  return np.stack([x + r * np.cos(turn), y + r * np.sin(turn)], 1)


def _polygon(n: int, skip: int = 1) -> np.ndarray:
  """A closed polygon, or a star that joins corners `skip` apart."""
  return _line(*_around(0.5, 0.5, 0.5, n)[(np.arange(n + 1) * skip) % n])


def _star(points: int, inner: float) -> np.ndarray:
  """The outline of a star."""
  outer = _around(0.5, 0.5, 0.5, points)
  dent = _around(0.5, 0.5, inner, points, -0.25 + 0.5 / points)
  corner = np.stack([outer, dent], 1).reshape(-1, 2)
  return _line(*corner, corner[0], n=3)


def _rays(x: float, y: float, inner: float, outer: float, n: int) -> Style:
  return list(np.stack([_around(x, y, r, n) for r in (inner, outer)], 1))


def _box(x: float, y: float, w: float, h: float) -> np.ndarray:
  return _line((x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y))


def _wave(cycles: float, height: float) -> np.ndarray:
  x = np.linspace(0, 1, 28)
  return np.stack([x, 0.5 + height * np.sin(2 * np.pi * cycles * x)], 1)


def _spiral(turns: float) -> np.ndarray:
  place = np.linspace(0, 1, 44)
  turn, r = 2 * np.pi * turns * place, 0.5 * place
  return np.stack([0.5 + r * np.cos(turn), 0.5 + r * np.sin(turn)], 1)


def _ladder(rungs: int, lean: float) -> Style:
  sides = [_line((x + lean, 0), (x, 1)) for x in (0.3, 0.7)]
  return sides + [
    _line((0.3 + lean * (1 - y), y), (0.7 + lean * (1 - y), y), n=2)
    for y in np.linspace(0.1, 0.9, rungs)
  ]


def _flower(petals: int) -> Style:
  centers = _around(0.5, 0.3, 0.2, petals)
  round_petals = [_arc(x, y, 0.09, 0.09, n=9) for x, y in centers]
  stalk = _line((0.5, 0.55), (0.5, 1))
  return [_arc(0.5, 0.3, 0.1, 0.1, n=10), *round_petals, stalk]


_FACE = _arc(0.5, 0.5, 0.5, 0.5)
_HULL = _line((0, 0.6), (1, 0.6), (0.8, 0.9), (0.2, 0.9), (0, 0.6))
_ROOF = _line((0, 0.45), (0.5, 0), (1, 0.45))
_CUP = _line((0.1, 0.1), (0.2, 0.95), (0.65, 0.95), (0.75, 0.1))
_CANOPY = _arc(0.5, 0.5, 0.5, 0.45, 0.5, 1.0)

# Alternately easy and hard, so that the first few are a mix. Hard to tell apart
# are circle, ellipse and egg; square, rectangle and diamond; star and hexagram;
# pentagon and hexagon; cross and plus; wave and zigzag.
DOODLES: dict[str, list[Style]] = {
  "house": [[_box(0, 0.45, 1, 0.55), _ROOF],
            [_box(0, 0.45, 1, 0.55), _ROOF, _box(0.4, 0.65, 0.2, 0.35)],
            [_box(0.1, 0.45, 0.8, 0.55), _ROOF, _box(0.2, 0.55, 0.2, 0.2)]],
  "circle": [[_arc(0.5, 0.5, 0.5, 0.5, -0.25, 0.75, 28)],
             [_arc(0.5, 0.5, 0.5, 0.5, 0.3, 1.4, 28)],
             [_arc(0.5, 0.5, 0.5, 0.5, 0, 0.5), _arc(0.5, 0.5, 0.5, 0.5, 0.5, 1)]],
  "ladder": [_ladder(5, 0), _ladder(7, 0), _ladder(4, 0.15)],
  "ellipse": [[_arc(0.5, 0.5, 0.5, 0.38, -0.25, 0.75, 28)],
              [_arc(0.5, 0.5, 0.5, 0.3, 0.5, 1.55, 28)],
              [_arc(0.5, 0.5, 0.38, 0.5, 0, 1.05, 28)]],
  "face": [[_FACE, _line((0.3, 0.35)), _line((0.7, 0.35)), _arc(0.5, 0.6, 0.25, 0.2, 0, 0.5)],
           [_FACE, _arc(0.3, 0.35, 0.07, 0.07, n=8), _arc(0.7, 0.35, 0.07, 0.07, n=8), _line((0.3, 0.75), (0.7, 0.75))],
           [_FACE, _line((0.25, 0.35), (0.4, 0.35), n=2), _line((0.6, 0.35), (0.75, 0.35), n=2), _arc(0.5, 0.8, 0.2, 0.12, 0.5, 1)]],
  "star": [[_polygon(5, skip=2)], [_star(5, 0.2)], [_star(5, 0.27)]],
  "square": [[_box(0, 0, 1, 1)],
             [_line((0, 0), (0, 1), (1, 1)), _line((0, 0), (1, 0), (1, 1))]],
  "sun": [[_arc(0.5, 0.5, 0.25, 0.25), *_rays(0.5, 0.5, 0.33, 0.5, 8)],
          [_arc(0.5, 0.5, 0.28, 0.28), *_rays(0.5, 0.5, 0.3, 0.5, 12)],
          [_arc(0, 0, 0.5, 0.5, 0, 0.25), *_rays(0, 0, 0.6, 0.95, 16)[5:8]]],
  "rectangle": [[_box(0, 0.2, 1, 0.6)],
                [_box(0.2, 0, 0.62, 1)],
                [_line((0, 0.15), (0, 0.85), (1, 0.85)), _line((0, 0.15), (1, 0.15), (1, 0.85))]],
  "fish": [[_arc(0.4, 0.5, 0.4, 0.25, 0, 1, 24), _line((0.8, 0.5), (1, 0.3), (1, 0.7), (0.8, 0.5)), _line((0.2, 0.45))],
           [_arc(0.5, 0.2, 0.55, 0.5, 0.05, 0.42), _arc(0.5, 0.8, 0.55, 0.5, 0.58, 0.95), _line((1, 0.35), (1, 0.65), n=3)],
           [_line((0, 0.5), (0.4, 0.25), (0.75, 0.5), (0.4, 0.75), (0, 0.5)), _line((0.75, 0.5), (1, 0.25), (1, 0.75), (0.75, 0.5)), _line((0.25, 0.45))]],
  "diamond": [[_polygon(4)],
              [_line((0.5, 0), (0.85, 0.5), (0.5, 1), (0.15, 0.5), (0.5, 0))]],
  "spiral": [[_spiral(2.5)], [_spiral(3.5)], [_spiral(2.0)[::-1]]],
  "hexagram": [[_polygon(6, skip=2), _polygon(6, skip=2) * [1, -1] + [0, 1]],
               [_star(6, 0.28)]],
  "tree": [[_arc(0.5, 0.3, 0.35, 0.3, 0.25, 1.25, 24), _line((0.45, 0.6), (0.45, 1)), _line((0.55, 0.6), (0.55, 1))],
           [_line((0.5, 0), (0.1, 0.75), (0.9, 0.75), (0.5, 0)), _box(0.42, 0.75, 0.16, 0.25)],
           [_line((0.5, 0.2), (0.5, 1)), _line((0.5, 0.5), (0.2, 0.2)), _line((0.5, 0.4), (0.8, 0.1)), _line((0.5, 0.6), (0.8, 0.4))]],
  "triangle": [[_polygon(3)],
               [_line((0, 1), (0, 0), (1, 1), (0, 1))],
               [_line((0.2, 0), (1, 1), (0, 1), (0.2, 0))]],
  "cup": [[_CUP, _arc(0.75, 0.45, 0.25, 0.2, -0.25, 0.25, 12)],
          [_CUP, _arc(0.42, 0.1, 0.33, 0.08), _arc(0.72, 0.45, 0.25, 0.2, -0.25, 0.25, 12)],
          [_box(0.1, 0.1, 0.6, 0.85), _arc(0.7, 0.5, 0.25, 0.2, -0.25, 0.25, 12)]],
  "cross": [[_line((0, 0), (1, 1)), _line((1, 0), (0, 1))],
            [_line((0.1, 0), (0.9, 1), n=6), _line((0.9, 0), (0.1, 1), n=6)]],
  "boat": [[_HULL, _line((0.5, 0.6), (0.5, 0)), _line((0.5, 0), (0.9, 0.5), (0.5, 0.5))],
           [_arc(0.5, 0.6, 0.5, 0.35, 0, 0.5), _line((0, 0.6), (1, 0.6)), _line((0.45, 0.6), (0.45, 0.05), (0.1, 0.5), (0.45, 0.5))],
           [_HULL, _line((0.5, 0.6), (0.5, 0)), _line((0.5, 0), (0.85, 0.15), (0.5, 0.3))]],
  "pentagon": [[_polygon(5)], [_polygon(5)[::-1]]],
  "flower": [_flower(5), _flower(6), _flower(4)],
  "plus": [[_line((0.5, 0), (0.5, 1)), _line((0, 0.5), (1, 0.5))],
           [_line((0.5, 0), (0.5, 1)), _line((0.15, 0.4), (0.85, 0.4))]],
  "umbrella": [[_CANOPY, _line((0, 0.5), (1, 0.5)), _line((0.5, 0.5), (0.5, 0.9)), _arc(0.42, 0.9, 0.08, 0.1, 0, 0.5, 8)],
               [_CANOPY, *(_arc(x, 0.5, 0.125, 0.06, 0.5, 1, 7) for x in (0.125, 0.375, 0.625, 0.875)), _line((0.5, 0.45), (0.5, 1))]],
  "hexagon": [[_polygon(6)], [_polygon(6)[:, ::-1]]],
  "clock": [[_FACE, _line((0.5, 0.5), (0.5, 0.15)), _line((0.5, 0.5), (0.75, 0.5))],
            [_FACE, _line((0.5, 0.5), (0.3, 0.25)), _line((0.5, 0.5), (0.6, 0.8)), *_rays(0.5, 0.5, 0.42, 0.5, 4)],
            [_FACE, _line((0.75, 0.3), (0.5, 0.5), (0.5, 0.1)), *_rays(0.5, 0.5, 0.45, 0.5, 8)]],
  "wave": [[_wave(2, 0.15)], [_wave(3, 0.12)], [_wave(2.5, 0.2)]],
  "key": [[_arc(0.2, 0.5, 0.2, 0.2), _line((0.4, 0.5), (1, 0.5)), _line((0.85, 0.5), (0.85, 0.65), n=2), _line((0.97, 0.5), (0.97, 0.68), n=2)],
          [_arc(0.5, 0.2, 0.2, 0.2), _line((0.5, 0.4), (0.5, 1), (0.65, 1)), _line((0.5, 0.85), (0.65, 0.85), n=2)]],
  "egg": [[np.concatenate([_arc(0.5, 0.6, 0.38, 0.4, 0, 0.5, 14), _arc(0.5, 0.6, 0.38, 0.6, 0.5, 1, 16)])],
          [np.concatenate([_arc(0.5, 0.6, 0.42, 0.4, 0.25, 0.5, 8), _arc(0.5, 0.6, 0.42, 0.55, 0.5, 1, 16), _arc(0.5, 0.6, 0.42, 0.4, 0, 0.25, 8)])]],
  "arrow": [[_line((0, 0.5), (1, 0.5)), _line((0.7, 0.2), (1, 0.5), (0.7, 0.8))],
            [_line((0.5, 1), (0.5, 0)), _line((0.2, 0.3), (0.5, 0), (0.8, 0.3))],
            [_line((0, 0.4), (0.6, 0.4), (0.6, 0.2), (1, 0.5), (0.6, 0.8), (0.6, 0.6), (0, 0.6), (0, 0.4), n=3)]],
  "zigzag": [[_line(*((x / 6, 0.35 + 0.3 * (x % 2)) for x in range(7)), n=3)],
             [_line(*((x / 4, 0.3 + 0.4 * (x % 2)) for x in range(5)), n=3)]],
  "envelope": [[_box(0, 0.2, 1, 0.65), _line((0, 0.2), (0.5, 0.6), (1, 0.2))],
               [_box(0, 0.2, 1, 0.6), _line((0, 0.8), (0.4, 0.5)), _line((1, 0.8), (0.6, 0.5)), _line((0, 0.2), (0.5, 0.58), (1, 0.2))]],
}  # fmt: skip
