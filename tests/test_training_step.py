"""One training step of the whole model: its terms, and batches larger than the memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from data_modules import SimulatedDataModule
from ecgclip.errors import UserError
from ecgclip.losses import LOSSES, nt_xent
from ecgclip.model import ECGCLIP

pytestmark = pytest.mark.filterwarnings("ignore:.*self.log.*")
PLAIN = "tests.towers.test_parts.Plain"  # Without batch norm.


def model(**options: Any) -> ECGCLIP:
    torch.manual_seed(0)
    small = {"text_tower_args": {"hidden_size": 16, "layers": 1, "dropout": 0.0}, "embed_dim": 8}
    return ECGCLIP(**({"ecg_tower": PLAIN} | small | options)).train()


def training_batch(**options: Any) -> dict[str, Any]:
    data = SimulatedDataModule(**({"train": 24, "val": 1, "test": 1, "batch_size": 12} | options))
    data.setup()
    batch = next(iter(data.train_dataloader()))
    given = batch["ecg"].float() / 1000, batch["lead_mask"], batch["record"], 100.0
    batch["ecg"], batch["lead_mask"] = data.augmentation(*given, seed=0, epoch=0)
    batch["second_ecg"], batch["second_lead_mask"] = data.augmentation(*given, seed=0, epoch=0, view=1)
    return batch


def gradients(one: ECGCLIP, batch: dict[str, Any]) -> dict[str, Tensor]:
    one.zero_grad()
    loss = one.training_step(batch, 0)
    loss.backward()
    return {"loss": loss.detach()} | {name: p.grad.clone() for name, p in one.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("caption", ["label", "joined"])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_both_towers_on_a_real_batch(name: str, caption: str) -> None:
    batch = training_batch(caption=caption)
    options = {"loss": name, "loss_args": {"logit_adjustment": 0.5, "hard_negatives": 0.1}}
    wrong = {("infonce", "label"): "caption joined", ("label_prompt", "joined"): "caption label"}.get((name, caption))
    if wrong:
        with pytest.raises(UserError, match=wrong):
            gradients(model(**options), batch)
        return
    found = gradients(model(**options), batch)
    assert all(value.isfinite().all() for value in found.values())
    for part in ("ecg_encoder.tower.layers.0.weight", "ecg_encoder.projection.weight", "text_projection.weight", "loss.log_scale"):
        assert found[part].abs().sum() > 0, part
    assert any(part.startswith("text_tower.") and value.abs().sum() > 0 for part, value in found.items())


@pytest.mark.parametrize("unimodal", [0.0, 0.5])
def test_micro_batches_have_the_gradients_of_the_batch(unimodal: float) -> None:
    batch = training_batch(caption="joined")
    whole = gradients(model(unimodal=unimodal), batch)
    parts = gradients(model(unimodal=unimodal, micro_batch=5), batch)
    torch.testing.assert_close(parts, whole, rtol=2e-3, atol=2e-5)
    assert whole["ecg_encoder.tower.layers.0.weight"].abs().max() > 1e-3


def test_the_unimodal_term_is_added_with_its_weight_and_reaches_the_tower_through_its_own_head() -> None:
    batch = training_batch()
    plain, both = model(), model(unimodal=0.3)
    both.load_state_dict(plain.state_dict(), strict=False)
    before, after = gradients(plain, batch), gradients(both, batch)
    with torch.no_grad():
        views = [both.ecg_encoder.tower(batch[f"{name}ecg"], batch[f"{name}lead_mask"]) for name in ("", "second_")]
        term = nt_xent(*map(both.unimodal_head, views))
    assert after["loss"].item() == pytest.approx(before["loss"].item() + 0.3 * term.item(), rel=1e-5)
    assert set(after) - set(before) == {f"unimodal_head.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    moved = {name for name in before if not torch.allclose(before[name], after[name], rtol=1e-4, atol=1e-6)} - {"loss"}
    assert moved and all(name.startswith("ecg_encoder.tower.") for name in moved)


def test_members_learn_each_by_its_own_loss_and_read_together() -> None:
    batch = training_batch()
    both = model(members=2)
    assert not both.encoders[0].projection.weight.equal(both.encoders[1].projection.weight)
    found = gradients(both, batch)
    alone = []
    for encoder in both.encoders:
        one = model()
        one.load_state_dict(
            {name: value for name, value in both.state_dict().items() if not name.startswith(("ecg_enc", "further"))}, strict=False
        )
        one.ecg_encoder.load_state_dict(encoder.state_dict())
        alone.append(gradients(one, batch))
    for name, value in alone[0].items():
        if not name.startswith("ecg_encoder."):  # What they share has the mean of both.
            torch.testing.assert_close(found[name], (value + alone[1][name]) / 2, rtol=1e-4, atol=1e-6)
    for prefix, own in (("ecg_encoder", alone[0]), ("further_encoders.0", alone[1])):
        for name in ("tower.layers.0.weight", "projection.weight"):
            torch.testing.assert_close(found[f"{prefix}.{name}"], own[f"ecg_encoder.{name}"] / 2, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        first, second = (encoder.read(batch["ecg"]) for encoder in both.eval().encoders)
        torch.testing.assert_close(both.encode_ecg(batch["ecg"]), torch.nn.functional.normalize(first + second, dim=1))


def test_without_a_second_view_it_says_what_to_set() -> None:
    batch = training_batch()
    del batch["second_ecg"]
    with pytest.raises(UserError, match="second_view"):
        model(unimodal=0.5).training_step(batch, 0)


def test_batch_norm_is_counted_once_a_part() -> None:
    one = model(ecg_tower="resnet18", ecg_tower_args={"width": 8, "stem_stride": 4}, micro_batch=5)
    gradients(one, training_batch())
    counts = {int(value) for name, value in one.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {3}


@pytest.mark.parametrize(
    ("options", "found"), [({"unimodal": -1.0}, "unimodal -1.0"), ({"members": 0}, "members 0"), ({"micro_batch": 0}, "micro_batch 0")]
)
def test_what_is_refused(options: dict[str, Any], found: str) -> None:
    with pytest.raises(UserError, match=found):
        model(**options)
