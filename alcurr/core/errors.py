"""Exceptions that are reported in one sentence instead of a traceback."""

from alcurr.core.redaction import redact

# Each code with its meaning; the documentation's page of errors lists them.
ERROR_CODES = {
  "argument": "A factory refused an argument.",
  "conflict": "Two settings do not fit each other, or a setting the data.",
  "damaged": "A file was changed, cut off or deleted.",
  "data": "The data cannot be used as it is.",
  "disk": "A file could not be written or read.",
  "diverged": "Numbers are not finite, so that nothing can continue.",
  "exists": "Something is already there and is not overwritten.",
  "failed": "Another process of the same command failed, and said why.",
  "in_use": "Another process uses the folder.",
  "invariant": "An invariant was violated: a bug, most likely in a sampler.",
  "memory": "There is not enough memory.",
  "mismatch": "Files belong to another experiment, run or model.",
  "missing": "Something required is absent.",
  "network": "A server did not answer as it should.",
  "package": "A package is not installed, or offers something unusable.",
  "range": "A number is outside of its range.",
  "scheduler": "The cluster's scheduler refused a job.",
  "syntax": "A text cannot be parsed.",
  "tracker": "An experiment tracker failed.",
  "type": "A value is of the wrong type.",
  "unknown": "There is nothing of that name; the message lists what there is.",
  "unsupported": "The combination is not supported.",
}


class _CodedError(Exception):
  """An error with a code, a place and a text.

  Attributes:
    code: a key of ERROR_CODES.
    place: the config field, argument, option, file or folder concerned.
    text: what was expected, what was found, and a remedy unless it is obvious.
  """

  def __init__(self, code: str, place: object, text: str):
    place_text, text = redact(str(place)), redact(text)
    # The arguments themselves, so that an error can be pickled by a worker.
    super().__init__(code, place_text, text)
    self.code, self.place, self.text = code, place_text, text

  def __str__(self) -> str:
    return f"{self.place}: {self.text}"


class UserError(_CodedError, ValueError):
  """A mistake that the user can correct; exit status 2."""


class FaultError(_CodedError, RuntimeError):
  """A failure that no setting is certain to have caused; exit status 1."""


class MachineError(FaultError):
  """A failure of the machine, such as a full disk; exit status 1.

  After it is fixed, rerunning the same command resumes.
  """
