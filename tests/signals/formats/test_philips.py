import base64
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals import LEADS, Record
from ecgclip.signals.formats.philips import is_philips, read_philips

REAL = pytest.mark.skipif("ECGCLIP_FORMATS" not in os.environ, reason="ECGCLIP_FORMATS names no folder of real files")
LENGTH = 600


def twelve() -> np.ndarray:
    """Units of 5 µV, halved downwards as the device does it, ``(12, LENGTH)``."""
    walk = np.random.default_rng(0).integers(-9, 10, (12, LENGTH)).cumsum(1)
    one, two = walk[:2]
    walk[2] = two - one
    walk[3], walk[4], walk[5] = -((one + two) // 2), (one - walk[2]) // 2, (two + walk[2]) // 2
    return walk


COUNTS = twelve()


def packed(counts: np.ndarray) -> bytes:
    """XLI of one lead: codes of 10 bits, none of which stands for more than one byte."""
    bent = [2 * counts[i - 1] - counts[i - 2] - counts[i] for i in range(2, len(counts))]  # The last code says nothing.
    codes = np.array([counts[0], counts[1], *(one + 64 for one in bent[1:]), 64], ">i2")
    halves = codes.view(np.uint8).reshape(-1, 2).T.ravel()
    bits = "".join(f"{byte:010b}" for byte in halves)
    bits += "1" * (10 + -(len(bits) + 10) % 8)  # 1023 ends it.
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return len(body).to_bytes(4, "little") + bytes(2) + int(bent[0]).to_bytes(2, "little", signed=True) + body


def xli(counts: np.ndarray) -> str:
    left = counts.copy()
    left[2:6] = 0  # Nothing is left of leads that I and II explain wholly.
    return base64.b64encode(b"".join(map(packed, left))).decode()


def plain(counts: np.ndarray) -> str:
    return base64.b64encode(counts.astype("<i2").tobytes()).decode()


def old(text: str, *, how: str = 'compressflag="True" compressmethod="XLI" dataencoding="Base64"', resolution: str = "5") -> str:
    """Version 1.03."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo><documentversion>1.03'
        '</documentversion></documentinfo><dataacquisition date="2011-12-01" time="07:27:34">'
        '<machine machineid="4712">HeartstartMRx</machine>'
        f"<signalcharacteristics><samplingrate>500</samplingrate><signalresolution>{resolution}</signalresolution>"
        "<acquisitiontype>STD-12</acquisitiontype><bitspersample>16</bitspersample><signaloffset>0</signaloffset>"
        "<signalsigned>True</signalsigned><numberchannelsallocated>12</numberchannelsallocated></signalcharacteristics></dataacquisition>"
        "<patient><generalpatientdata><patientid>4711</patientid><name><lastname>山田</lastname></name><age><years>50</years></age><sex>Male</sex>"
        f'</generalpatientdata></patient><waveforms><parsedwaveforms {how} durationperchannel="{LENGTH * 2}" nbitspersample="16">{text}'
        "</parsedwaveforms></waveforms></restingecgdata>"
    )


def new(text: str, *, how: str = 'compression="XLI" dataencoding="Base64"', leads: str = " ".join(LEADS), more: str = "") -> str:
    """Version 1.04."""
    return (
        '<?xml version="1.0" encoding="utf-16"?><restingecgdata xmlns="http://www3.medical.philips.com"><dataacquisition date="2008-12-23">'
        '<machine machineid="4712">PageWriter Touch</machine><signalcharacteristics/></dataacquisition><patient><generalpatientdata>'
        '<patientid>4711</patientid><age defaultage="50"><dateofbirth>1976-01-01</dateofbirth></age><sex>Female</sex>'
        "</generalpatientdata></patient>"
        f'<waveforms><parsedwaveforms {how} numberofleads="{len(leads.split())}" leadlabels="{leads}" durationperchannel="{LENGTH * 2}" '
        f'samplespersecond="500" resolution="5" bitspersample="16" {more}>{text}</parsedwaveforms>'
        '<repbeats samplespersec="500" resolution="2.5"/></waveforms></restingecgdata>'
    )


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "p.xml"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "encoding", "facts"),
    [
        (old(xli(COUNTS)), "utf-8", (50, "M", 2011, "Philips HeartstartMRx")),
        (old(plain(COUNTS), how='compressflag="False" dataencoding="Base64"'), "utf-8", (50, "M", 2011, "Philips HeartstartMRx")),
        (new(xli(COUNTS)), "utf-16", (32, "F", 2008, "Philips PageWriter Touch")),
        (new(plain(COUNTS), how='dataencoding="Base64"'), "utf-16", (32, "F", 2008, "Philips PageWriter Touch")),
        (new(" ".join(map(str, COUNTS.ravel())), how='dataencoding="Plain"'), "utf-16", (32, "F", 2008, "Philips PageWriter Touch")),
    ],
    ids=["1.03 XLI", "1.03", "1.04 XLI", "1.04", "1.04 plain"],
)
def test_both_versions_packed_or_not(tmp_path: Path, text: str, encoding: str, facts: tuple[object, ...]) -> None:
    path = write(tmp_path, text, encoding)
    record = read_philips(path, "salt")
    assert is_philips(path.read_bytes()[:4096])
    np.testing.assert_allclose(record.signal, COUNTS * 0.005, rtol=1e-6)
    assert (record.sampling_rate, record.lead_names, record.source) == (500, LEADS, "philips")
    assert (record.age, record.sex, record.year, record.device) == facts
    assert record.patient and read_philips(path, None).patient == ""
    assert not any(secret in repr(record) for secret in ("4711", "4712", "山田", "1976"))


def test_the_test_pulse_is_cut_off(tmp_path: Path) -> None:
    counts = COUNTS.copy()
    counts[:, 400:] = 0
    counts[:, 450:550] = 200
    record = read_philips(write(tmp_path, old(plain(counts), how='compressflag="False" dataencoding="Base64"')), None)
    np.testing.assert_allclose(record.signal, counts[:, :400] * 0.005, rtol=1e-6)


def test_an_offset_and_numbers_without_a_sign(tmp_path: Path) -> None:
    data = base64.b64encode((COUNTS + 32768).astype("<u2").tobytes()).decode()
    text = new(data, how='dataencoding="Base64"', more='signalsigned="False" signaloffset="32768"')
    np.testing.assert_allclose(read_philips(write(tmp_path, text, "utf-16"), None).signal, COUNTS * 0.005, rtol=1e-6)


def test_compressed_limb_leads_in_another_order_are_refused(tmp_path: Path) -> None:
    text = new(xli(COUNTS), leads="I II III aVR aVF aVL V1 V2 V3 V4 V5 V6")
    with pytest.raises(UserError, match="order I II III aVR aVF aVL are not read"):
        read_philips(write(tmp_path, text, "utf-16"), None)


def test_without_the_extra_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ecgdatakit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ecgdatakit", None)
    with pytest.raises(UserError, match=r"pip install 'ecgclip\[formats\]'"):
        read_philips(write(tmp_path, old(xli(COUNTS))), None)
    assert len(read_philips(write(tmp_path, old(plain(COUNTS), how='dataencoding="Base64"')), None).signal) == 12


HUGE = base64.b64encode((1 << 30).to_bytes(4, "little") + bytes(60)).decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (old(""), "no rhythm"),
        (old(xli(COUNTS)[: len(xli(COUNTS)) // 8 * 4]), "breaks off"),
        (old(HUGE), "breaks off"),
        (old(xli(COUNTS), resolution=""), "resolution"),
        (old("*" + xli(COUNTS)), "base64"),
        (old(xli(COUNTS)).replace(f'"{LENGTH * 2}"', '"1e300"'), "duration"),
        (old(xli(COUNTS)).replace(f'"{LENGTH * 2}"', '"99999999"'), "does not hold them"),
        (old(xli(COUNTS)).replace(f'"{LENGTH * 2}"', f'"{LENGTH * 2 + 4}"'), "damaged"),
        (old(plain(COUNTS[:6]), how='dataencoding="Base64"'), "does not hold them"),
        (old(xli(COUNTS)).replace("XLI", "ZIP"), "are not read"),
        (old(xli(COUNTS)).replace("STD-12", "FRANK"), "which leads"),
        (old("1 2 x", how='dataencoding="Plain"'), "not numbers"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_philips(write(tmp_path, text), "salt")
    assert "\n" not in str(caught.value) and not any(secret in str(caught.value) for secret in ("4711", "山田", str(tmp_path)))


def outcome(path: Path) -> str:
    try:
        assert isinstance(read_philips(path, None), Record)
    except UserError as error:
        return str(error)
    return "a record"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_record_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    blob = bytearray(base64.b64decode(xli(COUNTS)))
    for _ in range(data.draw(st.integers(1, 5))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    assert "\n" not in outcome(write(tmp_path, old(base64.b64encode(blob).decode())))


@REAL
@pytest.mark.parametrize(("name", "length"), [("philips_1_03.xml", 5264), ("philips_1_04.xml", 5300)])
def test_the_real_files(name: str, length: int) -> None:
    record = read_philips(Path(os.environ["ECGCLIP_FORMATS"]) / name, "salt")
    assert (record.signal.shape, record.sampling_rate, record.lead_names) == ((12, length), 500, LEADS)
    lead = dict(zip(record.lead_names, record.signal, strict=True))
    # Within two units of 5 µV.
    np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], atol=0.0101)
    np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=0.0101)
    np.testing.assert_allclose(lead["aVL"], (lead["I"] - lead["III"]) / 2, atol=0.0101)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=0.0101)
