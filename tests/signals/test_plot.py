import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.plot import plot_ecg

DOTS = 6  # a millimetre
FINDINGS = [("心内膜下傷害(前壁中隔)", 0.91), ("ウェンケバッハ型2度房室ブロック", 0.4), ("RSR'パターン", -0.1)]


def ecg(seconds: float = 10.0, rate: float = 100.0, amplitude: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    beat = amplitude * np.exp(-(((time % 0.8) - 0.4) ** 2) / 2 / 0.015**2)
    return np.stack([beat * (-1 if lead == "aVR" else 1) for lead in LEADS])


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))[..., :3]


def ink(image: np.ndarray) -> np.ndarray:
    return np.asarray((image < 0.4).all(-1))


@pytest.fixture(autouse=True)
def _no_warning() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Glyph ... missing" is one
        yield


def test_page_is_true_to_scale(tmp_path: Path) -> None:
    path = plot_ecg(ecg(), 100.0, title="洞調律", findings=FINDINGS, path=tmp_path / "new folder" / "page.png")
    assert path == tmp_path / "new folder" / "page.png"
    image = pixels(path)
    assert image.shape == (210 * DOTS, 297 * DOTS, 3)
    # Rhythm strip: ten seconds of a beat each 0.8 s are a spike each 20 mm, 10 mm tall.
    grid = image[:, 16 * DOTS : 281 * DOTS]
    strip = ink(grid[134 * DOTS : 166 * DOTS, 12 * DOTS + 60 : 262 * DOTS])
    rows, columns = np.nonzero(strip)
    top = rows.min()
    spikes = np.unique(columns[rows <= top + 6] // (10 * DOTS) * 10)
    assert len(spikes) >= 11
    baseline = np.bincount(rows).argmax()
    assert (baseline - top) / DOTS == pytest.approx(10, abs=0.6)
    first = np.sort(columns[rows <= top + 12])
    gaps = np.diff(first)
    assert np.median(gaps[gaps > DOTS]) / DOTS == pytest.approx(20, abs=1)


def test_all_text_is_in_the_japanese_font(tmp_path: Path) -> None:
    path = plot_ecg(ecg(), 500.0, title="左室肥大、T波増高 $x$ II→III μV ℃", findings=FINDINGS * 4, path=tmp_path / "page.pdf")
    page = path.read_bytes()
    assert b"IPAexGothic" in page
    assert b"DejaVu" not in page


def test_other_figures_keep_their_font(tmp_path: Path) -> None:
    program = f"""
import sys, numpy as np
from pathlib import Path
from ecgclip.signals.plot import plot_ecg
assert "matplotlib" not in sys.modules and "torch" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()
plot_ecg(np.zeros((12, 50)), 10.0, title="洞調律", path=Path({str(tmp_path / "page.png")!r}))
assert "matplotlib.pyplot" not in sys.modules
assert all(matplotlib.rcParams[name] == value for name, value in before.items() if name != "backend")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_findings_and_title_are_written_and_cut(tmp_path: Path) -> None:
    without = pixels(plot_ecg(ecg(), 100.0, path=tmp_path / "a.png"))
    short = pixels(plot_ecg(ecg(), 100.0, findings=FINDINGS[:1], path=tmp_path / "b.png"))
    endless = pixels(plot_ecg(ecg(), 100.0, title="心房細動、" * 200, findings=[("心房細動、" * 50, 12.5)] * 15, path=tmp_path / "c.png"))
    assert not ink(without[: 18 * DOTS]).any()
    below = slice(180 * DOTS, None)
    assert ink(short[below]).any()
    for image in (without, short, endless):  # nothing leaves the margins
        assert not (image[:, : 15 * DOTS] < 0.9).any()
        assert not (image[:, 282 * DOTS :] < 0.9).any()
        assert not (image[: 3 * DOTS] < 0.9).any()
        assert not (image[-3 * DOTS :] < 0.9).any()


def test_a_note_is_written_below_the_grid_and_cut(tmp_path: Path) -> None:
    plain, noted, full = (
        pixels(plot_ecg(ecg(), 100.0, note=note, findings=findings, path=tmp_path / f"{number}.png"))
        for number, (note, findings) in enumerate((("", ()), ("T over 1.2 mV", ()), ("右脚ブロック、" * 100, FINDINGS * 4)))
    )
    below = slice(193 * DOTS, None)
    assert ink(noted[below]).any()
    grid = (abs(plain - noted) > 0).any(-1)[: 170 * DOTS]
    assert grid.mean() < 0.2  # The page above is drawn as before, a little higher.
    for image in (noted, full):  # nothing leaves the margins
        assert not (image[:, : 15 * DOTS] < 0.9).any()
        assert not (image[:, 282 * DOTS :] < 0.9).any()
        assert not (image[-3 * DOTS :] < 0.9).any()


def test_tall_waves_lower_the_gain_and_stay_on_the_grid(tmp_path: Path) -> None:
    def pulse(image: np.ndarray) -> int:
        """The height of the first row's calibration pulse, in pixels."""
        rows = np.nonzero(ink(image[:, (16 + 4) * DOTS : (16 + 7) * DOTS]).all(1))[0]
        foot = np.nonzero(ink(image[:, 17 * DOTS + 3 : 18 * DOTS + 3]).all(1))[0]
        return int(foot[0] - rows[0])

    images = [pixels(plot_ecg(ecg(amplitude=mv), 100.0, path=tmp_path / f"{mv}.png")) for mv in (1.0, 5.0, 50.0)]
    assert [round(pulse(image) / DOTS, 1) for image in images] == [10.0, 5.0, 2.5]
    for image in images:
        assert not ink(image[: 18 * DOTS]).any()  # above the grid


def test_missing_leads_say_so(tmp_path: Path) -> None:
    mask = np.array([lead != "V1" for lead in LEADS])
    signal = ecg()
    gone = np.where(mask[:, None], signal, np.nan)
    drawn, by_mask, by_nan = (
        pixels(plot_ecg(x, 100.0, lead_mask=m, path=tmp_path / f"{i}.png"))
        for i, (x, m) in enumerate(((signal, None), (signal, mask), (gone, None)))
    )
    assert np.array_equal(by_mask, by_nan)
    changed = np.nonzero((drawn != by_mask).any(-1))
    # V1 is the third piece of the first row: nothing else changed.
    assert changed[1].min() / DOTS >= 28 + 124
    assert changed[1].max() / DOTS <= 28 + 188
    assert changed[0].max() / DOTS < 70


@pytest.mark.parametrize(("seconds", "rate"), [(0.5, 100.0), (2.5, 257.0), (7.0, 1000.0), (60.0, 250.0)])
def test_any_length_and_rate(seconds: float, rate: float, tmp_path: Path) -> None:
    signal = ecg(seconds, rate)
    signal[3, : len(signal[3]) // 3] = np.nan
    signal[4, 5] = np.inf
    signal[5] = 0.0
    assert plot_ecg(signal, rate, path=tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("signal", "rate", "name", "says"),
    [
        (np.zeros((8, 100)), 100.0, "a.png", r"shape \(8, 100\)"),
        (np.zeros((12, 1)), 100.0, "a.png", "shape"),
        (np.zeros((12, 100)), 0.0, "a.png", "0.0 Hz"),
        (np.zeros((12, 100)), 100.0, "a.docx", r"\.png"),
    ],
)
def test_bad_input(signal: np.ndarray, rate: float, name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        plot_ecg(signal, rate, path=tmp_path / name)
