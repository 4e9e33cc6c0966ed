"""Losses in two processes against one large batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import ecgclip.losses.pairs as gathering
from ecgclip.losses import Pairs, gather_pairs, gather_rows, nt_xent
from ecgclip.towers.parts import in_parts
from tests.losses.reference import CASES, OPTIONS, build

WORLD = 2
ROWS = ((0, 1, 2, 3, 4), (5, 6, 7))  # Records of each process,
TEXTS = ((3, 7, 1, 9), (2, 7))  # and its texts: 7 is in both, and none of both has them all.
ALL_TEXTS = (1, 2, 3, 7, 9)
RUNS = [(case, options) for case in CASES for options in ("plain", "both")]
TRAINED = [*(f"{case}: {options}" for case, options in RUNS), "unimodal", "in parts"]

Batch = dict[str, Tensor]


class Towers(nn.Module):
    """Two small encoders and a loss, as DistributedDataParallel sees a model in training."""

    def __init__(self, what: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ecg = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))
        self.unimodal, self.size = what == "unimodal", 2 if what == "in parts" else None
        if not self.unimodal:
            case, _, options = what.partition(": ")
            self.text = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4))
            self.loss = build("multi_positive" if case == "in parts" else case, **OPTIONS[options or "plain"])

    def forward(self, batch: Batch) -> Tensor:
        if self.unimodal:
            return nt_xent(self.ecg(batch["ecg"]), self.ecg(batch["ecg"].sin()))
        ecg, text = in_parts(self.ecg, self.size, batch["ecg"]), in_parts(self.text, self.size, batch["text_ids"])
        loss: Tensor = self.loss(Pairs(**batch | {"ecg": F.normalize(ecg, dim=1), "text": F.normalize(text, dim=1)}))
        return loss


def mode_of(what: str) -> str:
    return CASES.get(what.partition(": ")[0], ("", {}, "label"))[2]


def large_batch(mode: str) -> Batch:
    """The batch that one process would see: what a process holds is a part of it."""
    make = torch.Generator().manual_seed(5)
    records, texts = sum(map(len, ROWS)), len(ALL_TEXTS)
    positives, known = torch.zeros(records, texts, dtype=torch.bool), torch.ones(records, texts, dtype=torch.bool)
    for rows, ids in zip(ROWS, TEXTS, strict=True):
        here = torch.tensor([ALL_TEXTS.index(i) for i in ids])
        for row in rows:
            if mode == "joined":
                positives[row, here[row % len(here)]] = True
            else:
                positives[row, here] = torch.rand(len(here), generator=make) < 0.5
            known[row, here] = positives[row, here] | (torch.rand(len(here), generator=make) < 0.6)
    if mode == "label":
        positives[6] = False  # A record without a positive.
    assert positives.any() and not known.all()
    named = torch.eye(texts).bool() if mode == "label" else torch.rand(texts, 6, generator=make) < 0.5
    return {
        "ecg": torch.randn(records, 6, generator=make),
        "text_ids": torch.tensor(ALL_TEXTS),
        "positives": positives,
        "known": known,
        "labels": positives.float() @ named.float() > 0,
        "text_labels": named,
        "prior": torch.rand(texts, generator=make) * 0.5 + 0.01,
    }


def part(mode: str, rank: int) -> Batch:
    """What one process holds of the large batch, its texts in an order of its own."""
    whole = large_batch(mode)
    rows = torch.tensor(ROWS[rank])
    columns = torch.tensor([ALL_TEXTS.index(i) for i in TEXTS[rank]])
    of_records = {name: whole[name][rows] for name in ("ecg", "labels")}
    of_texts = {name: whole[name][columns] for name in ("text_ids", "text_labels", "prior")}
    return of_records | of_texts | {name: whole[name][rows][:, columns] for name in ("positives", "known")}


def learn(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """One step's loss and gradients."""
    loss = model(batch)
    loss.backward()
    parameters = {name.removeprefix("module."): p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach()} | parameters


def gather_without_gradient(rows: Tensor) -> Tensor:
    """The usual mistake: rows of other processes are constants, and only one's own carry a gradient."""
    gathered = gather_rows(rows.detach())
    if rows.dtype != torch.float32:
        return gathered
    rank = dist.get_rank()
    before = len(gathered) - len(rows) if rank == 1 else 0
    return torch.cat((gathered[:before], rows, gathered[before + len(rows) :]))


def process(rank: int, folder: str) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    results: dict[str, Any] = {}
    for what in TRAINED:
        results[what] = learn(DistributedDataParallel(Towers(what)), part(mode_of(what), rank))
    gathering.gather_rows = gather_without_gradient
    results["without gradient"] = learn(DistributedDataParallel(Towers("multi_positive")), part("label", rank))
    gathering.gather_rows = gather_rows
    results["ragged"] = {
        "numbers": gather_rows(torch.arange(3 * rank, dtype=torch.int64)),
        "flags": gather_rows(torch.tensor([[True, False], [False, True]][: rank + 1])),
        "vectors": gather_rows(torch.full((2 - rank, 3), float(rank))),
    }
    # The same text came out differently, as with dropout.
    vectors, flags, ids = torch.full((2, 2), float(rank)), torch.tensor([[True, False]]), torch.tensor([4 + rank, 5 + rank])
    pairs = Pairs(torch.zeros(1, 2), vectors, ids, flags, ~flags)
    results["merged"] = gather_pairs(pairs)._asdict()
    named = F.one_hot(ids - 4, 3).bool()
    results["described"] = gather_pairs(pairs._replace(labels=named[:1], text_labels=named, prior=ids / 10))._asdict()
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


# With xdist, in one worker: two processes are started once.
together = pytest.mark.xdist_group("two_processes")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Everything that the two processes computed."""
    folder: Path = tmp_path_factory.mktemp("processes")
    mp.spawn(process, args=(str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@together
@pytest.mark.parametrize("what", TRAINED)
def test_two_processes_learn_what_one_does_from_the_large_batch(what: str, two_processes: list[dict[str, Any]]) -> None:
    expected = learn(Towers(what), large_batch(mode_of(what)))
    assert len(expected) == 1 + len(list(Towers(what).parameters()))
    for found in two_processes:
        torch.testing.assert_close(found[what], expected, rtol=2e-5, atol=2e-6)


@together
def test_a_gather_that_drops_the_gradient_would_be_seen(two_processes: list[dict[str, Any]]) -> None:
    expected = learn(Towers("multi_positive"), large_batch("label"))
    for found in two_processes:
        wrong = found["without gradient"]
        torch.testing.assert_close(wrong["loss"], expected["loss"])  # The loss does not show it,
        for name in ("ecg.0.weight", "text.1.weight"):
            assert (wrong[name] - expected[name]).norm() > 0.1 * expected[name].norm()  # the gradients do.


@together
def test_gather_of_ragged_rows_of_any_type(two_processes: list[dict[str, Any]]) -> None:
    for found in two_processes:
        ragged = found["ragged"]
        assert ragged["numbers"].tolist() == [0, 1, 2]
        assert ragged["flags"].tolist() == [[True, False], [True, False], [False, True]]
        assert ragged["vectors"].tolist() == [[0.0] * 3] * 2 + [[1.0] * 3]


@together
def test_texts_of_several_processes_are_merged_by_their_number(two_processes: list[dict[str, Any]]) -> None:
    for found in two_processes:
        merged = found["merged"]
        assert merged["text_ids"].tolist() == [4, 5, 6]
        assert merged["text"].tolist() == [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]
        assert merged["positives"].tolist() == [[True, False, False], [False, True, False]]
        assert merged["known"].tolist() == [[False, True, True], [True, False, True]]
        assert merged["labels"] is merged["text_labels"] is merged["prior"] is None


@together
def test_what_texts_say_is_merged_with_them(two_processes: list[dict[str, Any]]) -> None:
    for found in two_processes:
        described = found["described"]
        assert described["labels"].int().tolist() == [[1, 0, 0], [0, 1, 0]]
        assert described["text_labels"].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        assert described["prior"].tolist() == pytest.approx([0.4, 0.5, 0.6])
