"""PTB-XL, from the folder as PhysioNet gives it."""

from pathlib import Path
from typing import Any

from data_modules.base import CACHED, ECGDataModule, announce, from_cache
from ecgclip.errors import UserError
from ecgclip.paths import cache_dir, cache_key
from ecgclip.prepare import prepare
from ecgclip.signals.path import Filter, SignalPath
from ecgclip.signals.ptbxl import read_ptbxl, refine_axis


class PTBXLDataModule(ECGDataModule):
    """PTB-XL by its published folds: 1-8 train, 9 validation, 10 test.

    The records are read once into a store in the cache. A fold that is not on the disk is announced, and its split is empty.

    Args:
        root: Folder with ``ptbxl_database.csv``, ``scp_statements.csv`` and ``records100/`` or ``records500/``; or ``cache:`` and the
            name of a store that was made from one, which is how the saved configuration of a run names its data.
        seconds: Length of a record.
        filter: See :class:`ecgclip.signals.path.SignalPath`; the published figures stand on none.
        shared: Of :class:`data_modules.base.ECGDataModule`.

    """

    def __init__(self, root: str | None = None, seconds: float = 10.0, filter: Filter = "none", **shared: Any) -> None:
        super().__init__(**shared)
        if not root:
            raise UserError("PTB-XL: no folder given: add --data.root=DIR (make: DATA_DIR=DIR), the folder that holds ptbxl_database.csv")
        self.root = root
        self._path = SignalPath(self.sampling_rate, seconds, filter)
        self._built: Path | None = None

    def build_store(self) -> Path:
        if self._built is None:
            self._built = from_cache(self.root, "PTB-XL") if self.root.startswith(CACHED) else self._prepared()
        return self._built

    def _prepared(self) -> Path:
        folder = read_ptbxl(self.root, self.sampling_rate)
        for note in folder.notes:
            announce(f"PTB-XL: {note}")
        key = cache_key(root=Path(self.root).absolute(), signal_path=self._path.to_dict())
        # Left as it is where neither the tables nor the records have changed since it was made.
        return prepare(
            folder.items,
            cache_dir() / "ptbxl" / key,
            signal_path=self._path,
            annotated=folder.annotated,
            refine=refine_axis,
        )
