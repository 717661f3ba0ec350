"""The exceptions that the command line tells in one sentence."""


class UserError(ValueError):
  """Something only the user can mend, told in one sentence that says how.

  The command line prints its message and exits with status 2; any exception
  but this one and those of `main.FAULTS` is a fault of the program and keeps
  its traceback.
  """


class MachineError(RuntimeError):
  """Something that neither program nor user did, told in one sentence.

  A disk that is full, files that were damaged: the command line prints its
  message and exits with status 1.
  """
