"""Each loss against its formula, term by term, with every option on and off."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.losses import LOSSES, InfoNCE, JaccardSigLIP, LabelPrompt, MultiPositive, Pairs, SigLIP, nt_xent
from tests.losses.reference import CASES, OPTIONS, build, draw, slow

BOTH = OPTIONS["both"]


def double(pairs: Pairs) -> Pairs:
    assert pairs.prior is not None
    return pairs._replace(ecg=pairs.ecg.double(), text=pairs.text.double(), prior=pairs.prior.double())


def pairs_of(similarities: Tensor, positives: Tensor, **more: Tensor) -> Pairs:
    texts = similarities.shape[1]
    return Pairs(similarities, torch.eye(texts), torch.arange(texts), positives, torch.ones_like(positives), **more)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("case", CASES)
def test_equals_its_formula_term_by_term(case: str, options: str) -> None:
    name, arguments, mode = CASES[case]
    for seed in range(3):
        pairs = draw(mode, seed)
        expected = slow(name, double(pairs), **(arguments | OPTIONS[options]))
        assert build(case, **OPTIONS[options])(pairs).item() == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_the_formula(case: str) -> None:
    # What the formula holds fixed, the weights of hard negatives and soft targets, must carry no gradient here.
    name, arguments, mode = CASES[case]
    pairs = draw(mode)
    ecg, text = pairs.ecg.clone().requires_grad_(), pairs.text.clone().requires_grad_()
    build(case, **BOTH)(pairs._replace(ecg=ecg, text=text)).backward()
    assert ecg.grad is not None and text.grad is not None
    options, step = arguments | BOTH, 1e-5
    here = double(pairs)
    for gradient, field in ((ecg.grad, "ecg"), (text.grad, "text")):
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1)).double()
        moved = [slow(name, here._replace(**{field: getattr(here, field) + sign * step * direction}), here, **options) for sign in (1, -1)]
        assert (gradient.double() * direction).sum().item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("options", [{}, BOTH], ids=["plain", "both"])
@pytest.mark.parametrize("case", CASES)
def test_an_unknown_pair_is_neither_positive_nor_negative(case: str, options: dict[str, float]) -> None:
    pairs = draw(CASES[case][2], free=True)
    similarities = pairs.ecg.clone().requires_grad_()
    loss = build(case, **options)
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
    pairs = draw("label")
    assert not pairs.positives[2].any()
    loss = MultiPositive(temperature=1.0)
    without = torch.arange(len(pairs.ecg)) != 2
    smaller = Pairs(pairs.ecg[without], pairs.text, pairs.text_ids, pairs.positives[without], pairs.known[without])
    assert loss(pairs).item() > loss(smaller).item()  # It has no term of its own; the texts have one thing more to tell apart.
    nothing_known = pairs.known & without.unsqueeze(1)
    assert loss(pairs._replace(known=nothing_known)).item() == pytest.approx(loss(smaller).item(), rel=1e-6)


@pytest.mark.parametrize("case", [case for case, (name, _, mode) in CASES.items() if mode == "label"])
@pytest.mark.parametrize("options", [{}, BOTH], ids=["plain", "both"])
@pytest.mark.parametrize("known", [True, False])
def test_a_batch_without_positives_is_finite(case: str, options: dict[str, float], known: bool) -> None:
    pairs = draw("label")
    nothing = torch.zeros_like(pairs.positives)
    ecg = pairs.ecg.clone().requires_grad_()
    empty = pairs._replace(ecg=ecg, positives=nothing, labels=nothing, known=torch.full_like(nothing, known))
    value = build(case, **options)(empty)
    value.backward()
    assert value.isfinite()
    assert ecg.grad is not None and ecg.grad.isfinite().all()
    assert (value.item() == 0) == (CASES[case][0] in ("multi_positive", "soft") or not known)


@pytest.mark.parametrize("case", CASES)
def test_nothing_overflows_where_everything_is_far_or_near(case: str) -> None:
    pairs = draw(CASES[case][2], free=True)
    loss: Any = build(case, logit_adjustment=2.0, hard_negatives=1.0)
    with torch.no_grad():
        loss.log_scale.fill_(math.log(100))
    for sign in (1.0, -1.0):
        similarities = (sign * (pairs.positives.float() * 2 - 1)).requires_grad_()
        loss(pairs._replace(ecg=similarities, prior=torch.tensor([1.0, *[1e-6] * (pairs.text.shape[0] - 1)]))).backward()
        assert similarities.grad is not None and similarities.grad.isfinite().all()


def test_equal_texts_are_one_positive_set_or_rivals() -> None:
    # Records 0 and 1 have one text, record 2 another; all fit perfectly.
    positives = torch.tensor([[1, 0], [1, 0], [0, 1]]).bool()
    perfect = pairs_of(positives.float() * 2 - 1, positives)
    # The text is spread over both of its records, log 2 each, which is the least that there is; a record has one text: 0.
    assert MultiPositive(temperature=0.01)(perfect).item() == pytest.approx((math.log(2) / 2 + 0) / 2, abs=1e-5)
    # In the paper's form each of both takes the other's equal text for a negative, in both directions.
    assert InfoNCE(temperature=0.01)(perfect).item() == pytest.approx(math.log(2) * 2 / 3, abs=1e-5)


def test_jaccard_of_equal_disjoint_and_overlapping_sets() -> None:
    ecg = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    text = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]).bool()
    similarities = torch.zeros(2, 4, requires_grad=True)
    pairs = pairs_of(similarities, torch.zeros(2, 4).bool(), labels=ecg, text_labels=text)
    JaccardSigLIP(temperature=1.0, bias=0.0)(pairs).backward()
    # The slope of each at z = 0 is (1/2 - J) / B: J = 1, 1/3, 0 and 0; then 0, 0, 0 and left out.
    wanted = torch.tensor([[-0.5, 0.5 - 1 / 3, 0.5, 0.5], [0.5, 0.5, 0.5, 0.0]]) / 2
    torch.testing.assert_close(similarities.grad, wanted)


def test_label_prompt_starts_at_the_prevalences() -> None:
    # Cosines of zero predict how frequent each label is, so that nothing pulls a label up or down as a whole; siglip's one bias cannot.
    positives = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]).bool()
    slopes = {}
    for loss in (LabelPrompt(), SigLIP()):
        similarities = torch.zeros(8, 3, requires_grad=True)
        pairs = pairs_of(similarities, positives, text_labels=torch.eye(3).bool(), prior=positives.float().mean(0))
        loss(pairs).backward()
        assert similarities.grad is not None
        slopes[type(loss)] = similarities.grad.sum(0).abs() / similarities.grad.abs().sum(0)
    assert slopes[LabelPrompt].max() < 1e-5
    assert slopes[SigLIP].min() > 0.5


def test_hard_negatives_weigh_more_and_keep_their_mean() -> None:
    positives = torch.tensor([[True, False, False, False]])
    gradients = []
    for beta in (0.0, 0.5, 5.0):
        similarities = torch.tensor([[0.0, 0.5, 0.0, -0.5]], requires_grad=True)
        SigLIP(temperature=1.0, bias=0.0, hard_negatives=beta)(pairs_of(similarities, positives)).backward()
        assert similarities.grad is not None
        gradients.append(similarities.grad[0])
    weights = [gradient / gradients[0] for gradient in gradients]
    for weight in weights:
        assert weight[0] == 1 and weight[1:].mean() == pytest.approx(1, rel=1e-5)
    assert weights[1][1] > 1 > weights[1][3]
    assert weights[2][1] > 2.5


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("temperature", [0.02, 0.07, 1.0])
def test_scale_starts_at_one_over_temperature_and_is_learned(name: str, temperature: float) -> None:
    loss: Any = LOSSES[name](temperature=temperature)
    assert loss.scale.item() == pytest.approx(1 / temperature, rel=1e-5)
    loss(draw("joined" if name == "infonce" else "label")).backward()
    assert all(parameter.grad is not None and parameter.grad != 0 for parameter in loss.parameters())


@pytest.mark.parametrize("name", ["infonce", "multi_positive", "soft"])
def test_scale_that_is_not_learned_stays(name: str) -> None:
    loss: Any = LOSSES[name](learn_temperature=False)
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert loss.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_scale_stops_at_100_and_can_come_back(name: str) -> None:
    loss: Any = LOSSES[name]()
    with torch.no_grad():
        loss.log_scale.fill_(8.0)
    assert loss.scale.item() == pytest.approx(100, rel=1e-5)
    # Every positive is the farthest of its row and column, so a lower scale is a lower loss.
    one = torch.eye(4).bool()
    wrong = pairs_of(1 - 2 * torch.eye(4), one, labels=one, text_labels=one, prior=torch.full((4,), 0.25))
    optimizer = torch.optim.AdamW(loss.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss(wrong).backward()
        optimizer.step()
    assert loss.scale.item() < 60


@pytest.mark.parametrize("case", CASES)
def test_bf16_autocast_computes_the_loss_in_fp32(case: str) -> None:
    pairs = draw(CASES[case][2])
    vectors = pairs._replace(ecg=pairs.ecg.bfloat16(), text=pairs.text.bfloat16())
    loss: Any = build(case, **BOTH)
    with torch.no_grad():
        loss.log_scale.fill_(math.log(100))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(vectors)
    assert value.dtype == torch.float32
    assert value.isfinite()
    same = loss(vectors._replace(ecg=vectors.ecg.float(), text=vectors.text.float()))
    assert value.item() == pytest.approx(same.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("infonce", {"temperature": 0.0}, "temperature 0.0 must be a number above 0"),
        ("siglip", {"temperature": -1.0}, "temperature -1.0"),
        ("multi_positive", {"logit_adjustment": -0.5}, "logit_adjustment -0.5 must be a number of at least 0"),
        ("jaccard_siglip", {"hard_negatives": "1"}, "hard_negatives '1'"),
        ("soft", {"targets": "some"}, "'some' is not one of labels, texts"),
        ("soft", {"target_temperature": 0}, "target_temperature 0 "),
        ("label_prompt", {"balance": -1.0}, "balance -1.0"),
        ("label_prompt", {"focal": math.nan}, "focal nan"),
    ],
)
def test_bad_arguments_are_one_line(name: str, arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(UserError, match=found) as error:
        LOSSES[name](**arguments)
    assert f"loss {name}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("row", [[True, True], [False, False]])
def test_infonce_takes_one_text_per_ecg_and_names_both_ways_out(row: list[bool]) -> None:
    with pytest.raises(UserError, match=r"--data.caption joined .* --model.loss multi_positive") as error:
        InfoNCE()(pairs_of(torch.zeros(2, 2), torch.tensor([row, [True, False]])))
    assert f"an ECG has {sum(row)}" in str(error.value) and "\n" not in str(error.value)


def test_label_prompt_takes_single_labels_and_names_both_ways_out() -> None:
    with pytest.raises(UserError, match=r"--data.caption label.* --model.loss siglip") as error:
        LabelPrompt()(draw("joined"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "arguments", "lacks"),
    [
        ("soft", {}, "labels"),
        ("soft", {}, "text_labels"),
        ("jaccard_siglip", {}, "labels"),
        ("jaccard_siglip", {}, "text_labels"),
        ("label_prompt", {}, "text_labels"),
        ("label_prompt", {}, "prior"),
        ("label_prompt", {"logit_adjustment": 0.0, "balance": 1.0}, "prior"),
        ("siglip", {"logit_adjustment": 1.0}, "prior"),
        ("multi_positive", {"logit_adjustment": 1.0}, "prior"),
    ],
)
def test_a_field_that_is_missing_is_one_line(name: str, arguments: dict[str, float], lacks: str) -> None:
    with pytest.raises(UserError, match=rf"loss {name}.* needs Pairs\.{lacks}, .*data module") as error:
        LOSSES[name](**arguments)(draw("label")._replace(**{lacks: None}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["multi_positive", "siglip"])
def test_a_batch_without_labels_is_enough_for_the_plain_losses(name: str) -> None:
    pairs = draw("label")
    assert LOSSES[name]()(Pairs(*pairs[:5])).item() == LOSSES[name]()(pairs).item()


def test_two_views_against_simclr_term_by_term() -> None:
    make = torch.Generator().manual_seed(0)
    first, second = (torch.randn(5, 3, generator=make) * 3 for _ in range(2))
    views = F.normalize(torch.cat((first, second)).double(), dim=1).tolist()
    total = 0.0
    for i, view in enumerate(views):
        powers = [math.exp(sum(a * b for a, b in zip(view, other, strict=True)) / 0.1) for other in views]
        total += -math.log(powers[(i + 5) % 10] / (sum(powers) - powers[i]))
    assert nt_xent(first, second).item() == pytest.approx(total / 10, rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nt_xent(first, second).item() == pytest.approx(total / 10, rel=1e-5)
