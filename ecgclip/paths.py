"""Where generated files live, and what they are called."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "ECGCLIP_CACHE"


def cache_dir() -> Path:
    """Return the folder for everything that can be made again: ``ECGCLIP_CACHE``, or ``cache`` where the command runs."""
    return Path(os.environ.get(CACHE_VARIABLE) or "cache").expanduser().absolute()


def cache_key(**what_made_it: Any) -> str:
    """Return a short name for something made by a program, the same in every process and on every machine.

    Args:
        **what_made_it: Whatever changes the result: plain values, lists, dictionaries, sets and paths.

    Returns:
        16 hexadecimal digits.

    Raises:
        TypeError: For a value whose text could differ from run to run.

    """
    text = json.dumps(what_made_it, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cache_key: {type(value).__name__} has no stable text: pass plain values")
