"""ECGs made on the spot: every label of the catalogue, and no patient."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

import ecgclip.simulation
from data_modules.base import ECGDataModule
from ecgclip.errors import UserError
from ecgclip.paths import cache_dir, cache_key
from ecgclip.signals.path import SignalPath
from ecgclip.simulation import draw_label_sets, left_open, simulate_blocks
from ecgclip.store import StoreWriter, quantise


class SimulatedDataModule(ECGDataModule):
    """Simulated ECGs of all 98 labels, made once and kept in the cache.

    Args:
        train: Records to train on.
        val: Records to validate on.
        test: Records to test on.
        prevalence: ``uniform``: every label about equally often. ``hospital``: a long tail, as in everyday readings. ``balanced``: halfway.
        seconds: Length of a record.
        simulation_seed: Of the records; apart from ``seed``, so that the same records can be trained on with other seeds.
        shared: Of :class:`data_modules.base.ECGDataModule`.

    """

    def __init__(
        self,
        train: int = 8000,
        val: int = 1000,
        test: int = 2000,
        prevalence: str = "uniform",
        seconds: float = 10.0,
        simulation_seed: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if min(train, val, test) < 1:
            raise UserError(f"data: train {train}, val {val} and test {test} must each be at least 1")
        if seconds < self.crop_seconds:
            raise UserError(f"data.seconds {seconds} is shorter than data.crop_seconds {self.crop_seconds}: make records at least as long")
        self.counts = {"train": train, "val": val, "test": test}
        self.prevalence, self.simulation_seed = prevalence, simulation_seed
        self._path = SignalPath(self.sampling_rate, seconds)

    def build_store(self) -> Path:
        key = cache_key(
            simulator=_source_of(ecgclip.simulation),
            counts=self.counts,
            prevalence=self.prevalence,
            seconds=self._path.seconds,
            sampling_rate=self.sampling_rate,
            seed=self.simulation_seed,
        )
        path = cache_dir() / "simulated" / key
        if not path.is_dir():
            self._simulate(path, key)
        return path

    def _simulate(self, path: Path, key: str) -> None:
        # A split has its own stream: more training records change neither validation nor test.
        jobs = [
            (split, (number, row), labels)
            for number, (split, count) in enumerate(self.counts.items())
            for row, labels in enumerate(draw_label_sets(count, 3 * self.simulation_seed + number, prevalence=self.prevalence))
        ]
        with StoreWriter(path, signal_path=self._path, annotated=None, made_from=key) as writer:
            if writer.finished:
                return
            done = len(writer.ids)
            todo = jobs[done:]
            sets = [labels for _, _, labels in todo]
            seeds = [(3 * self.simulation_seed + number) * 10_000_019 + row for _, (number, row), _ in todo]
            blocks = simulate_blocks(sets, seeds, sampling_rate=self.sampling_rate, seconds=self._path.seconds)
            with tqdm(total=len(jobs), initial=done, desc="Simulating ECGs", unit=" records") as bar:
                for signals in blocks:
                    block, todo = todo[: len(signals)], todo[len(signals) :]
                    writer.append(
                        quantise(signals),
                        [_row(f"sim-{split}-{row:06}", split, labels) for split, (_, row), labels in block],
                    )
                    bar.update(len(block))
            writer.finish()


def _row(name: str, split: str, labels: Collection[str]) -> dict[str, Any]:
    """Every simulated record is a patient of its own; what its picture bears out without a label is left open."""
    known = {"labels": sorted(labels), "unknown": sorted(left_open(labels))}
    return {"id": name, "patient": name, "split": split, "source": "simulated", **known}


def _source_of(package: ModuleType) -> str:
    """Return a hash of a package's source: records of another simulator are other records."""
    digest = hashlib.blake2b(digest_size=8)
    folder = Path(package.__path__[0])
    for path in [*sorted(folder.glob("*.py")), folder / "traits.yaml"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
