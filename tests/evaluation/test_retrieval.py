"""Retrieval against a slow loop on vectors with many ties, and what chance reaches."""

import itertools

import numpy as np
import pytest
import torch

import ecgclip.evaluation.retrieval as module
from ecgclip.errors import UserError
from ecgclip.evaluation.retrieval import retrieval_figures


def world(n: int = 60, captions: int = 14, seed: int = 0):
    """Vectors along few directions, so that ties are the rule; some captions without a record, some shared by many."""
    draw = torch.Generator().manual_seed(seed)
    axes = torch.eye(4)
    text = axes[torch.randint(4, (captions,), generator=draw)] + axes[torch.randint(4, (captions,), generator=draw)]
    text_of = (torch.rand(n, generator=draw).square() * (captions - 2)).long()
    ecg = axes[torch.randint(4, (n,), generator=draw)] + text[text_of]
    return ecg, text, text_of


def slow(ecg, text, text_of, ks):
    """One question after another, with ranks counted one by one."""
    normal = [(v / v.norm(dim=1, keepdim=True)).double().numpy() for v in (ecg, text)]
    cosine = np.round(normal[0] @ normal[1].T, 6)
    n, captions = cosine.shape
    own = text_of.tolist()
    records = [sum(cosine[i, u] >= cosine[i, own[i]] for u in range(captions)) for i in range(n)]
    asked, sizes = [], []
    for u in sorted(set(own)):
        best = max(cosine[i, u] for i in range(n) if own[i] == u)
        asked.append(1 + sum(cosine[i, u] >= best for i in range(n) if own[i] != u))
        sizes.append(own.count(u))
    figures = {"ecg_to_text/median_rank": np.median(records), "text_to_ecg/median_rank": np.median(asked)}
    for k in ks:
        figures[f"ecg_to_text/r{k}"] = np.mean(np.array(records) <= k)
        figures[f"text_to_ecg/r{k}"] = np.mean(np.array(asked) <= k)
        figures[f"ecg_to_text/chance_r{k}"] = k / captions
        figures[f"text_to_ecg/chance_r{k}"] = 1 - np.mean([np.prod([(n - m - j) / (n - j) for j in range(k)]) for m in sizes])
    return figures


@pytest.mark.parametrize("block", [2**22, 50])
def test_equals_a_slow_loop_with_ties(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    for seed in range(5):
        case = world(seed=seed)
        assert retrieval_figures(*case) == pytest.approx(slow(*case, (1, 5, 10)), abs=1e-9)


def test_order_of_records_and_captions_changes_nothing():
    ecg, text, text_of = world()
    records, captions = torch.randperm(len(ecg)), torch.randperm(len(text))
    moved = retrieval_figures(ecg[records], text[captions], captions.argsort()[text_of[records]])
    assert moved == pytest.approx(retrieval_figures(ecg, text, text_of), abs=1e-12)


def test_equal_vectors_find_nothing_and_perfect_ones_everything():
    text_of = torch.arange(20) % 5
    constant = retrieval_figures(torch.ones(20, 3), torch.ones(5, 3), text_of, ks=(1, 4))
    assert constant["ecg_to_text/r4"] == constant["text_to_ecg/r4"] == 0
    assert (constant["ecg_to_text/median_rank"], constant["text_to_ecg/median_rank"]) == (5, 17)
    perfect = retrieval_figures(torch.eye(5)[text_of], torch.eye(5), text_of)
    assert perfect["ecg_to_text/r1"] == perfect["text_to_ecg/r1"] == 1
    assert perfect["ecg_to_text/median_rank"] == perfect["text_to_ecg/median_rank"] == 1


def test_chance_is_that_of_a_random_order():
    text_of = torch.tensor([0, 0, 0, 1, 1, 2])
    figures = retrieval_figures(torch.eye(6), torch.eye(6)[:3], text_of, ks=(2, 100))
    firsts = list(itertools.combinations(range(6), 2))
    for u, m in enumerate((3, 2, 1)):
        share = np.mean([any(text_of[i] == u for i in first) for first in firsts])
        assert float(module._chance(6, torch.tensor([float(m)]), 2)) == pytest.approx(share)
    assert figures["ecg_to_text/chance_r2"] == pytest.approx(2 / 3)
    assert figures["ecg_to_text/chance_r100"] == figures["text_to_ecg/chance_r100"] == 1


def test_intervals_over_patients_hold_the_estimate():
    draw = torch.Generator().manual_seed(0)
    text = torch.randn(10, 6, generator=draw)
    text_of = torch.arange(100) % 10
    with torch.inference_mode():
        ecg = (text[text_of] + torch.randn(100, 6, generator=draw)).bfloat16()
        figures = retrieval_figures(ecg, text.bfloat16(), text_of, patients=[f"p{i // 2}" for i in range(100)], replicates=200)
    for k in (1, 5):
        assert figures[f"ecg_to_text/r{k}_low"] < figures[f"ecg_to_text/r{k}"] < figures[f"ecg_to_text/r{k}_high"]
    assert "text_to_ecg/r1_low" not in figures


def test_what_belongs_to_nothing_is_refused():
    ecg, text, text_of = world()
    with pytest.raises(UserError, match="text_of must name"):
        retrieval_figures(ecg, text, text_of + 5)
    with pytest.raises(UserError, match="no record"):
        retrieval_figures(ecg[:0], text, text_of[:0])
    with pytest.raises(UserError, match="NaN"):
        retrieval_figures(ecg.clone().fill_(float("inf")), text, text_of)
