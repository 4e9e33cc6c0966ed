"""Public sets other than PTB-XL, from the folders as they are published."""

from pathlib import Path
from typing import Any, Literal

from data_modules.base import CACHED, ECGDataModule, announce, from_cache
from ecgclip.errors import UserError
from ecgclip.paths import cache_dir, cache_key
from ecgclip.prepare import SplitPlan, prepare
from ecgclip.signals.path import Filter, SignalPath
from ecgclip.signals.public import read_public

# Where patients are not told apart, a recording that is there twice could stand on both sides of a split.
WITHOUT_PATIENTS = frozenset({"chapman_ningbo", "cpsc2018", "georgia"})
PublicName = Literal["chapman_ningbo", "code15", "cpsc2018", "georgia", "ludb", "mimic_iv_ecg", "mitbih"]


class PublicDataModule(ECGDataModule):
    """A public set by its name, split by patient: 80 % training, 10 % validation, 10 % test.

    None of these sets publishes a split. Where a set does not tell its patients apart, every record counts as a patient of its own, and a
    recording that is there twice is left out. The records are read once into a store in the cache. What the set does not say is announced:
    codes without a label, labels that it leaves open, files that are not there.

    Args:
        name: ``mimic_iv_ecg``, ``cpsc2018``, ``chapman_ningbo``, ``georgia``, ``code15``, ``mitbih`` or ``ludb``.
        root: Its folder, see :mod:`ecgclip.signals.public`; or ``cache:`` and the name of a store that was made from one, which is how
            the saved configuration of a run names its data.
        seconds: Length of a record; Holter recordings are cut into segments of it.
        filter: See :class:`ecgclip.signals.path.SignalPath`.
        shared: Of :class:`data_modules.base.ECGDataModule`.

    """

    def __init__(self, name: PublicName, root: str | None = None, seconds: float = 10.0, filter: Filter = "none", **shared: Any) -> None:
        super().__init__(**shared)
        if not root:
            raise UserError(f"{name}: no folder given: add --data.root=DIR (make: DATA_DIR=DIR), the folder of the data set")
        self.name: str = name
        self.root: str = root
        self._path = SignalPath(self.sampling_rate, seconds, filter)
        self._built: Path | None = None

    def build_store(self) -> Path:
        if self._built is None:
            self._built = from_cache(self.root, self.name) if self.root.startswith(CACHED) else self._prepared()
        return self._built

    def _prepared(self) -> Path:
        found = read_public(self.name, self.root, seconds=self._path.seconds)
        for note in found.notes:
            announce(f"{self.name}: {note}")
        key = cache_key(name=self.name, root=Path(self.root).absolute(), signal_path=self._path.to_dict())
        # Left as it is where neither the tables nor the records have changed since it was made.
        return prepare(
            found.items,
            cache_dir() / "public" / self.name / key,
            signal_path=self._path,
            annotated=found.annotated,
            split=SplitPlan(),
            duplicates=self.name in WITHOUT_PATIENTS,
        )
