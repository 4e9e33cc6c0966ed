"""Your own ECGs: a store made by ``ecgclip prepare``."""

from pathlib import Path
from typing import Any, Literal

from data_modules.base import CACHED, ECGDataModule, announce
from ecgclip.errors import UserError
from ecgclip.paths import cache_dir
from ecgclip.store import CATALOGUE, Store

OWN = "store"
POINTERS = "archives"  # In the cache: where a store lies, by what it was made from. A run names the latter.


class ArchiveDataModule(ECGDataModule):
    """A store made by ``ecgclip prepare``, with its own labels, sampling rate and splits.

    Args:
        root: Folder of the store; or ``cache:`` and the name by which the saved configuration of a run knows it.
        catalogue: ``store`` for the one that the store was prepared with; else as in :class:`data_modules.base.ECGDataModule`.
        unmentioned: What it means that a reading does not mention a label. ``absent``: a negative, unless the reading suspects it,
            was not understood at all, or leaves out sinus rhythm or normality only. ``unknown``: neither; only what the reading
            denies is negative, and a loss that needs negatives finds few.
        sampling_rate: Not used: the store has its own.
        shared: Of :class:`data_modules.base.ECGDataModule`.

    """

    def __init__(
        self,
        root: str | None = None,
        catalogue: str = OWN,
        unmentioned: Literal["absent", "unknown"] = "absent",
        sampling_rate: float = 100.0,
        **shared: Any,
    ) -> None:
        if not root:
            raise UserError("archive: no store given: add --data.root=STORE (make: DATA_DIR=STORE), a folder made by `ecgclip prepare`")
        self.root = root
        self._made = Store.open(_found(root))
        if catalogue == OWN:
            catalogue = str(self._made.path / CATALOGUE)
        super().__init__(catalogue=catalogue, sampling_rate=self._made.sampling_rate, **shared)
        self.unmentioned = unmentioned

    @property
    def cached_name(self) -> str:
        name = str(self._made.info["made_from"])
        pointer = cache_dir() / POINTERS / f"{name}.txt"
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(str(self._made.path.absolute()), encoding="utf-8")
        return f"{CACHED}{name}"

    def build_store(self) -> Path:
        return self._made.path

    def setup(self, stage: str | None = None) -> None:
        first = not hasattr(self, "store")
        super().setup(stage)
        if first:
            for batch, factor in self.store.info["notes"].get("gain", {}).items():
                announce(f"The amplitudes of {batch} are {factor:g} times those of the other devices: check the gain of its export")


def _found(root: str) -> Path:
    if not root.startswith(CACHED):
        return Path(root)
    pointer = cache_dir() / POINTERS / f"{root.removeprefix(CACHED)}.txt"
    if not pointer.is_file():
        raise UserError("archive: the cache does not know where the store of this run lies: give it again with --data.root=STORE")
    return Path(pointer.read_text("utf-8"))
