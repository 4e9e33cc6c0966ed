"""Public ECG sets in the layouts that they are published in: their tables and headers, and what their labels mean here."""

from pathlib import Path

from ecgclip.signals.public.cinc2021 import read_chapman_ningbo, read_cpsc2018, read_georgia
from ecgclip.signals.public.code15 import read_code15
from ecgclip.signals.public.ludb import read_ludb
from ecgclip.signals.public.mimic_iv_ecg import read_mimic_iv_ecg
from ecgclip.signals.public.mitbih import read_mitbih
from ecgclip.signals.public.public_set import PublicSet

__all__ = [
    "PUBLIC_SETS",
    "PublicSet",
    "read_chapman_ningbo",
    "read_code15",
    "read_cpsc2018",
    "read_georgia",
    "read_ludb",
    "read_mimic_iv_ecg",
    "read_mitbih",
    "read_public",
]

PUBLIC_SETS = {
    "chapman_ningbo": read_chapman_ningbo,
    "code15": read_code15,
    "cpsc2018": read_cpsc2018,
    "georgia": read_georgia,
    "ludb": read_ludb,
    "mimic_iv_ecg": read_mimic_iv_ecg,
    "mitbih": read_mitbih,
}


def read_public(name: str, root: str | Path, *, seconds: float) -> PublicSet:
    """Read a public set by its name.

    Args:
        name: A key of ``PUBLIC_SETS``.
        root: Its folder.
        seconds: Length of a record, which only recordings that are cut into segments ask for.

    Raises:
        UserError: When the folder does not hold the set.
    """
    return read_mitbih(root, seconds=seconds) if name == "mitbih" else PUBLIC_SETS[name](root)
