"""The renderer against an independent rasteriser and Google's own bitmaps."""

import itertools
import mmap

import aggdraw
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from alcurr.data import array_files, pool, render, strokes
from alcurr.data.quickdraw import reader
from alcurr.types import Images, Strokes

# Of the reference: drawn so many times larger, then averaged.
OVERSAMPLING = 8


def _pack(*drawings):
  """Drawings as lists of strokes, each a list of (x, y)."""
  packed = strokes.pack(
    strokes.parse_simplified(
      [[[x for x, _ in s], [y for _, y in s]] for s in drawing]
    )
    for drawing in drawings
  )
  return jax.tree.map(jnp.asarray, packed)


def _reference(drawing, size, width, intensities):
  """The same picture by aggdraw, stroke by stroke: [size, size] in [0, 1].

  The brighter stroke shows, and each has round joints and ends.
  """
  large = size * OVERSAMPLING
  scale = large / (256 + 2 * 24)
  extent = np.concatenate(drawing).max(0).astype(float)
  offset = scale * (24 + (256 - extent) / 2)
  image = np.zeros((large, large))
  for stroke, intensity in zip(drawing, intensities, strict=True):
    canvas = Image.new("L", (large, large), 0)
    draw = aggdraw.Draw(canvas)
    pen = aggdraw.Pen("white", width * OVERSAMPLING)
    brush, radius = aggdraw.Brush("white"), width * OVERSAMPLING / 2
    corners = scale * stroke.astype(float) + offset
    for a, b in itertools.pairwise(corners):
      draw.line((*a, *b), pen)
    for x, y in corners:
      draw.ellipse((x - radius, y - radius, x + radius, y + radius), brush)
    draw.flush()
    image = np.maximum(image, intensity * np.asarray(canvas) / 255)
  shape = (size, OVERSAMPLING, size, OVERSAMPLING)
  return image.reshape(shape).mean((1, 3))


@pytest.mark.parametrize(
  ("size", "width", "decay", "measured"),
  [
    pytest.param(28, 1.5, 0.0, 1.77, marks=pytest.mark.slow),
    (28, 1.5, 0.7, 1.55),
    (64, 3.4, 0.0, 0.54),
    pytest.param(64, 2.0, 1.0, 0.46, marks=pytest.mark.slow),
    pytest.param(128, 4.0, 0.5, 0.25, marks=pytest.mark.slow),
  ],
)
def test_real_drawings_agree_with_aggdraw(
  quickdraw_dir, size, width, decay, measured
):
  """Mean absolute difference, in units of 1/255 (of all pixels).

  As measured over 48 drawings of three classes; a third more is allowed.
  """
  dataset, _ = reader.load(
    quickdraw_dir / "simplified", classes="cat,bicycle,apple", max_per_class=16
  )
  draw = jax.jit(
    render.make_render(size=size, stroke_width=width, stroke_decay=decay)
  )
  index = np.arange(len(dataset.label))
  packed = jax.tree.map(jnp.asarray, dataset.source)
  mine = np.asarray(draw(packed, index))[..., 0]
  theirs = []
  for i in index:
    drawing = strokes.unpack(dataset.source, i)
    intensities = 1 - decay * np.arange(len(drawing)) / max(len(drawing) - 1, 1)
    theirs.append(_reference(drawing, size, width, intensities))
  theirs = np.stack(theirs)
  difference = 255 * np.abs(mine - theirs).mean()
  assert difference < 4 / 3 * measured
  # And the same amount of ink, within three percent.
  assert abs(mine.sum() / theirs.sum() - 1) < 0.03


@pytest.mark.parametrize(
  "size",
  [28, *(pytest.param(x, marks=pytest.mark.slow) for x in (64, 128, 256))],
)
def test_order_and_speed_agree_with_aggdraw(quickdraw_dir, size):
  """Raw drawings, in each channel: 2 parts of 255, 7 percent of the ink.

  Each segment is a stroke of the reference's, as bright as its pen was fast.
  """
  files = sorted((quickdraw_dir / "raw").iterdir())[:4]
  parts = [reader.read_class(path, max_per_class=1) for path in files]
  source = strokes.concatenate([part.source for part in parts])
  assert source.points.shape[1] == 3
  width = size / 14
  channels = ("speed", "ink", "order")
  draw = jax.jit(
    render.make_render(size=size, stroke_width=width, channels=channels)
  )
  mine = np.asarray(draw(jax.tree.map(jnp.asarray, source), np.arange(4)))
  assert mine.shape == (4, size, size, 3)
  for i in range(4):
    drawing = strokes.unpack(source, i)
    plain = [stroke[:, :2] for stroke in drawing]
    order = (1 + np.arange(len(drawing))) / len(drawing)
    segments, speeds = [], []
    for stroke in drawing:
      first = [stroke[0], stroke[0]] if len(stroke) == 1 else stroke
      for a, b in itertools.pairwise(first):
        segments.append(np.stack([a[:2], b[:2]]))
        speeds.append(b[2] / 255)
    for plane, theirs in zip(
      np.moveaxis(mine[i], -1, 0),
      (
        _reference(segments, size, width, speeds),
        _reference(plain, size, width, np.ones(len(plain))),
        _reference(plain, size, width, order),
      ),
      strict=True,
    ):
      assert 255 * np.abs(plane - theirs).mean() < 2
      assert abs(plane.sum() / theirs.sum() - 1) < 0.07
  alone = render.make_render(size=size, stroke_width=width)
  cut = jax.tree.map(jnp.asarray, source._replace(points=source.points[:, :2]))
  np.testing.assert_allclose(
    jax.jit(alone)(cut, np.arange(4))[..., 0], mine[..., 1], atol=1.01 / 255
  )


def test_the_order_of_strokes_by_hand():
  lines = [[(0, y), (255, y)] for y in (0, 127, 255)]
  draw = render.make_render(size=64, stroke_width=6.0, channels=("order",))
  image = np.asarray(draw(_pack(lines), jnp.array([0])))[0, :, 32, 0]
  peaks = [image[:20].max(), image[20:44].max(), image[44:].max()]
  np.testing.assert_allclose(peaks, [1 / 3, 2 / 3, 1.0], atol=1 / 255)


def test_google_bitmaps_at_28(quickdraw_dir):
  """Some drawings stand in both folders, but the bitmaps carry no key.

  A drawing whose nearest bitmap is far nearer than the second nearest is
  taken for the same: 41 of cat and apple. Mean absolute difference in units
  of 1/255, of all pixels: 1.99 on average, 3.72 at most.
  """
  dataset, _ = reader.load(quickdraw_dir / "simplified", classes="cat,apple")
  draw = jax.jit(render.make_render(size=28))
  packed = jax.tree.map(jnp.asarray, dataset.source)
  pairs = []
  for label, name in enumerate(dataset.class_names):
    rows = array_files.load_bitmap(
      quickdraw_dir / f"numpy_bitmap/full_numpy_bitmap_{name}.npy"
    ).astype(np.float32)
    index = np.flatnonzero(dataset.label == label)
    mine = 255 * np.asarray(draw(packed, index)).reshape(len(index), -1)
    squared = (mine**2).sum(1)[:, None] - 2 * mine @ rows.T + (rows**2).sum(1)
    nearest = np.argsort(squared, axis=1)[:, :2]
    first, second = np.take_along_axis(squared, nearest, axis=1).T
    same = np.flatnonzero(first < second / 8)
    pairs += np.abs(mine[same] - rows[nearest[same, 0]]).mean(1).tolist()
  assert len(pairs) >= 35
  assert np.mean(pairs) < 2.5 and max(pairs) < 5


def test_a_dot_is_drawn():
  """A disc of the pen's width, by hand: its ink is its area."""
  packed = _pack([[(0, 0)]], [[(0, 0), (255, 255)], [(128, 128)]])
  draw = render.make_render(size=28, stroke_width=5.0)
  image = np.asarray(draw(packed, jnp.array([0])))
  assert image.sum() == pytest.approx(np.pi * 2.5**2, rel=0.02)
  # It is centred: its centre of mass is the image's.
  y, x = np.indices((28, 28))
  mass = image[0, ..., 0] / image.sum()
  assert (mass * x).sum() == pytest.approx(13.5, abs=0.01)
  assert (mass * y).sum() == pytest.approx(13.5, abs=0.01)


def test_a_point_drawn_twice_changes_nothing():
  """Whatever becomes of its second place by rounding."""
  rng = np.random.default_rng(0)
  once = [[rng.integers(0, 256, (5, 2)).tolist()] for _ in range(100)]
  twice = [
    [[point for point in stroke for _ in range(2)] for stroke in drawing]
    for drawing in once
  ]
  draw = jax.jit(render.make_render(size=28))
  images = [
    draw(_pack(*drawings), jnp.arange(100)) for drawings in (once, twice)
  ]
  np.testing.assert_allclose(*images, atol=1.01 / 255)


def test_a_box_is_not_cut_at_the_edges():
  box = [(0, 0), (255, 0), (255, 255), (0, 255), (0, 0)]
  for size in (16, 28, 64):
    image = np.asarray(
      render.make_render(size=size)(_pack([box]), jnp.array([0]))
    )[0, ..., 0]
    # Across either side there is all of the pen's width.
    width = 16 * size / 304
    across = image[size // 2]
    assert across[: size // 2].sum() == pytest.approx(width, rel=0.05)
    assert across[size // 2 :].sum() == pytest.approx(width, rel=0.05)
    np.testing.assert_allclose(image, image[::-1], atol=1 / 255)
    np.testing.assert_allclose(image, image.T, atol=1 / 255)


def test_decay_dims_later_strokes_linearly():
  lines = [[(0, y), (255, y)] for y in (0, 127, 255)]
  draw = render.make_render(size=64, stroke_width=6.0, stroke_decay=0.8)
  image = np.asarray(draw(_pack(lines), jnp.array([0])))[0, :, 32, 0]
  peaks = [image[:20].max(), image[20:44].max(), image[44:].max()]
  np.testing.assert_allclose(peaks, [1.0, 0.6, 0.2], atol=1 / 255)


@pytest.mark.parametrize(
  "decay", [pytest.param(0.0, marks=pytest.mark.slow), 0.5]
)
def test_batches_trials_and_lengths_do_not_matter(decay):
  """Together, alone, in vmap, in scan, eagerly, beside one of 5,000 points."""
  rng = np.random.default_rng(0)
  long = [
    [tuple(p) for p in rng.integers(0, 256, (2500, 2)).tolist()]
    for _ in range(2)
  ]
  short = [[(0, 0), (9, 200)], [(80, 40), (255, 3), (3, 3)]]
  packed = _pack(short, long, [[(5, 5)]], short[::-1])
  eager = render.make_render(size=20, stroke_decay=decay)
  draw = jax.jit(eager)
  together = np.asarray(draw(packed, jnp.arange(4)))
  np.testing.assert_allclose(
    np.asarray(eager(packed, jnp.arange(4))), together, atol=1e-6
  )
  for i in range(4):
    alone = np.asarray(draw(packed, jnp.array([i])))
    np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
  pairs = jnp.array([[0, 1], [2, 3]])
  mapped = jax.vmap(draw, (None, 0))(packed, pairs)
  _, scanned = jax.lax.scan(lambda c, i: (c, draw(packed, i)), (), pairs)
  for images in (mapped, scanned):
    np.testing.assert_allclose(
      np.asarray(images).reshape(together.shape), together, atol=1e-6
    )


@pytest.mark.parametrize(
  ("decay", "channels"),
  [
    pytest.param(0.0, ("ink",), marks=pytest.mark.slow),
    pytest.param(0.3, ("ink",), marks=pytest.mark.slow),
    (0.0, ("order", "ink")),
  ],
)
def test_ahead_is_the_same_pixels(quickdraw_dir, decay, channels):
  """To the last bit, as the training step reads them from either pool."""
  dataset, _ = reader.load(
    quickdraw_dir / "simplified", classes="cat,dog", max_per_class=20
  )
  draw = render.make_render(size=28, stroke_decay=decay, channels=channels)
  ahead = render.render_all(dataset.source, draw, batch_size=16)
  assert ahead.dtype == np.uint8 and ahead.shape == (40, 28, 28, len(channels))
  stored = pool.make_pool(dataset._replace(source=Images(ahead)))
  index = jnp.arange(40)[::-1]
  read = jax.jit(pool.make_gather())(stored, index).inputs
  rendered = jax.jit(pool.make_gather(draw))(pool.make_pool(dataset), index)
  np.testing.assert_array_equal(read, rendered.inputs)


@pytest.mark.parametrize(
  ("arguments", "name"),
  [
    ({"size": 0}, "size"),
    ({"stroke_width": 0.0}, "stroke_width"),
    ({"stroke_width": float("nan")}, "stroke_width"),
    ({"stroke_decay": 1.5}, "stroke_decay"),
    ({"channels": ()}, "channels"),
    ({"channels": ("ink", "ink")}, "channels"),
    ({"channels": ("hue",)}, "channels"),
  ],
)
def test_bad_arguments(arguments, name):
  with pytest.raises(ValueError, match=name):
    render.make_render(**arguments)


@pytest.mark.parametrize(
  "decay", [pytest.param(0.0, marks=pytest.mark.slow), 0.5]
)
@pytest.mark.parametrize(
  "pace",
  [
    render._Chunks(points=4, extent_points=8, pixels=3 * 24**2),
    render._Chunks(points=64, extent_points=256, pixels=0),
  ],
)
def test_the_pace_changes_no_pixel(quickdraw_dir, pace, decay, monkeypatch):
  """Groups by length and points at a time: as one by one, in order."""
  dataset, _ = reader.load(
    quickdraw_dir / "simplified", classes="cat,apple", max_per_class=8
  )
  packed = jax.tree.map(jnp.asarray, dataset.source)
  index = jnp.array([9, 3, 3, 15, 0, 12, 7])
  images = []
  for one in (render._Chunks(points=1, extent_points=1, pixels=0), pace):
    monkeypatch.setattr(render, "_CHUNKS", {jax.default_backend(): one})
    draw = render.make_render(size=24, stroke_decay=decay)
    images.append(np.asarray(jax.jit(draw)(packed, index)))
  np.testing.assert_allclose(*images, atol=1e-6)


def test_points_beyond_2_to_the_31_are_drawn():
  """Draws from a store of that size; only touched pages take memory.

  All of Quick, Draw! has more points, and indexing as in NumPy would cast
  their places to int32 and read others.
  """
  drawing = [[(0, 0), (255, 40)], [(9, 200), (80, 90), (3, 3)]]
  small = _pack(drawing)
  blank, drawn = 2**31 - 2, 5  # across the boundary
  memory = mmap.mmap(-1, 2 * (blank + drawn))  # aligned, so never copied
  points = np.frombuffer(memory, np.uint8).reshape(-1, 2)
  points[blank:] = small.points
  start = blank + np.asarray(small.stroke_start)
  large = Strokes(
    jax.dlpack.from_dlpack(points),
    jnp.asarray(np.append(0, start), jnp.uint32),
    jnp.array([0, 1, 3]),
  )
  draw = render.make_render(size=24)
  np.testing.assert_array_equal(
    draw(large, jnp.array([1])), draw(small, jnp.array([0]))
  )


def test_bad_batch_size():
  packed = _pack([[(0, 0)]])
  with pytest.raises(ValueError, match="batch_size"):
    render.render_all(packed, render.make_render(size=8), batch_size=0)
