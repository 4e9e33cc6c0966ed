import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals import LEADS, Record, read_record
from ecgclip.signals.path import SignalPath


def ecg(leads: int = 12, length: int = 1000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, (leads, length)).astype(np.float32)


def write(folder: Path, signal: np.ndarray, *, names: list[str] | None = None, units: str = "mV", fmt: str = "16", **more: Any) -> Path:
    count = len(signal)
    options: dict[str, Any] = {"adc_gain": [1000.0] * count, "baseline": [0] * count} | more
    wfdb.wrsamp(
        "r", 100, [units] * count, names or list(LEADS), signal.T.astype(float), fmt=[fmt] * count, write_dir=str(folder), **options
    )
    return folder / "r"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wfdb")


# --- reading -------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_wfdb_record_is_read_as_the_reference_library_reads_it(scratch: Path, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))  # FLAC holds no more.
    fmt = data.draw(st.sampled_from(["16", "16", "16", "212", "24", "32", "80", "508", "516", "524"]))
    limit = {"212": 2000, "80": 120, "508": 120}.get(fmt, 32000)
    digital = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-limit, limit, (data.draw(st.integers(20, 300)), count))
    digital[0, 0] = data.draw(st.sampled_from([0, -32768])) if fmt == "16" else 0
    gains = data.draw(st.lists(st.floats(limit / 10, 2 * limit), min_size=count, max_size=count))
    baselines = data.draw(st.lists(st.integers(-100, 100), min_size=count, max_size=count))
    names = data.draw(st.permutations(LEADS))[:count]
    rate = data.draw(st.sampled_from([100, 250, 257.5, 500]))
    wfdb.wrsamp(
        "p", rate, ["mV"] * count, names, d_signal=digital, fmt=[fmt] * count, adc_gain=gains, baseline=baselines, write_dir=str(scratch)
    )
    record, reference = read_record(scratch / "p"), wfdb.rdrecord(str(scratch / "p"))
    np.testing.assert_array_equal(record.signal, reference.p_signal.T.astype(np.float32))
    assert (record.sampling_rate, record.lead_names) == (reference.fs, tuple(names))


@pytest.mark.parametrize("ending", ["", ".hea", ".dat"])
def test_wfdb_by_any_of_its_names(tmp_path: Path, ending: str) -> None:
    signal = ecg()
    record = read_record(f"{write(tmp_path, signal)}{ending}")
    np.testing.assert_allclose(record.signal, signal, atol=0.0006)
    assert record.signal.dtype == np.float32
    assert (record.patient, record.source) == ("", "wfdb")


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1e-3), ("V", 1e3), ("mv", 1), ("µV", 1e-3)])
def test_units_become_millivolts(tmp_path: Path, unit: str, factor: float) -> None:
    path = write(tmp_path, ecg(), units="mV")
    header = path.with_suffix(".hea")
    header.write_text(header.read_text().replace("1000.0(0)/mV", f"{1000 * factor}(0)/{unit}"), "latin-1")
    np.testing.assert_allclose(read_record(path).signal, ecg(), atol=0.0006)


def test_a_wrong_unit_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, ecg())
    header = path.with_suffix(".hea")
    header.write_text(header.read_text().replace("/mV", "/V"))
    with pytest.raises(UserError, match=r"^r.hea spans .* mV in its middle lead: check the unit"):
        read_record(path)


@pytest.mark.parametrize("ending", ["", ".mat", ".hea"])
def test_a_record_of_cinc_with_age_and_sex_and_nothing_else_of_its_comments(tmp_path: Path, ending: str) -> None:
    name = "A0001.mat" if ending == "" else "A0001"
    lines = [f"{name}.mat 16+24 1000/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    about = ["#Age: 93", "# Sex: Female", "#Dx: 426783006", "# Name: YAMADA Hanako 0012345"]
    (tmp_path / f"{name}.hea").write_text("\n".join([f"{name} 12 100 1000 10:00:00 01/02/2014", *lines, *about]))
    (tmp_path / f"{name}.mat").write_bytes(b" " * 24 + np.rint(ecg() * 1000).astype("<i2").T.tobytes())
    record = read_record(tmp_path / f"{name}{ending}", salt="s")
    np.testing.assert_allclose(record.signal, ecg(), atol=0.0006)
    assert (record.age, record.sex, record.year, record.patient) == (90, "F", 2014, "")
    assert "YAMADA" not in repr(record) and "12345" not in repr(record)


def test_what_a_file_holds_says_what_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.dcm", signal=ecg(), sampling_rate=100)
    (tmp_path / "a.dcm.npz").rename(tmp_path / "a.dcm")
    assert read_record(tmp_path / "a.dcm").source == "npz"
    write(tmp_path, ecg()).with_suffix(".hea").rename(tmp_path / "r.txt")
    assert read_record(tmp_path / "r.txt").source == "wfdb"


def test_a_small_file_that_promises_much_takes_no_memory(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("signal.npy", "w") as member:
        for _ in range(100):
            member.write(bytes(1 << 20))
    with pytest.raises(UserError, match="would become 105 MB"):
        read_record(path)
    head = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (12, 99999999999), }".ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(head)
    with pytest.raises(UserError, match="promises an array"):
        read_record(tmp_path / "a.npy", sampling_rate=500)
    (tmp_path / "r.dat").write_bytes(bytes(100))
    (tmp_path / "r.hea").write_text("r 1 100 99999999999999\nr.dat 16 1000/mV 16 0 0 0 0 I\n")
    with pytest.raises(UserError, match="breaks off"):
        read_record(tmp_path / "r")
    (tmp_path / "r.hea").write_text("r 1 100 999999999\nr.dat 516 1000/mV 16 0 0 0 0 I\n")
    with pytest.raises(UserError, match="promises a signal of 1 x"):
        read_record(tmp_path / "r")


@pytest.mark.parametrize("turned", [False, True])
def test_numpy_arrays_either_way_round(tmp_path: Path, turned: bool) -> None:
    signal = ecg(length=500)
    np.save(tmp_path / "a.npy", signal.T if turned else signal)
    np.savez(tmp_path / "a.npz", signal=signal.T if turned else signal, sampling_rate=250)
    one, two = read_record(tmp_path / "a.npy", sampling_rate=250), read_record(tmp_path / "a.npz")
    for record in (one, two):
        np.testing.assert_array_equal(record.signal, signal)
        assert (record.sampling_rate, record.lead_names) == (250, LEADS)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_no_file_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([[_Bomb()]], object), allow_pickle=True)
    np.savez("b.npz", signal=np.array([[_Bomb()]], object), sampling_rate=100)
    Path("c.npy").write_bytes(pickle.dumps(_Bomb()))
    for path, rate in (("a.npy", 100), ("b.npz", None), ("c.npy", 100)):
        with pytest.raises(UserError, match="save it again as plain numbers"):
            read_record(path, sampling_rate=rate)
    assert not Path("exploded").exists()


def _truncated(folder: Path) -> Path:
    path = write(folder, ecg())
    os.truncate(path.with_suffix(".dat"), 812 * 24)
    return path


def _without_data(folder: Path) -> Path:
    path = write(folder, ecg())
    path.with_suffix(".dat").unlink()
    return path


def _without_header(folder: Path) -> Path:
    path = write(folder, ecg())
    path.with_suffix(".hea").unlink()
    return path.with_suffix(".dat")


def _header(old: str, new: str) -> Any:
    def make(folder: Path) -> Path:
        header = write(folder, ecg()).with_suffix(".hea")
        text = header.read_text()
        assert old in text
        header.write_text(text.replace(old, new))
        return header

    return make


def _npz(**arrays: Any) -> Any:
    def make(folder: Path) -> Path:
        np.savez(folder / "n.npz", **arrays)
        return folder / "n.npz"

    return make


def _text(name: str, text: str = "") -> Any:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_truncated, r"^r.dat breaks off after 812 of 1000 samples: copy it again$"),
        (_without_data, r"r.dat does not exist, but r.hea names it"),
        (_without_header, r"^r.hea is not beside r.dat"),
        (_header("r.dat 16", "../r.dat 16"), "r.hea names a file in another folder: only files beside it"),
        (_header("1000.0(0)/mV", "1e-300(0)/mV"), r"gain 1e-300 is not possible"),
        (_header("1000.0(0)/mV", "0(0)/mV"), r"gain 0 means that the amplitude is unknown"),
        (_header("/mV", "/mmHg"), r"the unit mmHg of a lead is not a voltage"),
        (_header("/mV", "/Yamada4711"), r"the unit of a lead is not a voltage"),
        (_header("r 12 100 1000", "r/2 12 100 1000"), r"r.dat.hea does not exist, but r.hea names it"),
        (_header("r 12 100 1000", "r 13 100 1000"), r"not a WFDB header"),
        (_header("r 12 100 1000", "r 12 0 1000"), r"sampling rate 0 Hz is not possible"),
        (_header(" V6", " V5"), r"holds V5 more than once"),
        (_header("16 1000", "99 1000"), r"^r.hea stores signals in format 99: known are 8, 16,"),
        (_text("x.hea", "# only a comment"), r"not a WFDB header"),
        (_text("x.pdf"), r"known are WFDB, NumPy .*MFER"),
        (lambda folder: folder / "none.npz", r"none.npz does not exist: check the path$"),
        (lambda folder: folder / "none.hea", r"none.hea does not exist: check the path$"),
        (lambda folder: folder / "none", r"does not exist \(nor a WFDB record of that name\)"),
        (lambda folder: folder, r"is a folder"),
        (_npz(signal=ecg()), r"holds no 'sampling_rate'"),
        (_npz(signal=ecg(), sampling_rate=[100, 200]), r"sampling_rate is not one number"),
        (_npz(signal=ecg(), sampling_rate=float("nan")), r"sampling rate nan Hz"),
        (_npz(signal=ecg(10), sampling_rate=100), r"shape \(10, 1000\): numbers in mV of shape \(12, T\)"),
        (_npz(signal=ecg(2), sampling_rate=100, lead_names=["MLII", "Resp"]), r"no channel has the name"),
        (_npz(signal=ecg(2), sampling_rate=100, lead_names=[1, 2]), r"lead_names is not a list of texts"),
        (_text("x.npz", "not a zip"), r"x.npz cannot be read"),
    ],
)
def test_what_cannot_be_read_says_why_in_one_line(tmp_path: Path, make: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        read_record(make(tmp_path))
    assert "\n" not in str(error.value)


def test_a_sampling_rate_is_needed_where_the_file_has_none_and_only_there(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ecg())
    with pytest.raises(UserError, match="does not say its sampling rate"):
        read_record(tmp_path / "a.npy")
    with pytest.raises(UserError, match="says its own sampling rate"):
        read_record(write(tmp_path, ecg()), sampling_rate=100)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_user_error_or_a_record_never_a_crash(scratch: Path, data: st.DataObject) -> None:
    path = write(scratch, ecg(length=50))
    ending = data.draw(st.sampled_from([".hea", ".npz"]))
    if ending == ".npz":
        np.savez(path.with_suffix(ending), signal=ecg(length=50), sampling_rate=100.0)
    content = bytearray(path.with_suffix(ending).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.with_suffix(ending).write_bytes(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    try:
        assert isinstance(read_record(path.with_suffix(ending)), Record)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017


# --- the standard form ---------------------------------------------------------------------------------------------------------------


def standard(of: Record) -> tuple[np.ndarray, list[str], list[str]]:
    """Of the flags, those that random numbers in the place of an ECG do not set."""
    out = SignalPath()(of)
    return out.signal, out.missing, [flag for flag in out.flags if flag.partition(":")[0] in ("gap", "flat", "clipped")]


def record(signal: np.ndarray, names: tuple[str, ...] = LEADS, rate: float = 100.0) -> Record:
    return Record(signal, rate, names)


def test_leads_are_found_by_name_and_extra_channels_ignored() -> None:
    signal = ecg(13)
    order = np.random.default_rng(1).permutation(13)
    names = (*LEADS, "Resp")
    out, missing, flags = standard(record(signal[order], tuple(names[i] for i in order)))
    np.testing.assert_array_equal(out, signal[:12])
    assert out.dtype == np.float32
    assert (missing, flags) == ([], [])


@pytest.mark.parametrize("pair", [("I", "II"), ("I", "III"), ("II", "III")])
def test_the_other_limb_leads_follow_from_any_two_of_einthovens(pair: tuple[str, ...]) -> None:
    one, two = ecg(2)
    truth = {"I": one, "II": two, "III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    out, missing, _ = standard(record(np.stack([truth[name] for name in pair]), pair))
    for i, name in enumerate(LEADS[:6]):
        np.testing.assert_allclose(out[i], truth[name], atol=1e-6)
    assert missing == list(LEADS[6:])
    assert not out[6:].any()


def test_one_limb_lead_alone_derives_nothing() -> None:
    out, missing, _ = standard(record(ecg(2), ("II", "V1")))
    assert missing == [lead for lead in LEADS if lead not in ("II", "V1")]
    np.testing.assert_array_equal(out[6], ecg(2)[1])


@pytest.mark.parametrize(("rate", "length"), [(500, 5000), (500, 5500), (1000, 115_000), (257, 2570), (100, 1000), (99.5, 995)])
def test_any_rate_and_length_become_exactly_the_one_asked_for(rate: float, length: int) -> None:
    wave = np.sin(2 * np.pi * 2 * np.arange(length) / rate)
    out, _, _ = standard(record(np.tile(wave, (12, 1)).astype(np.float32), rate=rate))
    assert out.shape == (12, 1000)
    np.testing.assert_allclose(out[3, 20:980], np.sin(2 * np.pi * 2 * np.arange(1000) / 100)[20:980], atol=0.01)


def test_too_short_says_how_long_it_is() -> None:
    with pytest.raises(UserError, match="^is 3.2 s long, 10 s are needed"):
        standard(record(ecg(length=1600), rate=500))


def test_short_gaps_are_bridged_long_ones_refused_and_absent_leads_missing() -> None:
    signal = ecg()
    signal[8, 100:110] = np.nan
    signal[8, 99], signal[8, 110] = 1.0, 2.1
    out, missing, flags = standard(record(signal))
    np.testing.assert_allclose(out[8, 99:111], np.linspace(1, 2.1, 12), atol=1e-6)
    assert (missing, flags) == ([], ["gap:V3"])
    signal[8, 100:120] = np.inf
    with pytest.raises(UserError, match="V3 lacks 0.2 s in one piece"):
        standard(record(signal))
    signal[8] = np.nan
    out, missing, flags = standard(record(signal))
    assert (missing, flags) == (["V3"], [])
    assert not out[8].any()


def test_a_gap_behind_the_part_that_is_used_does_not_matter() -> None:
    signal = ecg(length=2000)
    signal[8, 1000:] = np.nan
    out, missing, flags = standard(record(signal))
    assert (missing, flags) == ([], [])
    np.testing.assert_array_equal(out, signal[:, :1000])


def test_flat_and_clipped_leads_are_flagged_and_wrong_units_refused() -> None:
    signal = ecg()
    signal[8] = 0.3
    signal[9, 500:505] = 40.0
    out, _, flags = standard(record(signal))
    assert flags == ["clipped:V4", "flat:V3"]
    assert out.max() == np.float32(32.767)
    with pytest.raises(UserError, match=r"reaches .* mV .*check the unit"):
        standard(record(ecg() * 1000))
    with pytest.raises(UserError, match="every lead is flat"):
        standard(record(np.zeros((12, 1000), np.float32)))


def test_the_signals_floor_is_light_to_import() -> None:
    import subprocess
    import sys

    code = "import sys, ecgclip.signals; print([m for m in ('torch', 'pandas', 'matplotlib', 'scipy.signal', 'wfdb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("text", [b"x (" + b" " * 3900 + b"1", b"x" + b" " * 3900 + b"1", b"a" * 4000, b"1 2" + b" " * 4000])
def test_no_text_takes_long_to_be_told_from_an_ecg(tmp_path: Path, text: bytes) -> None:
    """In a process of its own: a regular expression that goes back and forth cannot be interrupted otherwise."""
    import subprocess
    import sys

    (tmp_path / "t").write_bytes(text + b"\nr.dat 16 200\n")
    code = "import sys\nfrom ecgclip.signals import read_record\nread_record(sys.argv[1])"
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t")], capture_output=True, text=True, timeout=20)
    assert "UserError: " in ended.stderr


def test_a_refusal_tells_no_text_that_a_file_holds(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("患者名,山田太郎\nII,山田\n1,2\n4711x,3\n", encoding="utf-8")
    np.savez(tmp_path / "n.npz", signal=ecg(2), sampling_rate=100, lead_names=["山田太郎", "4711"])
    (tmp_path / "r.hea").write_text("r 1 100 100\nC:\\ECG\\YamadaTaro.dat 16 1000(0)/mV 16 0 0 0 0 II\n")
    (tmp_path / "u.hea").write_text("u 1 100 100\nYamadaTaro.dat 16 1000(0)/mV 16 0 0 0 0 II\n")
    (tmp_path / "v.hea").write_text("v 1 100 100\nv.dat 16 1000(0)/Yamada 16 0 0 0 0 II\n")
    (tmp_path / "v.dat").write_bytes(bytes(200))
    for name in ("t.csv", "n.npz", "r.hea", "u.hea", "v.hea"):
        with pytest.raises(UserError, match=name) as error:
            read_record(tmp_path / name, sampling_rate=500 if name == "t.csv" else None)
        assert not any(text in str(error.value) for text in ("山田", "患者", "4711", "Yamada"))
    for names in (("山田太郎",), ("Yamada", "x")):
        with pytest.raises(UserError, match="twelve leads") as error:
            standard(Record(ecg(len(names)), 100.0, names))
        assert "山田" not in str(error.value) and "Yamada" not in str(error.value)
