"""The one exception for what a user can mend."""


class UserError(Exception):
    """A mistake in the input, not in the program.

    Its text is one line for the person at the terminal: what was found, where, and what to do next. The command line prints that
    line without a traceback and exits with 2. It never holds patient data other than a file's name.
    """
