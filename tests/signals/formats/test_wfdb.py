"""WFDB records that the tests write; those of the usual formats are compared with the reference library in test_readers.py."""

from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals import read_record


def ecg(leads: int = 12, length: int = 1000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, (leads, length)).astype(np.float32)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wfdb")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_formats_that_only_old_records_have(scratch: Path, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["8", "61", "160", "310", "311"]))
    frames, per_frame = data.draw(st.integers(30, 200)), data.draw(st.sampled_from([1, 1, 2]))
    skews = data.draw(st.lists(st.sampled_from([0, 0, 2]), min_size=2, max_size=2)) if form != "8" and per_frame == 1 else [0, 0]
    count = frames * 2 * per_frame
    size = {"8": count, "310": -(-count // 3) * 4, "311": -(-count // 3) * 4}.get(form, 2 * count)
    (scratch / "o.dat").write_bytes(b"x" * 7 + np.random.default_rng(data.draw(st.integers(0, 99))).bytes(size))
    gain = {"8": 300, "61": 9000, "160": 9000}.get(form, 200)
    lines = [f"o.dat {form}x{per_frame}:{skew}+7 {gain}(3)/mV 12 0 5 0 0 {lead}" for skew, lead in zip(skews, ("V1", "V2"), strict=True)]
    (scratch / "o.hea").write_text("\n".join([f"o 2 250 {frames}", *lines]) + "\n")
    physical = form in ("61", "160")  # The library gives 61 only in volts, and 8 only in digits.
    record, reference = read_record(scratch / "o"), wfdb.rdrecord(str(scratch / "o"), smooth_frames=False, physical=physical)
    assert record.sampling_rate == 250 * per_frame
    for row, expected in zip(record.signal, reference.e_p_signal if physical else reference.e_d_signal, strict=True):
        if physical:
            np.testing.assert_array_equal(row, expected.astype(np.float32))
            continue
        if form in ("310", "311"):
            expected = (expected + 512) % 1024 - 512  # The library leaves some samples without their sign.
        missing = expected == {"310": -512, "311": -512}.get(form)
        np.testing.assert_array_equal(row, np.where(missing, np.nan, (expected - 3) / gain).astype(np.float32))


@pytest.mark.parametrize("form", ["16", "24", "212", "311"])
def test_a_file_is_read_in_pieces_as_in_one(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 4 * 3001
    size = {"16": 2 * count, "24": 3 * count, "212": -(-count * 3 // 2), "311": -(-count // 3) * 4}[form]
    (tmp_path / "r.dat").write_bytes(b"head" + np.random.default_rng(0).bytes(size))
    scale = {"16": 16, "24": 4096}.get(form, 1)
    lines = [
        f"r.dat {form}+4 {gain * scale}(3)/mV 12 0 5 0 0 {lead}" for gain, lead in ((300, "I"), (9000, "II"), (700, "V1"), (800, "V2"))
    ]
    (tmp_path / "r.hea").write_text("\n".join(["r 4 250 3001", *lines]).replace("/mV 12 0 5 0 0 V1", "/mmHg 12 0 5 0 0 ABP") + "\n")
    whole = read_record(tmp_path / "r").signal
    monkeypatch.setattr("ecgclip.signals.formats.wfdb._AT_ONCE", 500)
    np.testing.assert_array_equal(read_record(tmp_path / "r").signal, whole)
    assert whole.shape == (3, 3001) and np.ptp(whole[2][np.isfinite(whole[2])]) > 0.1


def test_signals_over_several_files_and_rates(tmp_path: Path) -> None:
    one, two = ecg(1, 400), ecg(1, 200, seed=1)
    (tmp_path / "a.dat").write_bytes(np.rint(one * 1000).astype("<i2").tobytes())
    (tmp_path / "b.mat").write_bytes(b" " * 24 + np.rint(two * 500).astype("<i2").tobytes())
    (tmp_path / "m.hea").write_text("m 2 250 200\na.dat 16x2 1000/mV 16 0 0 0 0 II\nb.mat 16+24 500/mV 16 0 0 0 0 Resp\n")
    record = read_record(tmp_path / "m")
    assert (record.lead_names, record.sampling_rate) == (("II",), 500)
    np.testing.assert_allclose(record.signal, one, atol=0.0006)
    (tmp_path / "m.hea").write_text("m 2 250 200\na.dat 16 1000/mV 16 0 0 0 0 II\nb.mat 16+24 500/mV 16 0 0 0 0 Resp\n")
    record = read_record(tmp_path / "m.hea")
    assert (record.lead_names, record.sampling_rate, record.signal.shape) == (("II", "Resp"), 250, (2, 200))
    np.testing.assert_allclose(record.signal, np.concatenate([one[:, :200], two]), atol=0.0011)


def test_segments_are_joined_by_name_and_pauses_are_missing(tmp_path: Path) -> None:
    def segment(name: str, signal: np.ndarray, leads: list[str]) -> None:
        (tmp_path / f"{name}.dat").write_bytes(np.rint(signal * 1000).astype("<i2").T.tobytes())
        lines = [f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in leads]
        (tmp_path / f"{name}.hea").write_text("\n".join([f"{name} {len(leads)} 100 {signal.shape[1]}", *lines]) + "\n")

    signal = ecg(2, 500)
    segment("s1", signal[:, :200], ["I", "II"])
    segment("s2", signal[::-1, 200:], ["II", "I"])
    (tmp_path / "lay.hea").write_text("lay 2 100 0\n~ 0 200/mV 0 0 0 0 0 I\n~ 0 200/mV 0 0 0 0 0 II\n")
    (tmp_path / "m.hea").write_text("m/4 2 100 550\nlay 0\ns1 200\n~ 50\ns2 300\n")
    record = read_record(tmp_path / "m")
    assert record.lead_names == ("I", "II")
    np.testing.assert_allclose(np.delete(record.signal, np.s_[200:250], 1), signal, atol=0.0006)
    assert np.isnan(record.signal[:, 200:250]).all()
    (tmp_path / "m.hea").write_text("m/2 2 100 550\ns1 200\n~ 500000000\n")
    with pytest.raises(UserError, match="promises a signal of 2 x"):
        read_record(tmp_path / "m")
    (tmp_path / "m.hea").write_text("m/1 2 100 550\nm 200\n")
    with pytest.raises(UserError, match="segments of its own"):
        read_record(tmp_path / "m")


def test_channels_of_wfdb_that_are_no_voltage_are_left_out(tmp_path: Path) -> None:
    names = ["ABP", "II", "PLETH", "V5", "RESP"]
    header = tmp_path / "r.hea"
    (tmp_path / "r.dat").write_bytes(np.rint(ecg(5) * 1000).astype("<i2").T.tobytes())
    lines = ["r 5 100 1000", *(f"r.dat 16 1000/mV 16 0 0 0 0 {name}" for name in names)]
    units = {"ABP": "mmHg", "PLETH": "NU", "RESP": "pm"}
    header.write_text(
        "\n".join(next((line.replace("/mV", f"/{unit}") for name, unit in units.items() if name in line), line) for line in lines)
    )
    record = read_record(header)
    assert record.lead_names == ("II", "V5")
    np.testing.assert_allclose(record.signal, ecg(5)[[1, 3]], atol=0.0006)
    # Also where they have a file or a rate of their own, and in one of several segments.
    (tmp_path / "a.dat").write_bytes(np.rint(ecg(1, 400) * 1000).astype("<i2").tobytes())
    (tmp_path / "m.hea").write_text("m 2 250 400\na.dat 16 1000/mV 16 0 0 0 0 II\ngone.dat 16x2 1000/mmHg 16 0 0 0 0 ABP\n")
    assert read_record(tmp_path / "m").lead_names == ("II",)
    (tmp_path / "p.hea").write_text("p 1 250 400\na.dat 16 1000/mmHg 16 0 0 0 0 ABP\n")
    (tmp_path / "s.hea").write_text("s/2 2 250 800\nm 400\np 400\n")
    record = read_record(tmp_path / "s")
    assert record.lead_names == ("II",) and np.isnan(record.signal[0, 400:]).all() and np.isfinite(record.signal[0, :400]).all()
    for name in ("p", "q"):
        (tmp_path / "q.hea").write_text("q/1 1 250 400\np 400\n")
        with pytest.raises(UserError, match=r"^[pq].hea holds no ECG: .*export the ECG's channels$"):
            read_record(tmp_path / name)
