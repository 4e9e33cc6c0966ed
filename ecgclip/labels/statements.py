"""The 71 statements of PTB-XL and the groups that it sorts them into (Wagner et al. 2020, doi:10.1038/s41597-020-0495-6)."""

import csv
from functools import cache
from pathlib import Path

STATEMENTS = Path(__file__).with_name("ptbxl_statements.csv")


@cache
def ptbxl_statements() -> tuple[dict[str, str], ...]:
    """Return the statements in PTB-XL's order.

    Returns:
        A row each: ``id``; ``diagnostic``, ``form`` and ``rhythm``, ``1`` or empty (four are diagnostic and form); ``superclass`` and
        ``subclass`` of the diagnostic ones.
    """
    with STATEMENTS.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(line for line in file if not line.startswith("#")))
