"""Few-shot: the draw of the support, each method against a slow reference, and what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.stats import t as student

import ecgclip.evaluation.few_shot as module
from ecgclip.errors import UserError
from ecgclip.evaluation.few_shot import METHODS, SupportPlan, choose_support, few_shot
from ecgclip.evaluation.metrics import auroc, macro, topk
from ecgclip.evaluation.zero_shot import zero_shot_scores

LABELS, DIM = 6, 16


def world(n: int, seed: int, noise: float = 0.6):
    """Records whose vectors are the sum of their labels' directions; text vectors that know these directions poorly."""
    fixed = torch.Generator().manual_seed(99)
    directions = F.normalize(torch.randn(LABELS, DIM, generator=fixed), dim=1)
    text = F.normalize(directions + 0.35 * torch.randn(LABELS, DIM, generator=fixed), dim=1)
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, LABELS, generator=draw) < torch.tensor([0.6, 0.3, 0.3, 0.3, 0.3, 0.02])).to(torch.int8)
    return labels.float() @ directions + noise * torch.randn(n, DIM, generator=draw) / 2, labels, text


def evaluate(pool_seed: int = 0, **changes):
    vectors, labels, text = world(150, pool_seed)
    patients = [f"s{i // 2}" for i in range(150)]
    plan = choose_support(labels, patients, k_max=8, seeds=range(3))
    rows = plan.records
    query, query_labels, _ = world(200, 7)
    arguments = dict(
        support=vectors[rows], support_labels=labels[rows], plan=plan.within_records(),
        query=query, query_labels=query_labels, classes=text,
        support_patients=[patients[i] for i in rows], query_patients=[f"q{i}" for i in range(200)], ks=(1, 2, 8, 16),
    )  # fmt: skip
    return few_shot(**arguments | changes), plan


def test_support_is_distinct_positive_records_on_one_label_set_for_all_k():
    _, labels, _ = world(150, 0)
    labels[3, 1] = -1
    plan = choose_support(labels, range(150), k_max=8, seeds=(4, 9))
    assert plan.labels.tolist() == [0, 1, 2, 3, 4]  # The last has fewer than 8.
    assert plan.indices.shape == (2, 5, 8)
    for draws in plan.indices:
        for label, rows in zip(plan.labels, draws, strict=True):
            assert len(rows.unique()) == 8
            assert (labels[rows, label] == 1).all()
    assert not torch.equal(plan.indices[0], plan.indices[1])
    again = choose_support(labels, range(150), k_max=8, seeds=(9,), label_mask=torch.tensor([0, 1, 0, 1, 1, 1]).bool())
    assert again.labels.tolist() == [1, 3, 4]
    assert torch.equal(again.indices[0], plan.indices[1, [1, 3, 4]])  # A draw is a function of its seed and label.
    smaller = choose_support(labels, range(150), k_max=3, seeds=(9,))
    assert torch.equal(smaller.indices[0, :5], plan.indices[1, :, :3])


def test_support_takes_a_new_patient_before_a_second_record_of_anyone():
    labels = torch.ones(12, 1, dtype=torch.int8)
    patients = ["a"] * 9 + ["b", "c", "d"]
    for seed in range(10):
        rows = choose_support(labels, patients, k_max=6, seeds=(seed,)).indices[0, 0]
        assert {patients[i] for i in rows[:4]} == {"a", "b", "c", "d"}
        assert {patients[i] for i in rows[4:]} == {"a"}


def test_within_records_names_the_same_rows():
    plan = SupportPlan(torch.tensor([0, 2]), torch.tensor([[[9, 4], [4, 30]], [[30, 9], [12, 4]]]))
    assert plan.records.tolist() == [4, 9, 12, 30]
    assert torch.equal(plan.records[plan.within_records().indices], plan.indices)


def test_report_means_and_intervals_over_seeds_of_slow_prototypes():
    report, plan = evaluate()
    vectors, _, text = world(150, 0)
    query, query_labels, _ = world(200, 7)
    used, truth = plan.labels, query_labels[:, plan.labels]
    values = []
    for draw in plan.indices:
        prototypes = torch.stack([torch.stack([vectors[i] / vectors[i].norm() for i in rows[:2]]).mean(0) for rows in draw])
        values.append(topk(zero_shot_scores(query, prototypes), truth, 1).macro)
    half = student.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    expected = (np.mean(values), np.mean(values) - half, np.mean(values) + half)
    key = "prototype/k2/top1_macro"
    assert (report[key], report[f"{key}_low"], report[f"{key}_high"]) == pytest.approx(expected, abs=1e-6)
    zero_shot = zero_shot_scores(query, text[used])
    assert report["zero_shot/k0/auroc_macro"] == pytest.approx(macro(auroc(zero_shot, truth)))
    assert report["zero_shot/k0/top5_macro"] == 1.0  # Five labels in five places.
    assert report["labels"] == 5
    assert {key.split("/")[1] for key in report if "/" in key} == {"k0", "k1", "k2", "k8"}  # 16 is above k_max.
    assert {key.split("/")[0] for key in report if "/k8/" in key} == {"prototype", "linear_probe", "tip_adapter", "tip_adapter_f"}


def test_more_shots_help_and_a_start_from_text_helps_with_few():
    report, _ = evaluate()
    assert report["prototype/k8/auroc_macro"] > report["prototype/k1/auroc_macro"] + 0.05
    assert report["linear_probe/k8/auroc_macro"] > report["zero_shot/k0/auroc_macro"]
    assert report["linear_probe/k1/auroc_macro"] > report["prototype/k1/auroc_macro"] + 0.02


def test_the_probe_starts_at_zero_shot(monkeypatch):
    monkeypatch.setattr(module, "PROBE_STEPS", 0)
    report, _ = evaluate()
    for figure in module.FIGURES:
        assert report[f"linear_probe/k8/{figure}"] == pytest.approx(report[f"zero_shot/k0/{figure}"])


def shots(k: int = 3):
    vectors, labels, text = world(150, 0)
    plan = choose_support(labels, range(150), k_max=k, seeds=range(2))
    states = labels[plan.indices][..., plan.labels]
    return F.normalize(vectors, dim=1)[plan.indices], states, text[plan.labels], F.normalize(world(20, 7)[0], dim=1)


def test_linear_probe_is_the_minimum_of_its_loss():
    x, states, text, query = shots()
    ways, k = x.shape[1:3]
    states[0, 0, 0, 1] = -1
    target = np.arange(ways).repeat(k)
    for scores, rows, state in zip(METHODS["linear_probe"](x, states, text, query), x.flatten(1, 2).double().numpy(), states, strict=True):
        start = np.concatenate((module.PROBE_SCALE * text.double().numpy(), np.zeros((ways, 1))), axis=1)
        inputs = np.concatenate((rows, np.ones((len(rows), 1))), axis=1)
        unknown = (state.flatten(0, 1) == -1).numpy()

        def loss(flat, inputs=inputs, start=start, unknown=unknown):
            weights = flat.reshape(start.shape)
            logits = np.where(unknown, -np.inf, inputs @ weights.T)
            entropy = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(target)), target]
            return entropy.sum() + module.PROBE_PRIOR / 2 * ((weights - start) ** 2).sum()

        solved = minimize(loss, start.ravel(), method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 10**6, "ftol": 1e-14})
        best = solved.x.reshape(start.shape)
        expected = np.concatenate((query.double().numpy(), np.ones((len(query), 1))), axis=1) @ best.T
        np.testing.assert_allclose(scores.numpy(), expected, atol=0.05)  # Of logits that span tens.


def test_tip_adapter_equals_its_formula_term_by_term():
    x, states, text, query = shots()
    for scores, keys in zip(METHODS["tip_adapter"](x, states, text, query), x, strict=True):
        slow = torch.zeros(len(query), len(text))
        for i, q in enumerate(query):
            for j, w in enumerate(text):
                slow[i, j] = 100 * (q @ w) + sum(torch.exp(-5.5 * (1 - q @ s)) for s in keys[j])
        torch.testing.assert_close(scores, slow, rtol=0, atol=1e-4)


def tip_loss(keys, records, states, text):
    """Mean cross entropy of the label drawn for, as the paper writes it: a cache of keys and one-hot values."""
    ways, k = len(text), len(keys) // len(text)
    values = F.one_hot(torch.arange(ways)).repeat_interleave(k, dim=0).double()
    logits = 100 * records @ text.T + torch.exp(-5.5 * (1 - records @ keys.T)) @ values
    return F.cross_entropy(logits.masked_fill(states == -1, -torch.inf), torch.arange(ways).repeat_interleave(k)), logits


def test_tip_adapter_f_equals_autograd_and_adam_of_torch():
    x, states, text, query = shots()
    states[0, 0, 0, 1] = -1
    for scores, records, state in zip(METHODS["tip_adapter_f"](x, states, text, query), x.flatten(1, 2).double(), states, strict=True):
        keys = records.clone().requires_grad_()
        adam = torch.optim.Adam([keys], lr=module.TIP_RATE, eps=module.TIP_EPSILON)
        for _ in range(module.TIP_STEPS):
            adam.zero_grad()
            tip_loss(keys, records, state.flatten(0, 1), text.double())[0].backward()
            adam.step()
        slow = 100 * query.double() @ text.double().T
        slow += torch.exp(-5.5 * (1 - query.double() @ keys.detach().T)).view(len(query), len(text), -1).sum(2)
        torch.testing.assert_close(scores.double(), slow, rtol=0, atol=1e-5)


def test_tip_adapter_f_fits_its_support_better_than_the_cache_as_it_is():
    x, states, text, _ = shots()
    records, state = x[0].flatten(0, 1).double(), states[0].flatten(0, 1)
    tuned = module._tuned_keys(records, state == -1, text.double())
    before, after = (float(tip_loss(keys, records, state, text.double())[0]) for keys in (records, tuned))
    assert after < before - 0.01
    assert not torch.equal(tuned, records)


def test_without_steps_tip_adapter_f_is_tip_adapter(monkeypatch):
    monkeypatch.setattr(module, "TIP_STEPS", 0)
    arguments = shots()
    for trained, cached in zip(METHODS["tip_adapter_f"](*arguments), METHODS["tip_adapter"](*arguments), strict=True):
        torch.testing.assert_close(trained, cached, rtol=0, atol=1e-4)


def test_runs_in_inference_mode_on_low_precision():
    with torch.inference_mode():
        vectors, labels, text = world(150, 0)
        plan = choose_support(labels, range(150), k_max=8)
        query, query_labels, _ = world(50, 7)
        report = few_shot(
            vectors.bfloat16(), labels, plan, query.bfloat16(), query_labels, text.bfloat16(),
            support_patients=range(150), query_patients=range(1000, 1050), ks=(1, 8),
        )  # fmt: skip
    assert np.isfinite(list(report.values())).all()


def test_one_seed_has_no_interval():
    vectors, labels, text = world(150, 0)
    plan = choose_support(labels, range(150), k_max=2, seeds=(0,))
    report = few_shot(
        vectors, labels, plan, vectors[:20], labels[:20], text, support_patients=range(150), query_patients=range(200, 220), ks=(1,)
    )
    assert np.isnan(report["prototype/k1/top1_macro_low"])
    assert np.isfinite(report["prototype/k1/top1_macro"])


def test_no_label_with_enough_records():
    vectors, labels, text = world(150, 0)
    plan = choose_support(labels, range(150), k_max=151)
    assert plan.indices.shape == (5, 0, 151)
    report = few_shot(vectors, labels, plan, vectors, labels, text, support_patients=range(150), query_patients=range(150, 300))
    assert report == {"labels": 0.0}


def test_a_patient_on_both_sides_is_refused():
    with pytest.raises(UserError, match="1 patients are both"):
        evaluate(query_patients=["s0"] + [f"q{i}" for i in range(199)])


@pytest.mark.parametrize("wrong", ["order", "numbering"])
def test_support_rows_that_are_not_the_drawn_ones_are_refused(wrong):
    _, plan = evaluate()
    _, labels, _ = world(150, 0)
    changes = {"plan": plan} if wrong == "numbering" else {"support_labels": labels[plan.records].flip(0)}
    with pytest.raises(UserError, match="lack the label"):
        evaluate(**changes)
