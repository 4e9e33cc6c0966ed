import numpy as np
import pytest
import torch
from scipy.signal import resample_poly, welch
from torch import Tensor

from ecgclip.errors import UserError
from ecgclip.signals.augment import Augmentation, highpass, resample, windows
from ecgclip.signals.leads import LEADS

RATE = 100.0
NOTHING = {"gain": 0.0, "noise_mv": 0.0, "wander_mv": 0.0, "lead_dropout": 0.0}
LI, LII, LIII, AVR, AVL, AVF = (LEADS.index(name) for name in ("I", "II", "III", "aVR", "aVL", "aVF"))


def batch(records: int = 64, samples: int = 1000) -> tuple[Tensor, Tensor, Tensor]:
    ecg = torch.randn(records, 12, samples, generator=torch.Generator().manual_seed(0))
    ecg[:, LIII] = ecg[:, LII] - ecg[:, LI]
    ecg[:, AVR] = -(ecg[:, LI] + ecg[:, LII]) / 2
    ecg[:, AVL] = ecg[:, LI] - ecg[:, LII] / 2
    ecg[:, AVF] = ecg[:, LII] - ecg[:, LI] / 2
    return ecg, torch.ones(records, 12, dtype=torch.bool), torch.arange(records)


def disturbance(samples: int = 1000, records: int = 64, rate: float = RATE, **arguments: float) -> Tensor:
    _, mask, record = batch(records, 10)
    return Augmentation(**(NOTHING | arguments))(torch.zeros(records, 12, samples), mask, record, rate, seed=0, epoch=0)[0]


def test_crops_are_pieces_of_the_record_everywhere_in_it() -> None:
    ecg, mask, record = batch(400)
    ecg[:] = torch.arange(1000.0)
    cropped, kept = Augmentation(2.5, **NOTHING)(ecg, mask, record, RATE, seed=0, epoch=0)
    assert cropped.shape == (400, 12, 250)
    assert kept.all()
    starts = cropped[:, 0, 0]
    assert torch.equal(cropped, (starts[:, None] + torch.arange(250.0))[:, None].expand(-1, 12, -1))
    assert starts.min() < 15
    assert starts.max() > 735
    assert 330 < starts.mean() < 420
    again, _ = Augmentation(2.5, **NOTHING)(ecg, mask, record, RATE, seed=0, epoch=1)
    assert (again[:, 0, 0] != starts).float().mean() > 0.9


@pytest.mark.parametrize("seconds", [None, 10.0, 30.0])
def test_whole_record(seconds: float | None) -> None:
    ecg, mask, record = batch(4)
    assert torch.equal(Augmentation(seconds, **NOTHING)(ecg, mask, record, RATE, seed=0, epoch=0)[0], ecg)


def test_a_record_is_disturbed_the_same_in_any_batch_and_replay() -> None:
    ecg, mask, record = batch()
    augmentation = Augmentation(2.5, lead_dropout=0.5)
    before = ecg.clone()
    whole, kept = augmentation(ecg, mask, record, RATE, seed=3, epoch=2)
    assert torch.equal(ecg, before)
    assert mask.all()
    some = torch.tensor([40, 7, 63])
    alone, kept_alone = augmentation(ecg[some], mask[some], record[some], RATE, seed=3, epoch=2)
    torch.testing.assert_close(alone, whole[some], rtol=0, atol=1e-6)
    assert torch.equal(kept_alone, kept[some])
    for seed, epoch in ((4, 2), (3, 3)):
        other, _ = augmentation(ecg, mask, record, RATE, seed=seed, epoch=epoch)
        assert (other - whole).abs().amax((1, 2)).min() > 0.01


def test_a_second_view_has_draws_of_its_own() -> None:
    ecg, mask, record = batch()
    augmentation = Augmentation(2.5, lead_dropout=0.5)
    first, second, again = (augmentation(ecg, mask, record, RATE, seed=3, epoch=2, view=view) for view in (0, 1, 1))
    assert torch.equal(second[0], again[0]) and torch.equal(second[1], again[1])
    assert torch.equal(first[0], augmentation(ecg, mask, record, RATE, seed=3, epoch=2)[0])
    # Neither crop nor noise nor lost leads of a record say anything about those of its other view.
    flat = [torch.zeros_like(ecg), mask, record, RATE]
    noise = [augmentation(*flat, seed=3, epoch=2, view=view)[0][:, 6].flatten() for view in (0, 1)]
    assert abs(torch.corrcoef(torch.stack(noise))[0, 1]) < 0.2
    ramp = [torch.arange(1000.0).expand(64, 12, 1000), mask, record, RATE]
    starts = [Augmentation(2.5, **NOTHING)(*ramp, seed=3, epoch=2, view=view)[0][:, 0, 0] for view in (0, 1)]
    assert abs(torch.corrcoef(torch.stack(starts))[0, 1]) < 0.35
    assert 0.2 < (first[1].any(1) & (first[1] != second[1]).any(1)).float().mean() < 1


def test_gain_is_one_number_a_record() -> None:
    ecg, mask, record = batch(400, 10)
    out, _ = Augmentation(**(NOTHING | {"gain": 0.1}))(ecg, mask, record, RATE, seed=0, epoch=0)
    gain = out[:, 0, 0] / ecg[:, 0, 0]
    torch.testing.assert_close(out, ecg * gain[:, None, None])
    assert 0.9 <= gain.min() < 0.91
    assert 1.09 < gain.max() <= 1.1


def test_limb_leads_still_obey_einthoven() -> None:
    ecg, mask, record = batch()
    out, kept = Augmentation(2.5, lead_dropout=0.5)(ecg, mask, record, RATE, seed=0, epoch=0)
    all_kept = kept[:, :6].all(1)
    assert 20 < all_kept.sum() < 60
    limbs = out[all_kept]
    torch.testing.assert_close(limbs[:, LI] + limbs[:, LIII], limbs[:, LII], rtol=0, atol=1e-5)
    torch.testing.assert_close(limbs[:, AVR] + limbs[:, AVL] + limbs[:, AVF], torch.zeros_like(limbs[:, 0]), rtol=0, atol=1e-5)
    torch.testing.assert_close(limbs[:, AVL], (limbs[:, LI] - limbs[:, LIII]) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [100.0, 500.0])
def test_noise_has_its_level_and_leads_of_their_own(rate: float) -> None:
    noise = disturbance(samples=int(10 * rate), rate=rate, noise_mv=0.02)
    rms = noise[:, [LI, LII, *range(6, 12)]].square().mean(2).sqrt()
    assert rms.max() < 0.0205
    assert rms.max() > 0.015
    assert rms.mean(1).min() < 0.004  # some records stay clean
    assert abs(np.corrcoef(noise[0, LI].numpy(), noise[0, LII].numpy())[0, 1]) < 0.15
    # Muscle noise: more power above 20 Hz than below it.
    frequency, power = welch(noise[:, 6:].numpy(), rate, nperseg=256)
    mean = power.mean((0, 1))
    assert mean[(frequency > 25) & (frequency < 45)].mean() > 1.1 * mean[(frequency > 1) & (frequency < 5)].mean()


def test_wander_is_slow_and_bounded() -> None:
    wander = disturbance(samples=6000, wander_mv=0.1)
    measured = wander[:, [LI, LII, *range(6, 12)]]
    assert 0.05 < measured.abs().max() <= 0.1
    power = torch.fft.rfft(measured * torch.hann_window(6000)).abs().square().mean((0, 1))
    frequency = torch.fft.rfftfreq(6000, 1 / RATE)
    assert power[frequency > 0.56].sum() < 1e-3 * power.sum()
    assert power[frequency < 0.5].sum() > 0.95 * power.sum()


def test_dropped_leads_are_zero_and_flagged() -> None:
    ecg, mask, record = batch(2000, 5)
    out, kept = Augmentation(lead_dropout=0.3)(ecg, mask, record, RATE, seed=0, epoch=0)
    lost = (~kept).sum(1)
    assert set(lost.tolist()) == {0, 1, 2, 3}
    assert 0.26 < (lost > 0).float().mean() < 0.34
    assert torch.equal((out == 0).all(2), ~kept)
    per_lead = (~kept).float().mean(0)
    assert per_lead.min() > 0.03
    assert per_lead.max() < 0.07


def test_a_lead_always_stays_and_a_missing_one_stays_missing() -> None:
    ecg, mask, record = batch(300, 5)
    present = torch.arange(300) % 4 + 1  # 1 to 4 leads
    mask = torch.arange(12) < present[:, None]
    out, kept = Augmentation(lead_dropout=1.0)(ecg * mask.unsqueeze(2), mask, record, RATE, seed=0, epoch=0)
    assert not (kept & ~mask).any()
    assert kept.any(1).all()
    assert ((mask & ~kept).sum(1)[present > 1] > 0).all()
    assert (out[~kept] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"crop_seconds": 0}, "crop_seconds 0 "),
        ({"crop_seconds": "2.5"}, "crop_seconds '2.5'"),
        ({"gain": 0.2}, "gain 0.2 .* low and high voltage"),
        ({"gain": -0.1}, "gain -0.1"),
        ({"noise_mv": float("nan")}, "noise_mv nan"),
        ({"wander_mv": None}, "wander_mv None"),
        ({"lead_dropout": 1.5}, "lead_dropout 1.5 .* 0 to 1"),
        ({"lead_dropout": True}, "lead_dropout True"),
    ],
)
def test_bad_arguments(arguments: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        Augmentation(**arguments)
    assert "\n" not in str(error.value)


def test_a_crop_without_a_sample() -> None:
    ecg, mask, record = batch(2, 50)
    with pytest.raises(UserError, match="no sample at 100 Hz"):
        Augmentation(0.001)(ecg, mask, record, RATE, seed=0, epoch=0)


@pytest.mark.parametrize(
    ("samples", "length", "stride", "starts"),
    [(10, 4, 2, [0, 2, 4, 6]), (11, 4, 3, [0, 3, 6, 7]), (4, 4, 9, [0]), (9, 4, 9, [0, 5])],
)
def test_windows_cover_the_record(samples: int, length: int, stride: int, starts: list[int]) -> None:
    ecg = torch.arange(float(samples)).expand(2, 12, -1)
    cut = windows(ecg, length, stride=stride)
    assert cut.shape == (2, len(starts), 12, length)
    assert cut[0, :, 0, 0].tolist() == starts
    assert torch.equal(cut[1, -1, 11], ecg[1, 11, -length:])


def test_a_short_record_is_padded() -> None:
    cut = windows(torch.ones(1, 12, 3), 5, stride=2)
    assert cut.shape == (1, 1, 12, 5)
    assert cut[0, 0, 0].tolist() == [1, 1, 1, 0, 0]
    with pytest.raises(UserError, match="at least one sample"):
        windows(torch.ones(1, 12, 3), 5, stride=0)


@pytest.mark.parametrize(
    ("source", "target", "samples"),
    [(500, 100, 2501), (100, 500, 300), (257, 100, 803), (128, 250, 129), (1000, 125, 9)],
)
def test_resample_agrees_with_scipy(source: int, target: int, samples: int) -> None:
    ecg = torch.randn(2, 3, samples, generator=torch.Generator().manual_seed(0)) + 2.0
    wanted = resample_poly(ecg.double().numpy(), target, source, axis=-1, padtype="edge")
    np.testing.assert_allclose(resample(ecg, source, target).numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(resample(ecg.double(), float(source), float(target)).numpy(), wanted, atol=1e-12)


def test_resample_keeps_waves_and_folds_none_back() -> None:
    time = torch.arange(2500.0) / 500
    slow, fast = torch.sin(2 * torch.pi * 10 * time), torch.sin(2 * torch.pi * 90 * time)
    torch.testing.assert_close(resample(slow, 500, 100)[20:-20], slow[::5][20:-20], rtol=0, atol=0.01)
    assert resample(fast, 500, 100)[20:-20].abs().max() < 0.01
    assert resample(slow, 500, 500.0) is slow


@pytest.mark.parametrize("rates", [(0, 100), (100, -1), (float("nan"), 100), (100, 1e9)])
def test_impossible_rates(rates: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="Hz"):
        resample(torch.ones(1, 12, 50), *rates)


def test_highpass_takes_wander_and_leaves_waves() -> None:
    time = torch.arange(1000.0) / RATE
    beat = torch.exp(-(((time % 1.0) - 0.5) ** 2) / 2 / 0.02**2)
    wander = 0.5 + 0.3 * torch.sin(2 * torch.pi * 0.1 * time + 1) + 0.02 * time
    clean, disturbed = highpass(beat, RATE), highpass(beat + wander, RATE)
    assert (disturbed - clean)[100:-100].abs().max() < 0.02
    assert (disturbed - clean).abs().max() < 0.06  # the ends included
    assert torch.equal(clean.reshape(10, 100)[1:-1].argmax(1), torch.full((8,), 50))  # no wave moves
    assert 0.9 < clean[150] - clean[180] < 1.1
    sine = torch.sin(2 * torch.pi * 0.5 * torch.arange(6000.0) / RATE)
    assert highpass(sine, RATE)[2000:4000].abs().max() == pytest.approx(2**-0.5, abs=0.01)
    assert torch.equal(highpass(torch.zeros(2, 12, 333), RATE), torch.zeros(2, 12, 333))


@pytest.mark.parametrize("cutoff", [0, 1.0, float("nan")])
def test_highpass_refuses_to_bend_st_segments(cutoff: float) -> None:
    with pytest.raises(UserError, match=r"0\.67"):
        highpass(torch.ones(1, 12, 100), RATE, cutoff)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_does_the_same() -> None:
    ecg, mask, record = batch()
    augmentation = Augmentation(2.5, lead_dropout=0.5)
    here, kept = augmentation(ecg, mask, record, RATE, seed=3, epoch=2)
    there, kept_there = augmentation(ecg.cuda(), mask.cuda(), record.cuda(), RATE, seed=3, epoch=2)
    assert torch.equal(kept_there.cpu(), kept)
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-3)
    torch.testing.assert_close(resample(ecg.cuda(), 500, 100).cpu(), resample(ecg, 500, 100), rtol=0, atol=5e-3)
    torch.testing.assert_close(highpass(ecg.cuda(), RATE).cpu(), highpass(ecg, RATE), rtol=0, atol=1e-4)
