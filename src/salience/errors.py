"""What a user can cause: one plain line that names the argument, what came, and the remedy."""


class UserError(ValueError):
    """A mistake the user can mend. The command line prints it as one line and exits with code 2."""


class Note(UserWarning):
    """Something the user should know and need not mend. The command line prints it as one line."""


class MissingPackage(UserError, ImportError):  # noqa: N818 - says what is wrong
    """An optional package is needed for what was asked. The message says how to install it."""
