"""Losses against slow references, in one process and in two."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import ecgclip.losses as losses
from ecgclip.errors import UserError
from ecgclip.losses import InfoNCE, Pairs, SigmoidLoss, gather_pairs, gather_rows

LOSSES: dict[str, Callable[[], nn.Module]] = {
    "all": lambda: InfoNCE(positives="all"),
    "one": lambda: InfoNCE(positives="one"),
    "sigmoid": SigmoidLoss,
}


def pairs_of(similarities: Tensor, positives: Tensor, known: Tensor | None = None) -> Pairs:
    """A batch in which the similarity of each pair is a number of its own: the texts are unit vectors."""
    texts = similarities.shape[1]
    known = torch.ones_like(positives) if known is None else known
    return Pairs(similarities, torch.eye(texts), torch.arange(texts), positives, known)


def draw(ecgs: int = 7, texts: int = 5, seed: int = 0, *, one: bool = False) -> Pairs:
    """Similarities with positives and unknown pairs; a record and a text without any positive among them, unless ``one``."""
    make = torch.Generator().manual_seed(seed)
    similarities = torch.rand(ecgs, texts, generator=make) * 2 - 1
    if one:
        positives = F.one_hot(torch.randint(texts, (ecgs,), generator=make), texts).bool()
        return pairs_of(similarities, positives)
    positives = torch.rand(ecgs, texts, generator=make) < 0.4
    positives[2], positives[:, 3] = False, False
    known = positives | (torch.rand(ecgs, texts, generator=make) < 0.7)
    assert (~known).any()
    return pairs_of(similarities, positives, known)


def cross_entropy(logits: list[float], target: int) -> float:
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[target]


def slow_spread(logits: list[list[float]], positives: list[list[bool]], known: list[list[bool]]) -> float:
    """UniCL, equation 3, term by term: each row against its positives among what is known of it."""
    rows = []
    for row, positive, candidate in zip(logits, positives, known, strict=True):
        among = [logit for logit, is_known in zip(row, candidate, strict=True) if is_known]
        own = [math.log(sum(map(math.exp, among))) - logit for logit, is_one in zip(row, positive, strict=True) if is_one]
        if own:
            rows.append(sum(own) / len(own))
    return sum(rows) / len(rows)


def transposed(matrix: list[list[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*matrix, strict=True)]


def slow(name: str, scale: float, bias: float, pairs: Pairs) -> float:
    """The loss from its formula, in Python's 64-bit numbers."""
    logits = (scale * pairs.ecg.double() @ pairs.text.double().T).tolist()
    positives, known = pairs.positives.tolist(), pairs.known.tolist()
    if name == "all":
        there = slow_spread(logits, positives, known)
        return (there + slow_spread(transposed(logits), transposed(positives), transposed(known))) / 2
    if name == "one":
        square = [[row[own.index(True)] for own in positives] for row in logits]
        both = [cross_entropy(row, i) for i, row in enumerate(square)] + [cross_entropy(row, i) for i, row in enumerate(transposed(square))]
        return sum(both) / len(both)
    total = 0.0
    for row, positive, candidate in zip(logits, positives, known, strict=True):
        for logit, is_one, is_known in zip(row, positive, candidate, strict=True):
            if is_known:
                total += math.log1p(math.exp(-(logit + bias) if is_one else logit + bias))
    return total / len(logits)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_its_formula_term_by_term(name: str, seed: int) -> None:
    pairs = draw(seed=seed, one=name == "one")
    loss = LOSSES[name]()
    temperature, bias = (0.1, -5.0) if name == "sigmoid" else (0.07, 0.0)
    assert loss(pairs).item() == pytest.approx(slow(name, 1 / temperature, bias, pairs), rel=1e-5)


@pytest.mark.parametrize("name", ["all", "sigmoid"])
def test_an_unknown_pair_is_neither_positive_nor_negative(name: str) -> None:
    pairs = draw()
    similarities = pairs.ecg.clone().requires_grad_()
    loss = LOSSES[name]()
    value = loss(pairs._replace(ecg=similarities))
    value.backward()
    gradient = similarities.grad
    assert gradient is not None
    assert (gradient[~pairs.known] == 0).all()
    # Among what is known only a row and a column without a positive, seen from either side, may be without a gradient.
    counted = pairs.known & (pairs.positives.any(1, keepdim=True) | pairs.positives.any(0, keepdim=True))
    assert (gradient[counted] != 0).all()
    for other in (-1.0, 0.3, 1.0):
        changed = pairs._replace(ecg=torch.where(pairs.known, pairs.ecg, torch.tensor(other)))
        assert loss(changed).item() == value.item()
    negative = loss(pairs._replace(known=torch.ones_like(pairs.known))).item()
    assert negative != pytest.approx(value.item(), rel=1e-3)


def test_a_record_without_positives_is_still_a_negative_of_the_texts() -> None:
    pairs = draw()
    assert not pairs.positives[2].any()
    loss = InfoNCE()
    without = torch.arange(len(pairs.ecg)) != 2
    smaller = Pairs(pairs.ecg[without], pairs.text, pairs.text_ids, pairs.positives[without], pairs.known[without])
    assert loss(pairs).item() > loss(smaller).item()  # It has no term of its own; the texts have one thing more to tell apart.
    nothing_known = pairs.known & without.unsqueeze(1)
    assert loss(pairs._replace(known=nothing_known)).item() == pytest.approx(loss(smaller).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["all", "sigmoid"])
@pytest.mark.parametrize("known", [True, False])
def test_a_batch_without_positives_is_finite(name: str, known: bool) -> None:
    pairs = draw()
    nothing = torch.zeros_like(pairs.positives)
    similarities = pairs.ecg.clone().requires_grad_()
    value = LOSSES[name]()(pairs._replace(ecg=similarities, positives=nothing, known=torch.full_like(nothing, known)))
    value.backward()
    assert value.isfinite()
    assert similarities.grad is not None and similarities.grad.isfinite().all()
    assert (value.item() == 0) == (name == "all" or not known)


def test_equal_texts_are_one_positive_set_or_rivals() -> None:
    # Records 0 and 1 have one text, record 2 another; all fit perfectly.
    positives = torch.tensor([[1, 0], [1, 0], [0, 1]]).bool()
    perfect = pairs_of(positives.float() * 2 - 1, positives)
    # The text is spread over both of its records, log 2 each, which is the least that there is; a record has one text: 0.
    assert InfoNCE(temperature=0.01)(perfect).item() == pytest.approx((math.log(2) / 2 + 0) / 2, abs=1e-5)
    # In the paper's form each of both takes the other's equal text for a negative, in both directions.
    assert InfoNCE(temperature=0.01, positives="one")(perfect).item() == pytest.approx(math.log(2) * 2 / 3, abs=1e-5)


@pytest.mark.parametrize("make", [InfoNCE, SigmoidLoss])
@pytest.mark.parametrize("temperature", [0.02, 0.07, 1.0])
def test_scale_starts_at_one_over_temperature_and_is_learned(make: Any, temperature: float) -> None:
    loss = make(temperature=temperature)
    assert loss.scale.item() == pytest.approx(1 / temperature, rel=1e-5)
    loss(draw()).backward()
    assert all(parameter.grad is not None and parameter.grad != 0 for parameter in loss.parameters())


def test_scale_that_is_not_learned_stays() -> None:
    loss = InfoNCE(learn_temperature=False)
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert loss.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)


@pytest.mark.parametrize("make", [InfoNCE, SigmoidLoss])
def test_scale_stops_at_100_and_can_come_back(make: Any) -> None:
    loss = make()
    with torch.no_grad():
        loss.log_scale.fill_(8.0)
    assert loss.scale.item() == pytest.approx(100, rel=1e-5)
    # Every positive is the farthest of its row and column, so a lower scale is a lower loss.
    positives = torch.eye(4).bool()
    wrong = pairs_of(1 - 2 * torch.eye(4), positives)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss(wrong).backward()
        optimizer.step()
    assert loss.scale.item() < 60


@pytest.mark.parametrize("name", LOSSES)
def test_bf16_autocast_computes_the_loss_in_fp32(name: str) -> None:
    pairs = draw(one=name == "one")
    vectors = pairs._replace(ecg=F.normalize(pairs.ecg, dim=1).bfloat16(), text=pairs.text.bfloat16())
    loss = LOSSES[name]()
    with torch.no_grad():
        loss.log_scale.fill_(math.log(100))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(vectors)
    assert value.dtype == torch.float32
    assert value.isfinite()
    same = loss(vectors._replace(ecg=vectors.ecg.float(), text=vectors.text.float()))
    assert value.item() == pytest.approx(same.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "found"), [({"positives": "some"}, "'some'"), ({"temperature": 0.0}, "0.0"), ({"temperature": -1.0}, "-1.0")]
)
def test_bad_arguments_are_one_line(arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        InfoNCE(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("row", [[True, True], [False, False]])
def test_one_positive_needs_exactly_one_text(row: list[bool]) -> None:
    with pytest.raises(UserError, match="caption to joined"):
        InfoNCE(positives="one")(pairs_of(torch.zeros(2, 2), torch.tensor([row, [True, False]])))


# Two processes

WORLD = 2
ROWS = ((0, 1, 2, 3, 4), (5, 6, 7))  # Records of each process,
TEXTS = ((3, 7, 1, 9), (2, 7))  # and its texts: 7 is in both, and none of both has them all.
ALL_TEXTS = (1, 2, 3, 7, 9)


class Towers(nn.Module):
    """Two small encoders and a loss, as DistributedDataParallel sees a model in training."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.ecg = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4))
        self.text = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4))
        self.loss = LOSSES[name]()

    def forward(self, ecg: Tensor, text_ids: Tensor, positives: Tensor, known: Tensor) -> Tensor:
        vectors = F.normalize(self.ecg(ecg), dim=1), F.normalize(self.text(text_ids), dim=1)
        loss: Tensor = self.loss(Pairs(*vectors, text_ids, positives, known))
        return loss


def large_batch(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The batch that one process would see: what a process holds is a part of it."""
    make = torch.Generator().manual_seed(5)
    records, texts = sum(map(len, ROWS)), len(ALL_TEXTS)
    positives, known = torch.zeros(records, texts, dtype=torch.bool), torch.ones(records, texts, dtype=torch.bool)
    for rows, ids in zip(ROWS, TEXTS, strict=True):
        here = torch.tensor([ALL_TEXTS.index(i) for i in ids])
        for row in rows:
            if name == "one":
                positives[row, here[row % len(here)]] = True
            else:
                positives[row, here] = torch.rand(len(here), generator=make) < 0.5
                known[row, here] = positives[row, here] | (torch.rand(len(here), generator=make) < 0.6)
    if name != "one":
        positives[6] = False  # A record without a positive.
        assert positives.any() and not known.all()
    return torch.randn(records, 6, generator=make), torch.tensor(ALL_TEXTS), positives, known


def part(name: str, rank: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What one process holds of the large batch, its texts in an order of its own."""
    ecg, _, positives, known = large_batch(name)
    rows = torch.tensor(ROWS[rank])
    columns = torch.tensor([ALL_TEXTS.index(i) for i in TEXTS[rank]])
    return ecg[rows], torch.tensor(TEXTS[rank]), positives[rows][:, columns], known[rows][:, columns]


def learn(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """One step's loss and gradients."""
    loss = model(*batch)
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
    for name in LOSSES:
        results[name] = learn(DistributedDataParallel(Towers(name)), part(name, rank))
    losses.gather_rows = gather_without_gradient
    results["without gradient"] = learn(DistributedDataParallel(Towers("all")), part("all", rank))
    losses.gather_rows = gather_rows
    results["ragged"] = {
        "numbers": gather_rows(torch.arange(3 * rank, dtype=torch.int64)),
        "flags": gather_rows(torch.tensor([[True, False], [False, True]][: rank + 1])),
        "vectors": gather_rows(torch.full((2 - rank, 3), float(rank))),
    }
    # The same text came out differently, as with dropout.
    vectors = torch.full((2, 2), float(rank))
    flags = torch.tensor([[True, False]])
    results["merged"] = gather_pairs(Pairs(torch.zeros(1, 2), vectors, torch.tensor([4 + rank, 5 + rank]), flags, ~flags))._asdict()
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
@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_learn_what_one_does_from_the_large_batch(name: str, two_processes: list[dict[str, Any]]) -> None:
    expected = learn(Towers(name), large_batch(name))
    assert len(expected) == 1 + len(list(Towers(name).parameters()))
    for found in two_processes:
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-6)


@together
def test_a_gather_that_drops_the_gradient_would_be_seen(two_processes: list[dict[str, Any]]) -> None:
    expected = learn(Towers("all"), large_batch("all"))
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
