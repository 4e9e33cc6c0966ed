"""From the labels of a batch to its Japanese texts: which there are, and which ECG each describes."""

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ecgclip.errors import UserError
from ecgclip.labels import NEGATIVE, POSITIVE, UNKNOWN, Catalogue
from ecgclip.labels.captions import joined_caption
from ecgclip.towers.text_table import TextTable
from ecgclip.towers.tokenizer import token_limit, tokenize_texts

MODES = ("label", "joined", "reading")


class Captions:
    """The texts of a training batch.

    Args:
        catalogue: The labels and their Japanese names.
        tokenizer: The text tower's, or the table of a frozen one.
        mode: ``label``: every label is a text of its own, and all labels of a record are its positives; the texts of a batch are
            those of all labels that may be trained. ``joined``: one text for a record, its labels in one line.
            ``reading``: one text for a record, what was written of it.
        usable: ``(L,)`` bool, the labels that may appear in a text: annotated in the data, and not withheld.
        synonyms: Draw a synonym or abbreviation half of the time, and the order of a record's labels; else always the canonical name,
            in the order of the catalogue.
        seed: The draw is a function of the seed, the epoch, the step and the label (or set of labels), so that it replays after a
            resumption and is the same in every process.
        training: ``(N, L)`` int8, the label states of the records that are trained on; None where no loss asks for ``prior``.

    Raises:
        UserError: For another mode, or for ``joined`` with synonyms and a table: their texts are without number.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        tokenizer: PreTrainedTokenizerBase | TextTable,
        *,
        mode: str,
        usable: np.ndarray,
        synonyms: bool = True,
        seed: int = 0,
        training: np.ndarray | None = None,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"data.caption {mode!r} is not one of {', '.join(MODES)}")
        if mode == "joined" and synonyms and isinstance(tokenizer, TextTable):
            raise UserError(
                "data.caption joined with synonyms makes more texts than a frozen text tower can have read before: "
                "set data.synonyms to false, or data.caption to label"
            )
        self.mode, self.seed, self.synonyms, self.tokenizer = mode, seed, synonyms, tokenizer
        self.usable, self.candidates = usable, np.flatnonzero(usable)
        self.shares = None if training is None else _Shares(training, usable)
        self.forms = [label.texts for label in catalogue]
        self.ids = catalogue.ids
        # 98 labels have a few hundred names: all tokenised once, here.
        self.first = np.cumsum([0] + [len(forms) for forms in self.forms])
        self.tokens = tokenize_texts(tokenizer, [form for forms in self.forms for form in forms])
        self.limit = None if isinstance(tokenizer, TextTable) else token_limit(tokenizer)

    def __call__(self, states: np.ndarray, words: list[str], epoch: int, step: int) -> dict[str, Any]:
        """Return the texts of a batch.

        Args:
            states: ``(B, L)`` int8, the label states.
            words: ``B`` JSON objects, what goes before a label's name in a record: ``{"AMI": "急性"}``; in the mode ``reading`` the
                readings.
            epoch: Of the training.
            step: Of the epoch.

        Returns:
            ``texts`` (``input_ids`` and ``attention_mask``, ``(U, T)`` int64), ``text_ids`` ``(U,)`` int64, ``positives`` and
            ``known`` ``(B, U)`` bool; ``record_labels`` ``(B, L)`` and ``text_labels`` ``(U, L)`` bool, which labels a record has and
            a text names, withheld ones left out; where the training records are given, ``prior`` ``(U,)`` float32, the share of them
            that has the text's label (of those where it is known) or exactly its label set.

        """
        batch = (
            self._labels(states, np.random.default_rng((self.seed, epoch, step)))
            if self.mode == "label"
            else self._whole(states, words, epoch, step)
        )
        return batch | {"record_labels": torch.from_numpy((states == POSITIVE) & self.usable)}

    def prepare(self, states: np.ndarray, words: list[str]) -> tuple[int, int]:
        """Read the captions of the training records beforehand.

        A table takes all of them in: a frozen language model reads them once, together. For a tokenizer they are only measured.

        Args:
            states: ``(N, L)`` int8, the label states of all training records.
            words: ``N`` JSON objects or readings, see :meth:`__call__`.

        Returns:
            How many captions (by their canonical names) are longer than the text tower reads, of how many.

        Raises:
            UserError: When one of a table's is.
        """
        if self.mode == "label":
            return 0, 0
        if self.mode == "reading":
            texts = sorted({_one_line(text) for text in words})
        else:
            distinct = {(row.tobytes(), extra): (row, extra) for row, extra in zip(self._named(states), words, strict=True)}
            texts = sorted({self._caption(np.flatnonzero(row), self._prefix(row, extra)) for row, extra in distinct.values()})
        if isinstance(self.tokenizer, TextTable) or self.limit is None:
            tokenize_texts(self.tokenizer, texts)
            return 0, len(texts)
        return sum(len(numbers) > self.limit for numbers in self.tokenizer(texts)["input_ids"]), len(texts)

    def _labels(self, states: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        states = states[:, self.candidates]
        forms = [self.first[label] + self._choose(label, rng) for label in self.candidates]
        return {
            "texts": _trim({name: rows[forms] for name, rows in self.tokens.items()}),
            "text_ids": torch.from_numpy(self.candidates),
            "positives": torch.from_numpy(states == POSITIVE),
            "known": torch.from_numpy(states != UNKNOWN),
            "text_labels": torch.eye(len(self.usable), dtype=torch.bool)[self.candidates],
            **({} if self.shares is None else {"prior": torch.from_numpy(self.shares.of_labels[self.candidates])}),
        }

    def _whole(self, states: np.ndarray, words: list[str], epoch: int, step: int) -> dict[str, Any]:
        """One text for a record: its labels in a line, or its reading."""
        texts: dict[int, str] = {}
        findings: list[np.ndarray] = []
        owners = []
        for row, extra in zip(self._named(states), words, strict=True):
            labels, prefix = np.flatnonzero(row), {} if self.mode == "reading" else self._prefix(row, extra)
            key = _one_line(extra) if self.mode == "reading" else json.dumps([labels.tolist(), prefix], ensure_ascii=False, sort_keys=True)
            # The same findings are the same text, whichever synonyms are drawn, in every process: they are one positive set.
            owner = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest())
            owners.append(owner)
            if owner not in texts:
                findings.append(row)
                rng = np.random.default_rng((self.seed, epoch, step, owner)) if self.synonyms else None
                texts[owner] = key if self.mode == "reading" else self._caption(labels, prefix, rng)
        columns = {owner: column for column, owner in enumerate(texts)}
        positives = torch.zeros(len(states), len(texts), dtype=torch.bool)
        positives[torch.arange(len(states)), torch.tensor([columns[owner] for owner in owners])] = True
        return {
            "texts": tokenize_texts(self.tokenizer, list(texts.values()), max_length=self.limit),
            "text_ids": torch.tensor(list(texts)),
            "positives": positives,
            "known": positives | torch.from_numpy(_contradicts(states[:, self.usable], np.array(findings)[:, self.usable])),
            "text_labels": torch.from_numpy(np.array(findings)),
            **({} if self.shares is None else {"prior": torch.tensor([self.shares.of_set(row) for row in findings])}),
        }

    def _named(self, states: np.ndarray) -> np.ndarray:
        """``(B, L)`` bool: the labels of each record that its caption names."""
        named: np.ndarray = (states == POSITIVE) & self.usable
        return named

    def _prefix(self, row: np.ndarray, extra: str) -> dict[str, str]:
        """What goes before the names of a record's labels: of the data set, whose labels the catalogue need not hold."""
        words = json.loads(extra or "{}")
        return {self.ids[label]: words[self.ids[label]] for label in np.flatnonzero(row) if self.ids[label] in words}

    def _caption(self, labels: np.ndarray, prefix: dict[str, str], rng: np.random.Generator | None = None) -> str:
        """One record's labels in a line: canonical names in the order of the catalogue, or drawn where there is a generator."""
        order = labels if rng is None else rng.permutation(labels)
        return joined_caption([prefix.get(self.ids[i], "") + self.forms[i][0 if rng is None else self._choose(i, rng)] for i in order])

    def _choose(self, label: np.integer, rng: np.random.Generator) -> int:
        forms = len(self.forms[label])
        if not self.synonyms or forms == 1 or rng.random() < 0.5:
            return 0
        return int(rng.integers(1, forms))


class _Shares:
    """How frequent labels, and sets of labels, are in training.

    A share lies half a record away from 0 and 1, where its logarithm or log-odds would be infinite.

    Args:
        training: ``(N, L)`` int8, label states.
        usable: ``(L,)`` bool, the labels that count.

    """

    def __init__(self, training: np.ndarray, usable: np.ndarray) -> None:
        self.half = 0.5 / max(1, len(training))
        has = (training == POSITIVE) & usable
        self.of_labels = self._within(has.sum(0) / np.maximum(1, (training != UNKNOWN).sum(0)))
        self.sets = Counter(map(np.ndarray.tobytes, has))

    def of_set(self, labels: np.ndarray) -> float:
        """Return the share of the records that have these labels, ``(L,)`` bool, and no other."""
        return float(self._within(self.sets[labels.tobytes()] * 2 * self.half))

    def _within(self, share: np.ndarray | float) -> np.ndarray:
        return np.clip(share, self.half, 1 - self.half).astype(np.float32)


def _one_line(reading: str) -> str:
    return " ".join(reading.split())


def _contradicts(states: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Tell which texts are certainly not those of which records.

    Args:
        states: ``(B, L)`` int8.
        texts: ``(U, L)`` bool, the labels that a text names; it says of the others that they are absent.

    Returns:
        ``(B, U)`` bool: false where the two differ in nothing but what is unknown of the record (or in the stage of an infarct).
    """
    silent = (states == POSITIVE).astype(np.int32) @ (~texts).T.astype(np.int32)
    false = (states == NEGATIVE).astype(np.int32) @ texts.T.astype(np.int32)
    return (silent + false) > 0


def _trim(texts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the columns that are padding in every text. Vectors have none."""
    if "attention_mask" not in texts:
        return texts
    longest = int(texts["attention_mask"].sum(1).max())
    return {name: rows[:, :longest] for name, rows in texts.items()}
