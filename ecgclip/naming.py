"""Built-in names, or import paths for what a user brings along."""

import difflib
import importlib
from collections.abc import Mapping
from typing import TypeVar

from ecgclip.errors import UserError

T = TypeVar("T")


def unknown(kind: str, name: str, known: list[str]) -> UserError:
    """Return the error for a name that does not exist: the nearest known one, then all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"{kind} {name!r} does not exist: {hint}known are {', '.join(sorted(known))}")


def find(kind: str, name: str, builtin: Mapping[str, T], *, imports: bool = True) -> T:
    """Return what a name stands for.

    Args:
        kind: What is looked for, for the error: ``loss``, ``ecg tower``.
        name: A key of ``builtin``, or an import path such as ``my_package.MyLoss``.
        builtin: The built-in choices.
        imports: Whether an import path may be followed. False where the name comes out of a file, which must not run code.

    Raises:
        UserError: When it is neither.

    """
    if name in builtin:
        return builtin[name]
    module, _, attribute = name.rpartition(".")
    if not (imports and module):
        raise unknown(kind, name, list(builtin))
    try:
        found: T = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # The last two for names such as '..x'.
        raise UserError(
            f"{kind} {name!r} cannot be imported ({error}): check the path, or take one of {', '.join(sorted(builtin))}"
        ) from error
    return found
