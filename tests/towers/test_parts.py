"""A batch read part by part has the gradients of the whole, in less memory."""

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ecgclip.losses import MultiPositive, Pairs
from ecgclip.towers.parts import in_parts


class Plain(nn.Module):
    """A tower without batch norm: what one ECG gives does not depend on another."""

    features = 8

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(12, 16, 5), nn.GroupNorm(4, 16), nn.GELU(), nn.Dropout(dropout), nn.Conv1d(16, 8, 5))

    def forward(self, ecg: Tensor, lead_mask: Tensor | None = None) -> Tensor:
        if lead_mask is not None:
            ecg = ecg * lead_mask.unsqueeze(2)
        mean: Tensor = self.layers(ecg).mean(2)
        return mean


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(12, 8, 5), nn.BatchNorm1d(8)

    def forward(self, ecg: Tensor) -> Tensor:
        mean: Tensor = self.norm(self.conv(ecg)).relu().mean(2)
        return mean


def batch(records: int = 11, samples: int = 60) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(0)
    return torch.randn(records, 12, samples, generator=make), torch.rand(records, 12, generator=make) < 0.9


def gradients(tower: nn.Module, size: int | None, *inputs: Any) -> dict[str, Tensor]:
    """Of a contrastive loss over the whole batch."""
    tower.zero_grad()
    vectors = F.normalize(in_parts(tower, size, *inputs), dim=1)
    positives = torch.eye(len(vectors)).bool()
    text = F.normalize(torch.randn(len(vectors), 8, generator=torch.Generator().manual_seed(1)), dim=1)
    loss = MultiPositive()(Pairs(vectors, text, torch.arange(len(vectors)), positives, torch.ones_like(positives)))
    loss.backward()
    return {"loss": loss.detach()} | {name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("size", [1, 3, 4, 10, 11, 100])
def test_gradients_are_those_of_the_large_batch(size: int) -> None:
    torch.manual_seed(0)
    tower = Plain()
    whole = gradients(tower, None, *batch())
    assert len(whole) == 1 + len(list(tower.parameters()))
    torch.testing.assert_close(gradients(tower, size, *batch()), whole, rtol=1e-3, atol=1e-5)


def test_a_loss_of_each_part_by_itself_would_be_seen() -> None:
    torch.manual_seed(0)
    tower, (ecg, mask) = Plain(), batch()
    whole = gradients(tower, None, ecg, mask)["layers.0.weight"]
    apart = torch.stack([gradients(tower, None, ecg[rows], mask[rows])["layers.0.weight"] for rows in (slice(0, 6), slice(6, 11))])
    assert (apart.mean(0) - whole).norm() > 0.2 * whole.norm()


def test_bf16_autocast_is_replayed() -> None:
    torch.manual_seed(0)
    tower = Plain()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole, parts = gradients(tower, None, *batch()), gradients(tower, 4, *batch())
    torch.testing.assert_close(parts, whole, rtol=0.05, atol=0.01)


def test_dropout_is_drawn_again_equally() -> None:
    torch.manual_seed(0)
    tower, (ecg, mask) = Plain(dropout=0.5), batch()

    def by_hand() -> dict[str, Tensor]:
        """The same parts, whose activations are all kept."""
        return gradients(Joined(tower), None, ecg, mask)

    class Joined(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, ecg: Tensor, mask: Tensor) -> Tensor:
            return torch.cat([self.inner(e, m) for e, m in zip(ecg.tensor_split(3), mask.tensor_split(3), strict=True)])

    torch.manual_seed(7)
    found = gradients(tower, 4, ecg, mask)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    kept = by_hand()
    assert torch.rand(1) == drawn  # The backward pass leaves the generator where it was.
    torch.testing.assert_close(found, {name.removeprefix("inner."): value for name, value in kept.items()})
    torch.manual_seed(8)
    assert gradients(tower, 4, ecg, mask)["loss"] != found["loss"]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_counts_each_part_once(momentum: float | None) -> None:
    torch.manual_seed(0)
    tower, expected = Normed(), Normed()
    tower.norm.momentum = expected.norm.momentum = momentum
    expected.load_state_dict(tower.state_dict())
    ecg, _ = batch(9)
    gradients(tower, 3, ecg)
    for rows in ecg.split(3):
        expected(rows)
    assert tower.norm.num_batches_tracked == 3
    torch.testing.assert_close(dict(tower.named_buffers()), dict(expected.named_buffers()), rtol=0, atol=0)


def test_dictionaries_of_tensors_are_cut_row_by_row() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(20, 8)

        def forward(self, texts: dict[str, Tensor]) -> Tensor:
            mask = texts["attention_mask"].unsqueeze(2)
            return (self.words(texts["input_ids"]) * mask).sum(1) / mask.sum(1)

    torch.manual_seed(0)
    tower = Text()
    texts = {"input_ids": torch.randint(20, (7, 5)), "attention_mask": torch.ones(7, 5)}
    texts["attention_mask"][3:, 3:] = 0
    torch.testing.assert_close(gradients(tower, 2, texts), gradients(tower, None, texts))


def test_no_part_is_computed_twice_without_gradients() -> None:
    calls = []
    tower = Plain()
    tower.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        in_parts(tower, 4, *batch())
    assert len(calls) == 1
    in_parts(tower, 4, *batch()).sum().backward()
    assert len(calls) == 1 + 2 * 3


class Peak(TorchDispatchMode):
    """The most bytes that tensors made meanwhile held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.most, self.seen = 0, 0, weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self.seen:
                self.seen.add(storage)
                self.alive += storage.nbytes()
                weakref.finalize(storage, self._gone, storage.nbytes())
        self.most = max(self.most, self.alive)
        return out

    def _gone(self, size: int) -> None:
        self.alive -= size


def test_peak_memory_is_that_of_a_part() -> None:
    torch.manual_seed(0)
    tower, (ecg, mask) = Plain(), batch(64, 400)
    peaks = {}
    for size in (None, 32, 8):
        with Peak() as peak:
            gradients(tower, size, ecg, mask)
        peaks[size] = peak.most
    assert peaks[32] < 0.75 * peaks[None]  # type: ignore[index]
    assert peaks[8] < 0.35 * peaks[None]  # type: ignore[index]
