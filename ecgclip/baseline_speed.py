"""The yardstick of training speed: the same model, written the straightforward way.

This is what one writes on the first day, in plain PyTorch, and nothing here is used elsewhere. It is the same model as ``resnet18`` or
``resnet34`` with the small BERT, to the last parameter: ``Conv1d`` in fp32; a data set that hands out one float32 record at a time, put
together by the default collation in the process that trains; one line of text per record, tokenised when it comes and passed through
the text tower, though many of a batch are alike. It crops at random and does not augment: that is in its favour.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

from ecgclip.store import Store

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


class PlainBlock(nn.Module):
    """Two convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.Conv1d(outputs, outputs, kernel, 1, kernel // 2, bias=False),
            nn.BatchNorm1d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool1d(stride, stride, ceil_mode=True)
            self.shortcut = nn.Sequential(pool, nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, T)`` to ``(B, outputs, ceil(T / stride))``."""
        return F.relu(self.branch(x) + self.shortcut(x))


class PlainModel(nn.Module):
    """ResNet along time and a small BERT, each with its projection.

    Args:
        tower: ``resnet18`` or ``resnet34``.
        vocabulary: Entries of the tokenizer.
        width: Channels of the first stage.
        kernel: Samples of the convolutions in the blocks.
        stem_kernel: Samples of the first convolution.
        stem_stride: Its stride.
        hidden_size: Of the BERT.
        layers: Of the BERT.
        heads: Of the BERT.
        dropout: Of the BERT.
        embed_dim: Length of the common vectors.
    """

    def __init__(
        self,
        tower: str,
        vocabulary: int,
        *,
        width: int = 64,
        kernel: int = 7,
        stem_kernel: int = 15,
        stem_stride: int = 2,
        hidden_size: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        embed_dim: int = 256,
    ) -> None:
        super().__init__()
        stem = nn.Conv1d(12, width, stem_kernel, stem_stride, stem_kernel // 2, bias=False)
        parts: list[nn.Module] = [stem, nn.BatchNorm1d(width), nn.ReLU(), nn.MaxPool1d(3, 2, 1)]
        channels = width
        for stage, count in enumerate(BLOCKS[tower]):
            for block in range(count):
                parts.append(PlainBlock(channels, width * 2**stage, kernel, 2 if stage > 0 and block == 0 else 1))
                channels = width * 2**stage
        self.ecg_tower = nn.Sequential(*parts)
        self.ecg_projection = nn.Linear(2 * channels, embed_dim)
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden_size,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            max_position_embeddings=128,
        )
        self.text_tower = BertModel(config, add_pooling_layer=False)
        self.text_projection = nn.Linear(hidden_size, embed_dim)

    def forward(self, ecg: Tensor, texts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """``(B, 12, T)`` mV and ``(B, tokens)`` to two ``(B, embed_dim)`` of length 1."""
        x = self.ecg_tower(ecg)
        vectors = self.ecg_projection(torch.cat((x.mean(2), x.amax(2)), dim=1))
        words = self.text_tower(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"]).last_hidden_state
        mask = texts["attention_mask"].unsqueeze(-1).float()
        captions = self.text_projection((words * mask).sum(1) / mask.sum(1))
        return F.normalize(vectors, dim=1), F.normalize(captions, dim=1)


@dataclass
class PlainRecords(Dataset[tuple[np.ndarray, str]]):
    """One record after another: a random crop in mV, ``(12, samples)`` float32, and its line of text.

    Attributes:
        store: Of the records.
        rows: Of the store, to train on.
        captions: The text of each of them.
        samples: Length of a crop.
    """

    store: Store
    rows: np.ndarray
    captions: Sequence[str]
    samples: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        signal = self.store.read(self.rows[index : index + 1])[0].astype(np.float32) * np.float32(1e-3)
        start = np.random.randint(signal.shape[1] - self.samples + 1)  # noqa: NPY002  # As one writes it on the first day.
        return signal[:, start : start + self.samples], self.captions[index]


def plain_records_per_second(
    model: PlainModel,
    records: PlainRecords,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int,
    steps: int,
    warm_up: int,
    device: torch.device,
) -> float:
    """Train for some steps, and return the records per second of those after the warm-up.

    Args:
        model: Trained in place.
        records: At least one batch of them.
        tokenizer: Of the texts.
        batch_size: Records per step.
        steps: All of them.
        warm_up: Steps at the start that do not count.
        device: Where it computes.
    """
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    loader: DataLoader[Any] = DataLoader(records, batch_size=min(batch_size, len(records)), shuffle=True, drop_last=True)
    batches = _forever(loader)
    trained, start = 0, time.perf_counter()
    for step in range(steps):
        if step == warm_up:
            trained, start = 0, _now(device)
        ecg, captions = next(batches)
        texts = tokenizer(list(captions), padding=True, truncation=True, max_length=64, return_tensors="pt").to(device)
        vectors, words = model(ecg.to(device), texts)
        similarity = vectors @ words.T / 0.07
        target = torch.arange(len(similarity), device=device)
        loss = (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        trained += len(ecg)
    return trained / (_now(device) - start)


def _forever(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Sequence[str]]]:
    while True:
        yield from loader


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
