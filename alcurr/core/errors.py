"""The exceptions that are told in one sentence and not by a traceback."""


class UserError(ValueError):
  """Something only the user can mend, told in one sentence that says how.

  The command line prints its message and exits with status 2; any exception
  but those of this file and of `main.FAULTS` is a fault of the program and
  keeps its traceback.
  """


class FaultError(RuntimeError):
  """Something went wrong that no setting of the user's caused for certain.

  The command line prints its message, one sentence, and exits with status 1.
  """


class MachineError(FaultError):
  """Something that neither program nor user did, and that can be mended.

  A disk that is full, files that were damaged: the command line adds that the
  same command goes on then.
  """
