"""Losses of each example: functions (logits [B, V], label [B]) -> [B] float32.

Labels are classes, int32, or targets, float32 [N] or [N, V]. A loss that needs
to know or remember the training pool is a `StatefulLoss`.

The loss of an experiment is trained on, and its gains measure it. Accuracies,
losses on valid and test, and difficulties are measured by `metric`, which for
classes is the cross-entropy and for targets the squared error, whatever the
loss, so that reports are comparable.
"""

from alcurr.core.registry import Registry
from alcurr.training.losses._elr import elr
from alcurr.training.losses._gce import gce
from alcurr.training.losses._label_smoothing import label_smoothing
from alcurr.training.losses._lambert_w import lambert_w
from alcurr.training.losses._logit_adjustment import logit_adjustment
from alcurr.training.losses._plain import (
  are_classes,
  cross_entropy,
  metric,
  softmax_cross_entropy,
  squared_error,
)
from alcurr.training.losses._superloss import superloss

__all__ = [
  "LOSSES",
  "are_classes",
  "cross_entropy",
  "elr",
  "gce",
  "label_smoothing",
  "lambert_w",
  "logit_adjustment",
  "metric",
  "softmax_cross_entropy",
  "squared_error",
  "superloss",
]

LOSSES = Registry(
  "losses",
  {
    "cross_entropy": cross_entropy,
    "elr": elr,
    "gce": gce,
    "label_smoothing": label_smoothing,
    "logit_adjustment": logit_adjustment,
    "squared_error": squared_error,
    "superloss": superloss,
  },
)
