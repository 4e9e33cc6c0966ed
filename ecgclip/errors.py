"""What a user can mend: the one exception for it, and a parser that raises it."""

import argparse
import sys
from typing import Any, NoReturn


class UserError(Exception):
    """A mistake in the input, not in the program.

    Its text is one line for the person at the terminal: what was found, where, and what to do next. The command line prints that
    line without a traceback and exits with 2. It never holds patient data other than a file's name.
    """


class CommandParser(argparse.ArgumentParser):
    """A parser of a command's options whose mistakes are a :class:`UserError`; no option is abbreviated."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(prog=f"ecgclip {command}", description=description, epilog=epilog, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, taking ``--max-labels`` for ``--max_labels``."""
        given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args([self._spelled(word) for word in given], namespace)

    def _spelled(self, word: str) -> str:
        name, mark, value = word.partition("=")
        other = "--" + name[2:].replace("-", "_")
        known = name.startswith("--") and name not in self._option_string_actions and other in self._option_string_actions
        return other + mark + value if known else word

    def error(self, message: str) -> NoReturn:
        """Raise the message as a :class:`UserError`."""
        raise UserError(f"{message}: `{self.prog} --help` lists the options")
