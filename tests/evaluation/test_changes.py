import pytest
import torch

from ecgclip.evaluation.changes import DRIFTS, LEAD_SETS, keep_leads
from ecgclip.signals.leads import LEADS


@pytest.fixture
def batch():
    ecg = torch.randn(3, 12, 1000, generator=torch.Generator().manual_seed(0))
    return {"ecg": ecg, "lead_mask": torch.ones(3, 12, dtype=torch.bool), "record": torch.arange(3), "sampling_rate": 100.0}


@pytest.mark.parametrize("count", LEAD_SETS)
def test_leads_that_go_are_zero_and_marked(batch, count):
    changed = keep_leads(LEAD_SETS[count])(batch)
    kept = torch.tensor([lead in LEAD_SETS[count] for lead in LEADS])
    assert int(kept.sum()) == count
    assert torch.equal(changed["lead_mask"], kept.expand(3, 12))
    assert torch.equal(changed["ecg"][:, kept], batch["ecg"][:, kept])
    assert not changed["ecg"][:, ~kept].any()


def test_a_lead_that_was_missing_stays_missing(batch):
    batch["lead_mask"][0, 0] = False
    assert not keep_leads(["I", "II"])(batch)["lead_mask"][0, 0]


@pytest.mark.parametrize("name", DRIFTS)
def test_a_drift_changes_the_ecg_the_same_way_for_everyone(batch, name):
    before = batch["ecg"].clone()
    changed, again = DRIFTS[name](batch), DRIFTS[name](batch)
    assert torch.equal(batch["ecg"], before)
    assert torch.equal(changed["ecg"], again["ecg"])
    assert changed["ecg"].shape != before.shape or not torch.equal(changed["ecg"], before)
    assert changed["ecg"].shape[2] / changed["sampling_rate"] == (5 if name == "seconds5" else 10)
    alone = DRIFTS[name]({key: value[1:2] if isinstance(value, torch.Tensor) else value for key, value in batch.items()})
    assert torch.allclose(alone["ecg"], changed["ecg"][1:2], atol=1e-5)
