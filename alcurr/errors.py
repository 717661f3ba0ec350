"""The exceptions that are told in one sentence and not by a traceback."""


class UserError(ValueError):
  """Something only the user can mend, told in one sentence that says how.

  The command line prints its message and exits with status 2; any other
  exception is a fault, and one of the program keeps its traceback.
  """


class FaultError(RuntimeError):
  """Something went wrong that no setting of the user's caused for certain.

  The command line prints its message, one sentence, and exits with status 1.
  """
