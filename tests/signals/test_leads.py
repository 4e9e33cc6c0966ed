"""The names of the leads, as devices and exports write them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgclip.signals import LEADS, read_record
from ecgclip.signals.leads import lead_name

SIGNAL = np.random.default_rng(0).normal(0, 0.5, (12, 1000)).astype(np.float32)
WRITTEN = {
    "I": ("I", "i", "DI", "Lead I", "LEAD_I", "Ⅰ", "第I誘導", "第1誘導", "第一誘導", "第Ⅰ誘導", "I誘導", "MDC_ECG_LEAD_I", "ECG I", "I-"),
    "II": (
        "ii",
        "DII",
        "dii",
        "LeadII",
        "Lead II",
        "EKG_II",
        "ECG II",
        "ECG-II",
        "ekg:ii",
        "ＩＩ",
        "Ⅱ",
        "ⅱ",
        "第Ⅱ誘導",
        "第２誘導",
        "Ⅱ誘導",
        "II-",
    ),
    "III": ("DIII", "Ⅲ", "第Ⅲ誘導", "lead iii", "MDC_ECG_LEAD_III"),
    "aVR": ("aVR", "AVR", "avr", " aVr ", "Lead aVR", "MDC_ECG_LEAD_AVR", "ａＶＲ", "aVR誘導", "aV R", "ECG aVR"),
    "aVL": ("AVL", "aVL-", "ECG-aVL"),
    "aVF": ("avf", "EKG aVF"),
    "V1": (
        "v1",
        "V1-",
        "V 1",
        "V_1",
        "V-1",
        "Ｖ１",
        "MDC_ECG_LEAD_V1",
        "mdc_ecg_lead_v1",
        "MDC_ECG_ELEC_POTL_V1",
        "ECG V1",
        "V1誘導",
        "第V1誘導",
    ),
    "-aVR": ("-aVR", "-AVR", "−aVR", "–avr", "(-)aVR", "ECG -aVR", "MDC_ECG_LEAD_aVRneg", "－ａＶＲ"),
}
OTHERS = (
    "V1R",
    "V3R",
    "V4R",
    "V7",
    "V8",
    "V9",
    "CM5",
    "CC5",
    "MLII",
    "ML2",
    "MCL1",
    "MV1",
    "V10",
    "V11",
    "VR",
    "VI",
    "X",
    "Y",
    "Z",
    "D",
    "D1",
)
OTHERS += (
    "aVR-",
    "II-III",
    "V1-V2",
    "1",
    "2",
    "ECG",
    "ECG1",
    "ECG 2",
    "Lead",
    "Resp",
    "IV",
    "IIII",
    "V",
    "aV",
    "NIBP",
    "第7誘導",
    "誘導",
    "",
    "-II",
)


@pytest.mark.parametrize("lead", WRITTEN)
def test_lead_names_are_recognised(lead: str) -> None:
    assert {name: lead_name(name) for name in WRITTEN[lead]} == dict.fromkeys(WRITTEN[lead], lead)


def test_names_of_other_leads_are_left_alone() -> None:
    assert {name: lead_name(name) for name in OTHERS} == {name: name for name in OTHERS}


@given(st.text(max_size=20))
def test_any_text_is_a_name_of_its_own_or_of_a_lead(text: str) -> None:
    assert lead_name(text) in (*LEADS, "-aVR", text.strip())
    assert lead_name(lead_name(text)) == lead_name(text)


def test_cabreras_inverted_lead_is_turned_over(tmp_path: Path) -> None:
    order = ("aVL", "I", "-aVR", "II", "aVF", "III", *LEADS[6:])
    np.savez(tmp_path / "c.npz", signal=SIGNAL, sampling_rate=100, lead_names=order)
    record = read_record(tmp_path / "c.npz")
    assert record.lead_names == ("aVL", "I", "aVR", "II", "aVF", "III", *LEADS[6:])
    np.testing.assert_array_equal(record.signal, SIGNAL * np.array([[-1 if name == "-aVR" else 1] for name in order]))
    np.savez(tmp_path / "d.npz", signal=SIGNAL[:3], sampling_rate=100, lead_names=("-aVR", "I", "aVR"))
    record = read_record(tmp_path / "d.npz")
    assert record.lead_names == ("I", "aVR")
    np.testing.assert_array_equal(record.signal, SIGNAL[:3][1:])
