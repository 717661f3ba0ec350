"""The one exception that is a user's mistake."""


class UserError(ValueError):
  """Something only the user can mend, told in one sentence that says how.

  The command line prints its message and exits with status 2; any other
  exception is a fault of the program and keeps its traceback.
  """
