"""What a sampler learns from a loop that hands over no parameters.

A sampler's signal is a function of a `Transition`. Here all of it that the
loop did not measure is a stand-in, which refuses to be read: a signal that
needs the losses of the batch before and after the update has them, one that
needs more says so.
"""

from typing import Any, NoReturn

from alcurr.core.errors import UserError
from alcurr.types import (
  Array,
  Draw,
  Pool,
  PyTree,
  Sampler,
  StepInfo,
)


class _NotMeasured:
  """Stands for what only the model knows; whoever reads it is refused."""

  def __init__(self, what: str):
    self._what = what

  def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
    raise UserError(
      f"the sampler learns from {self._what}, which a loop of your own does "
      "not hand over; measure it there and call update(feedback=...), or make "
      "the sampler with gain=progress.prediction_gain()."
    )

  __getattr__ = __getitem__ = __call__ = __iter__ = __len__ = _refuse
  __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
  __array__ = _refuse


_PARAMS = _NotMeasured("the parameters")
_LOGITS = _NotMeasured("the logits")
_NEW_PARAMS = _NotMeasured("the parameters")
_LOGITS = _NotMeasured("the logits")
_BATCH = _NotMeasured("the images")
_PROBE = _NotMeasured("held-out examples")
_GRADS = _NotMeasured("the gradients")
_UPDATES = _NotMeasured("the update of the parameters")
_DERIVATIVES = _NotMeasured("derivatives of the losses")
_ANSWERS = _NotMeasured("the model's answers to held-out examples")
_OTHERS = _NotMeasured("losses of examples that are not of the batch")


def measure(
  sampler: Sampler,
  key: Array,
  draw: Draw,
  before: Array,
  after: Array,
  pool: Pool,
) -> PyTree:
  """The sampler's signal of a batch whose losses were measured.

  Args:
    sampler: whose signal it is.
    key: of the signal.
    draw: of B examples.
    before: [B] float32, their losses before the update.
    after: [B] float32, and after it.
    pool: that was drawn from, without its source.

  Raises:
    UserError: the signal needs more than these.
  """

  def loss_fn(params: PyTree, batch: Any) -> Array:
    if batch is not _BATCH:
      _OTHERS._refuse()
    return after if params is _NEW_PARAMS else before

  return sampler.signal.measure(
    key,
    StepInfo(
      draw=draw,
      candidates=None,
      batch=_BATCH,
      logits=_LOGITS,
      loss=before,
      params=_PARAMS,
      new_params=_NEW_PARAMS,
      grads=_GRADS,
      updates=_UPDATES,
      pool=pool,
      probe=_PROBE,
      loss_fn=loss_fn,
      gather=_OTHERS,
      loss_jvp=_DERIVATIVES,
      predict=_ANSWERS,
      prepared=_DERIVATIVES,
    ),
  )
