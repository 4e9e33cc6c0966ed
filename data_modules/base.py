"""What all data sets share: from a store on disk to batches of ECGs and tokenised Japanese on the device."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_modules.captions import Captions
from data_modules.sampling import Batches, Draw
from ecgclip.errors import UserError
from ecgclip.evaluation.changes import Change
from ecgclip.evaluation.few_shot import SupportPlan, choose_support
from ecgclip.labels import POSITIVE, UNKNOWN, Catalogue
from ecgclip.paths import cache_dir
from ecgclip.signals.augment import Augmentation
from ecgclip.signals.leads import LEADS
from ecgclip.signals.path import SignalPath
from ecgclip.store import Store
from ecgclip.towers.text_table import open_text_input

# DESIGN's fixed list for PTB-XL: what a model is asked to read without ever having seen its name.
PTBXL_UNSEEN = (
    "STACH",
    "CLBBB",
    "LPFB",
    "RVH",
    "RAO/RAE",
    "ILMI",
    "ALMI",
    "LMI",
    "ISCIN",
    "ISCLA",
    "INJAL",
    "INVT",
    "LVOLT",
    "PAC",
)
MICROVOLT = 1e-3  # mV; the unit of a store
CACHED = "cache:"  # Before the name of a store in the cache, where a run's configuration names its data.


def from_cache(root: str, data: str) -> Path:
    """Return the store in the cache that a run's configuration names.

    Args:
        root: ``cache:`` and its name.
        data: What the data set is called, for the error.

    Raises:
        UserError: When the cache has it no more.

    """
    name = root.removeprefix(CACHED)
    path = cache_dir() / name
    if not path.is_dir():
        raise UserError(f"{data}: the cache has no {name}: give the data again with --data.root=DIR")
    return path


def caption_words(store: Store, mode: str) -> np.ndarray:
    """Return ``(N,)`` texts that captions of a mode need of each record: its reading, or what goes before its labels' names.

    Raises:
        UserError: When readings are wanted and the store has none.

    """
    if mode != "reading":
        return store.manifest["modifiers"].to_numpy()
    if "reading" not in store.manifest:
        raise UserError(f"{store.path.name} holds no readings: prepare it with --keep_reading, or set data.caption to label")
    return store.manifest["reading"].fillna("").to_numpy()


@rank_zero_only
def announce(line: str) -> None:
    """Tell the person at the terminal, once for all processes."""
    print(line, flush=True)


class Records(Dataset[dict[str, Any]]):
    """Batches out of a store: the signals stay int16 until they are on the device.

    Args:
        store: Opened anew in each worker.
        states: ``(N, L)`` int8, label states of all records of the store.
        captions: The texts of training batches; None for evaluation.

    """

    def __init__(self, store: Store, states: np.ndarray, captions: Captions | None = None) -> None:
        self.store, self.states, self.captions = store, states, captions
        missing = store.manifest["missing_leads"]
        self.lead_mask = np.array([[lead not in leads for lead in LEADS] for leads in missing])
        self.words = caption_words(store, captions.mode if captions else "label")

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        rows = draw.rows
        batch: dict[str, Any] = {
            "ecg": torch.from_numpy(self.store.read(rows)),
            "lead_mask": torch.from_numpy(self.lead_mask[rows]),
            "labels": torch.from_numpy(self.states[rows]),
            "record": torch.from_numpy(rows),
            "epoch": draw.epoch,
        }
        if self.captions is not None:
            texts = self.captions(self.states[draw.together], list(self.words[draw.together]), draw.epoch, draw.step)
            batch |= texts | {name: texts[name][draw.own] for name in ("positives", "known", "record_labels")}
        return batch


class ECGDataModule(LightningDataModule, ABC):
    """ECGs of one store with the labels of one catalogue.

    A subclass says where its store comes from: :meth:`build_store`.

    Args:
        sampling_rate: Hz of the store.
        catalogue: A built-in catalogue's name, or the path of a YAML.
        caption: ``label``, ``joined`` or ``reading``, see :class:`data_modules.captions.Captions`.
        synonyms: Draw synonyms in training.
        withhold: Ids of labels that no training text may mention; ``ptbxl14`` is the published list. Labels that imply one of them
            are withheld with it.
        batch_size: Records per training batch and process.
        eval_batch_size: The same for evaluation.
        num_workers: Loader processes. 0 is fastest from a local disk: the memory map is read at memory speed.
        crop_seconds: Length of a random training crop, and of the windows that evaluation averages over.
        augmentation: Arguments of :class:`ecgclip.signals.augment.Augmentation` but for the crop.
        tokenizer: The text tower's, or the language model of a frozen one, see :func:`ecgclip.towers.text_table.text_input`; the CLI
            passes it on.
        seed: Of the order, the crops, the noise and the synonyms.
        second_view: Give training batches another crop and augmentation of each ECG; the CLI sets it where the model has a
            unimodal term.
        fraction: Share of the training patients that are there, in (0, 1]: drawn by ``seed``, the patients of a smaller share among
            those of a larger one. Everything that is counted or drawn from the training records is of theirs.

    """

    def __init__(
        self,
        sampling_rate: float = 100.0,
        catalogue: str = "ja98",
        caption: str = "label",
        synonyms: bool = True,
        withhold: list[str] | str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        num_workers: int = 0,
        crop_seconds: float = 2.5,
        augmentation: dict[str, Any] | None = None,
        tokenizer: str | dict[str, Any] = "ecgclip",
        seed: int = 0,
        second_view: bool = False,
        fraction: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < fraction <= 1:
            raise UserError(f"data.fraction {fraction} must be above 0 and at most 1: it is a share of the training patients")
        self.sampling_rate = sampling_rate
        self.catalogue, self.labels = catalogue, Catalogue.load(catalogue)
        self.caption, self.synonyms, self.tokenizer = caption, synonyms, tokenizer
        self.withheld = self._withheld(withhold)
        if caption == "reading" and self.withheld:
            raise UserError(
                "data.caption reading names labels as they were written: data.withhold cannot keep them out, use label or joined"
            )
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self.crop_seconds, self.seed, self.second_view, self.fraction = crop_seconds, seed, second_view, fraction
        try:
            self.augmentation = Augmentation(crop_seconds=crop_seconds, **(augmentation or {}))
        except TypeError as error:
            raise UserError(f"data.augmentation: {str(error).split('.__init__() ')[-1]}") from error
        self.unmentioned = "absent"
        self.name = type(self).__name__.removesuffix("DataModule").lower()  # What the data set is called.
        self.predicted: np.ndarray | None = None
        self.change: Change | None = None
        self.store: Store
        self.states: np.ndarray
        self._support: SupportPlan | None = None

    @abstractmethod
    def build_store(self) -> Path:
        """Make the store, or find it made, and return where it is."""

    @property
    def signal_path(self) -> SignalPath:
        """What was done to the signals of the store."""
        return Store.open(self.build_store()).signal_path

    def prepare_data(self) -> None:
        self.build_store()

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "store"):
            return
        self.store = Store.open(self.build_store())
        self.states = self.store.labels(self.labels, unmentioned=self.unmentioned)
        split = self.store.manifest["split"].to_numpy()
        self.rows = {name: np.flatnonzero(split == name) for name in ("train", "val", "test")}
        for name, rows in self.rows.items():
            if len(rows) == 0:
                announce(f"No {name} records are here: that split is left out")
        if self.fraction < 1 and len(self.rows["train"]):
            self.rows["train"] = self._share(self.rows["train"])
        annotated = (self.states != UNKNOWN).any(0)
        self.usable = annotated & ~np.isin(self.labels.ids, list(self.withheld))
        described = (self.states[:, self.usable] == POSITIVE).any(1)
        self.trainable = self.rows["train"][described[self.rows["train"]]]
        if self.caption == "reading":
            self.trainable = self.trainable[[bool(text) for text in caption_words(self.store, self.caption)[self.trainable]]]

    @property
    def cached_name(self) -> str:
        """The store by its name in the cache, as a run's configuration has it: no folder of the user's."""
        return f"{CACHED}{self.store.path.relative_to(cache_dir())}"

    @property
    def closing_split(self) -> str:
        """The split that a run is judged on: ``test``, or ``val`` where the test records are not here."""
        return "test" if len(self.rows["test"]) else "val"

    @property
    def train_counts(self) -> np.ndarray:
        """``(L,)`` positives per label in the training split, withheld labels counted as the data has them."""
        return np.asarray((self.states[self.rows["train"]] == POSITIVE).sum(0))

    @property
    def prior(self) -> np.ndarray:
        """``(L,)`` float64 share of the training records with each label; half a record for a label without one."""
        return np.maximum(self.train_counts, 0.5) / max(1, len(self.rows["train"]))

    def support_plan(self, k_max: int, seeds: int) -> SupportPlan | None:
        """Choose the few-shot support records out of the training patients; the second evaluation loader then serves them.

        Args:
            k_max: Records per label; 0 for no support and no second loader.
            seeds: Draws.

        Returns:
            The plan, its indices counted in the training rows; None where no label has enough records.

        """
        self._support = None
        if k_max:
            rows = self.rows["train"]
            patients = self.store.manifest["patient"].to_numpy()
            plan = choose_support(torch.from_numpy(self.states[rows]), patients[rows], k_max=k_max, seeds=range(seeds))
            self._support = plan if len(plan.labels) else None
        return self._support

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of random crops and their texts."""
        if len(self.trainable) == 0:
            raise UserError(
                f"{type(self).__name__}: no training record carries a label of the catalogue: check the folds on disk and data.withhold"
            )
        texts = open_text_input(self.tokenizer, self.labels.texts)
        captions = Captions(
            self.labels,
            texts,
            mode=self.caption,
            usable=self.usable,
            synonyms=self.synonyms,
            seed=self.seed,
            training=self.states[self.trainable],
        )
        cut, all_ = captions.prepare(self.states[self.trainable], list(caption_words(self.store, self.caption)[self.trainable]))
        if cut:
            announce(f"{cut} of {all_} captions are longer than the text tower reads, and are cut")
        return self._loader(self.trainable, self.batch_size, captions, self.seed)

    def val_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        """The validation records, and the few-shot support where a callback asked for it."""
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        """The test records, and the few-shot support where a callback asked for it."""
        return self._evaluation_loaders("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The records of the closing split, or the rows in ``predicted``; ``change`` says what is done to them first."""
        rows = self.rows[self.closing_split] if self.predicted is None else self.predicted
        return self._loader(rows, self.eval_batch_size)

    def _evaluation_loaders(self, split: str) -> list[DataLoader[dict[str, Any]]]:
        loaders = [self._loader(self.rows[split], self.eval_batch_size)]
        if self._support is not None:
            support = self.rows["train"][self._support.records.numpy()]
            loaders.append(self._loader(support, self.eval_batch_size))
        return loaders

    def _loader(
        self, rows: np.ndarray, batch_size: int, captions: Captions | None = None, seed: int | None = None
    ) -> DataLoader[dict[str, Any]]:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return DataLoader(
            Records(self.store, self.states, captions),
            # A batch is one slice of the memory map, so the sampler yields whole batches and the loader passes them on.
            sampler=Batches(rows, batch_size, rank=rank, world_size=world_size, seed=seed),
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """On the device: to millivolts, and in training the crop and the augmentation."""
        ecg: Tensor = batch["ecg"].float() * MICROVOLT
        if self.trainer is not None and self.trainer.training:
            given = (ecg, batch["lead_mask"], batch["record"], self.sampling_rate)
            epoch = int(batch["epoch"])
            ecg, batch["lead_mask"] = self.augmentation(*given, seed=self.seed, epoch=epoch)
            if self.second_view:
                batch["second_ecg"], batch["second_lead_mask"] = self.augmentation(*given, seed=self.seed, epoch=epoch, view=1)
        batch["ecg"], batch["sampling_rate"] = ecg, self.sampling_rate
        if self.change is not None and self.trainer is not None and self.trainer.predicting:
            return self.change(batch)
        return batch

    def _share(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of a share of the patients.

        The patients are numbered by their first record: their keys, and with them another order, depend on the salt of the store.
        """
        _, first, patient = np.unique(self.store.manifest["patient"].to_numpy()[rows], return_index=True, return_inverse=True)
        number = first.argsort().argsort()[patient]
        kept = int(self.fraction * len(first) + 0.5)
        if kept == 0:
            raise UserError(
                f"data.fraction {self.fraction} leaves none of the {len(first)} training patients: give at least {1 / len(first):.2g}"
            )
        chosen = np.random.default_rng([self.seed, *b"fraction"]).permutation(len(first))[:kept]
        share = rows[np.isin(number, chosen)]
        announce(f"Training on {len(share)} of {len(rows)} records, of {kept} of {len(first)} patients (data.fraction {self.fraction})")
        return share

    def _withheld(self, withhold: list[str] | str | None) -> frozenset[str]:
        names = PTBXL_UNSEEN if withhold == "ptbxl14" else tuple([withhold] if isinstance(withhold, str) else withhold or ())
        for name in names:
            if name not in self.labels.ids:
                raise UserError(
                    f"data.withhold: {name!r} is not a label of the catalogue: give ids such as {self.labels.ids[0]!r}, or ptbxl14"
                )
        return self.labels.with_implying(names)
