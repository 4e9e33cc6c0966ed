"""Findings as a line of Japanese reading text."""

from collections.abc import Sequence


def joined_caption(terms: Sequence[str]) -> str:
    """Join findings into the one line that a Japanese reading is: ``洞調律、完全右脚ブロック``.

    Args:
        terms: Japanese names of findings, in the order they are to be read; one that is given twice is named once.

    Returns:
        The line; empty without a finding.
    """
    return "、".join(dict.fromkeys(terms))
