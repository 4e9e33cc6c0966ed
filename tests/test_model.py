"""How the model reads an ECG of any length, and what compiling it leaves alone."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.model import ECGCLIP


def model(**options: Any) -> ECGCLIP:
    torch.manual_seed(0)
    small = {"text_tower_args": {"hidden_size": 16, "layers": 1}, "embed_dim": 8, "ecg_tower_args": {"width": 8, "stem_stride": 4}}
    return ECGCLIP(**(small | options)).eval()


def ecg(seconds: float) -> Tensor:
    return torch.randn(3, 12, round(seconds * 100), generator=torch.Generator().manual_seed(1))


def mean_of(one: ECGCLIP, parts: list[Tensor]) -> Tensor:
    return F.normalize(sum(one.ecg_encoder(part) for part in parts) / len(parts), dim=1)


@torch.no_grad()
def test_windows_are_as_long_as_the_crops_and_the_last_ends_with_the_ecg() -> None:
    one, x = model(), ecg(9)
    expected = mean_of(one, [x[:, :, start : start + 250] for start in (0, 250, 500, 650)])
    torch.testing.assert_close(one.encode_ecg(x), expected)
    overlapping = mean_of(one, [x[:, :, start : start + 250] for start in (0, 125, 250, 375, 500, 625, 650)])
    torch.testing.assert_close(model(window_overlap=0.5).encode_ecg(x), overlapping)


@torch.no_grad()
@pytest.mark.parametrize(("seconds", "starts", "length"), [(10, [0], 1000), (4, [0], 400), (25, [0, 1000, 1500], 1000)])
def test_a_longer_window_reads_a_whole_record_at_once(seconds: float, starts: list[int], length: int) -> None:
    one, x = model(window_seconds=10.0), ecg(seconds)
    torch.testing.assert_close(one.encode_ecg(x), mean_of(one, [x[:, :, start : start + length] for start in starts]))


@torch.no_grad()
def test_an_ecg_shorter_than_the_crops_is_padded_to_them() -> None:
    one, x = model(window_seconds=10.0), ecg(2)
    torch.testing.assert_close(one.encode_ecg(x), mean_of(one, [F.pad(x, (0, 50))]))


def test_windows_shorter_than_the_crops_are_refused() -> None:
    with pytest.raises(UserError, match=r"window_seconds 2.0 is shorter than the crops of training \(2.5 s\)"):
        model(window_seconds=2.0)


def test_logits_are_those_of_the_training() -> None:
    cosines, prior = torch.tensor([[0.5, -0.25]]), torch.tensor([0.5, 0.01])
    plain, adjusted = model(), model(loss_args={"temperature": 0.1, "logit_adjustment": 2.0})
    torch.testing.assert_close(plain.logits(cosines, prior), cosines / 0.07)
    torch.testing.assert_close(adjusted.logits(cosines, prior), 10 * cosines + 2 * prior.log())


@torch.no_grad()
def test_compiling_changes_no_name_and_no_number() -> None:
    one, plain, x = model(compile=True), model(), ecg(5)
    with torch.compiler.set_stance("force_eager"):  # The compiler itself is torch's to test, and takes a minute.
        one.on_fit_start()
        assert one.ecg_encoder.tower._compiled_call_impl is not None
        torch.testing.assert_close(one.encode_ecg(x), plain.encode_ecg(x))
    assert list(one.state_dict()) == list(plain.state_dict())
    plain.on_fit_start()
    assert plain.ecg_encoder.tower._compiled_call_impl is None
