import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals import LEADS, Record
from ecgclip.signals.formats.aecg import is_aecg, read_aecg
from ecgclip.signals.formats.xml_text import xml_root

ORDER = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "III", "aVR", "aVL", "aVF")
COUNTS = np.random.default_rng(0).integers(-400, 400, (12, 1000))
REAL = pytest.mark.skipif("ECGCLIP_FORMATS" not in os.environ, reason="ECGCLIP_FORMATS names no folder of real files")


def sequence(
    name: str, counts: np.ndarray, *, scale: str = '<scale value="2.5" unit="uV"/>', origin: str = '<origin value="0" unit="uV"/>'
) -> str:
    digits = " ".join(map(str, counts))
    value = f"<value>{origin}{scale}<digits>{digits}</digits></value>"
    return f'<component><sequence><code code="MDC_ECG_LEAD_{name}"/>{value}</sequence></component>'


def series(leads: str, *, code: str = "RHYTHM", step: str = 'value="0.002" unit="s"', more: str = "") -> str:
    time = f'<component><sequence><code code="TIME_ABSOLUTE"/><value><head value="2002"/><increment {step}/></value></sequence></component>'
    device = (
        "<author><seriesAuthor><manufacturedSeriesDevice><manufacturerModelName>ELI250</manufacturerModelName></manufacturedSeriesDevice>"
        "<manufacturerOrganization><name>Mortara</name></manufacturerOrganization></seriesAuthor></author>"
    )
    sequences = f"<component><sequenceSet>{time}{leads}</sequenceSet></component>"
    return f'<component><series><code code="{code}"/>{device}{sequences}{more}</series></component>'


def aecg(body: str, *, prolog: str = '<?xml version="1.0" encoding="UTF-8"?>') -> str:
    return (
        f'{prolog}<!-- a comment --><AnnotatedECG xmlns="urn:hl7-org:v3"><effectiveTime><center value="20021122091000"/></effectiveTime>'
        '<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject><id root="1.2" extension="SBJ-4711"/>'
        '<subjectDemographicPerson><name>心電 花子</name><administrativeGenderCode code="F"/><birthTime value="19530508"/>'
        f"</subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf></timepointEvent></componentOf>{body}</AnnotatedECG>"
    )


def twelve(**how: str) -> str:
    return "".join(sequence(name.upper(), row, **how) for name, row in zip(ORDER, COUNTS, strict=True))


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "a.xml"
    path.write_bytes(text.encode(encoding))
    return path


def test_an_aecg_gives_leads_millivolts_rate_and_no_identifier(tmp_path: Path) -> None:
    path = write(tmp_path, aecg(series(twelve())))
    record = read_aecg(path, "salt")
    assert is_aecg(path.read_bytes()[:4096])
    np.testing.assert_allclose(record.signal, COUNTS * 0.0025, rtol=1e-6)
    assert (record.sampling_rate, record.lead_names, record.source) == (500, ORDER, "aecg")
    assert (record.age, record.sex, record.year, record.device) == (49, "F", 2002, "Mortara ELI250")
    assert record.patient and read_aecg(path, None).patient == ""
    assert not any(secret in repr(record) for secret in ("4711", "花子", "1953"))


@pytest.mark.parametrize(
    ("scale", "origin", "expected"),
    [
        ('<scale value="0.0025" unit="mV"/>', '<origin value="0" unit="mV"/>', COUNTS * 0.0025),
        ('<scale value="2.5" unit="uV"/>', '<origin value="0"/>', COUNTS * 0.0025),
        ('<scale value="5" unit="uV"/>', '<origin value="0.1" unit="mV"/>', COUNTS * 0.005 + 0.1),
        ('<scale value="2500" unit="nV"/>', "", COUNTS * 0.0025),
    ],
)
def test_scale_and_origin_in_any_voltage(tmp_path: Path, scale: str, origin: str, expected: np.ndarray) -> None:
    record = read_aecg(write(tmp_path, aecg(series(twelve(scale=scale, origin=origin)))), None)
    np.testing.assert_allclose(record.signal, expected, rtol=1e-5, atol=1e-6)


def test_the_median_beat_is_never_taken(tmp_path: Path) -> None:
    beat = sequence("II", np.arange(5000))
    inner = f"<component><sequenceSet>{beat}</sequenceSet></component>"
    derived = f'<derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/>{inner}</derivedSeries></derivation>'
    body = series(beat, code="REPRESENTATIVE_BEAT") + series(twelve(), more=derived)
    assert read_aecg(write(tmp_path, aecg(body)), None).signal.shape == (12, 1000)


def test_the_longest_rhythm_is_taken_and_a_short_lead_lacks_samples(tmp_path: Path) -> None:
    body = series(sequence("V1", COUNTS[0, :600])) + series(sequence("I", COUNTS[0]) + sequence("II", COUNTS[1, :700]))
    record = read_aecg(write(tmp_path, aecg(body)), None)
    assert record.lead_names == ("I", "II")
    assert np.isnan(record.signal[1, 700:]).all() and np.isfinite(record.signal[1, :700]).all()


def test_twelve_leads_go_before_a_longer_strip_and_a_beat_that_says_it_is_a_rhythm(tmp_path: Path) -> None:
    strip = sequence("II", np.tile(COUNTS[0], 6))
    beat = "".join(sequence(name.upper(), row[:600]) for name, row in zip(ORDER, COUNTS, strict=True))
    record = read_aecg(write(tmp_path, aecg(series(strip) + series(beat) + series(twelve()))), None)
    assert record.signal.shape == (12, 1000)


def test_sequences_beside_the_ecg_are_left_out(tmp_path: Path) -> None:
    breathing = sequence("X", COUNTS[0], scale='<scale value="1" unit="Ohm"/>').replace("MDC_ECG_LEAD_X", "MDC_RESP")
    assert read_aecg(write(tmp_path, aecg(series(twelve() + breathing))), None).lead_names == ORDER


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("utf-16", "UTF-16"), ("utf-8-sig", "UTF-8"), ("utf-8", "utf-16"), ("cp932", "Shift_JIS"), ("euc-jp", "EUC-JP")],
)
def test_any_encoding(tmp_path: Path, encoding: str, declared: str) -> None:
    path = write(tmp_path, aecg(series(twelve()), prolog=f'<?xml version="1.0" encoding="{declared}"?>'), encoding)
    assert is_aecg(path.read_bytes()[:4096])
    assert read_aecg(path, None).signal.shape == (12, 1000)


def test_the_root_is_found_behind_comments_and_prefixes() -> None:
    assert xml_root(b"<?xml version='1.0'?><!-- <b> --><!DOCTYPE x><h:AnnotatedECG xmlns:h='u'>") == "AnnotatedECG"
    assert xml_root("<?xml version='1.0'?><a/>".encode("utf-16-le")) == "a"
    assert xml_root(b"I,II\n<a>") == xml_root(b"") == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "no rhythm"),
        (series(""), "no rhythm"),
        (series(sequence("II", COUNTS[0, :13])), "less than one beat"),
        (series(twelve(), step='value="0" unit="s"'), "time between samples"),
        (series(twelve(), step='value="2" unit="km"'), "time between samples"),
        (series(twelve(scale='<scale value="1" unit="mmHg"/>')), "not a voltage"),
        (series(twelve(scale='<scale value="inf" unit="mV"/>')), "scale of its samples"),
        (series(twelve(scale='<scale value="x" unit="mV"/>')), "not numbers"),
        (series(sequence("II", COUNTS[0]) + sequence("II", COUNTS[1])), "more than once"),
        (series(sequence("X", COUNTS[0])), "no channel has the name"),
        (series(twelve(scale='<scale value="2.5" unit="mV"/>')), "check the unit"),
    ],
)
def test_what_is_no_ecg_is_one_line(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_aecg(write(tmp_path, aecg(body)), "salt")
    assert "\n" not in str(caught.value) and "4711" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kind", ["bomb", "external"])
def test_entities_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("secret")
    entity = {"bomb": '<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">', "external": f'<!ENTITY b SYSTEM "file://{tmp_path}/secret">'}[kind]
    path = write(tmp_path, f"<!DOCTYPE AnnotatedECG [{entity}]><AnnotatedECG>&b;</AnnotatedECG>")
    with pytest.raises(UserError, match="entities"):
        read_aecg(path, None)


def outcome(path: Path) -> str:
    try:
        assert isinstance(read_aecg(path, None), Record)
    except UserError as error:
        return str(error)
    return "a record"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_record_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(aecg(series(sequence("II", COUNTS[0]))).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "d.xml"
    path.write_bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole), data.draw(st.integers(0, len(whole)))]))])
    assert "\n" not in outcome(path)


@REAL
def test_the_real_file() -> None:
    record = read_aecg(Path(os.environ["ECGCLIP_FORMATS"]) / "aecg_subject1.xml", "salt")
    assert (record.signal.shape, record.sampling_rate, set(record.lead_names)) == ((12, 5000), 500, set(LEADS))
    lead = dict(zip(record.lead_names, record.signal, strict=True))
    np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], atol=1e-6)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=0.0013)
    assert (record.age, record.sex, record.year, record.device) == (49, "M", 2002, "Mortara Instrument, Inc. ELI250")


@REAL
@pytest.mark.parametrize(("name", "words"), [("aecg_minimum.xml", "less than one beat"), ("aecg_empty.xml", "no rhythm")])
def test_real_files_without_an_ecg(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_aecg(Path(os.environ["ECGCLIP_FORMATS"]) / name, None)
