"""What the networks' arguments may be; each check raises ValueError."""

NORMS = ("batch", "group")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def check_fraction(name: str, value: float) -> None:
  if not 0 <= value < 1:
    raise ValueError(f"{name} must be in [0, 1), got {value}")


def check_blocks(blocks: tuple[int, ...], num_stages: int) -> None:
  """The blocks of each stage; a network has at least one in each."""
  if len(blocks) != num_stages or min(blocks) < 1:
    raise ValueError(
      f"blocks must be {num_stages} positive numbers, got {blocks}"
    )


def check_arguments(
  *,
  image_shape: tuple[int, int, int],
  min_size: int,
  num_classes: int,
  norm: str,
  norms: tuple[str, ...] = NORMS,
) -> None:
  """Raises ValueError where a network cannot be made so."""
  check_choice("norm", norm, norms)
  if len(image_shape) != 3 or min(image_shape) < 1:
    raise ValueError(
      "image_shape must be (height, width, channels), all positive, got "
      f"{image_shape}"
    )
  if min(image_shape[:2]) < min_size:
    raise ValueError(
      f"images must be at least {min_size} x {min_size} pixels, got "
      f"{image_shape[0]} x {image_shape[1]}"
    )
  if num_classes < 2:
    raise ValueError(f"num_classes must be at least 2, got {num_classes}")
