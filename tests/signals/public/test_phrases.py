"""English statements of ECG programs: longest phrase first, doubt, negation, stage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgclip.labels import Catalogue
from ecgclip.signals.public.phrases import read_statement

IDS = set(Catalogue.load("ja98").ids)


@pytest.mark.parametrize(
    ("statement", "positive", "hedged"),
    [
        ("Sinus rhythm", "SR", ""),
        ("Sinus rhythm with PAC(s).", "SR PAC", ""),
        ("Sinus rhythm with occasional PVCs", "SR PVC", ""),
        ("Sinus bradycardia with 1st degree A-V block", "SBRAD 1AVB", ""),
        ("Sinus rhythm with borderline 1st degree A-V block", "SR", "1AVB"),
        ("Possible right atrial abnormality", "", "RAO/RAE"),
        ("Left axis deviation - possible left anterior fascicular block", "LAXD", "LAFB"),
        ("LAD, consider left anterior fascicular block", "LAXD", "LAFB"),
        ("Poor R wave progression - cannot rule out anteroseptal infarct", "PRWP", "ASMI"),
        ("Poor R wave progression - probable normal variant", "PRWP", ""),
        ("RBBB with left anterior fascicular block", "LAFB", ""),
        ("Incomplete RBBB", "IRBBB", ""),
        ("Inferior infarct - age undetermined", "IMI", ""),
        ("Possible inferior infarct - age undetermined", "", "IMI"),
        ("Cannot rule out anterior infarct - age undetermined", "", "AMI"),
        ("Inferior infarct cannot be excluded", "", "IMI"),
        ("Lateral ST elevation, CONSIDER ACUTE INFARCT", "STE_", "STEMI"),
        ("Marked ST elevation - consider Brugada pattern", "STE_", "BRUG"),
        ("ST elev, probable normal early repol pattern", "STE_", "ERP"),
        ("Repol abnrm suggests ischemia, anterolateral", "STT", "ISCAL"),
        ("Nonspecific T abnormalities, lateral leads", "NT_", ""),
        ("Inferior T wave changes are nonspecific", "NT_", ""),
        ("Lateral ST-T changes are nonspecific", "STT", ""),
        ("Lateral T wave abnormality is borderline", "", "TAB_"),
        ("Minimal ST depression, lateral leads", "STD_", ""),
        ("Borderline prolonged QT interval", "", "LNGQT"),
        ("LVH with secondary repolarization abnormality", "LVH STT", ""),
        ("Left ventricular hypertrophy by voltage only", "VCLVH", ""),
        ("LVH by voltage", "VCLVH", ""),
        ("Low voltage, extremity leads", "LVOLT", ""),
        ("Low QRS voltages in precordial leads", "", ""),
        ("Leftward axis", "", ""),
        ("Atrial fibrillation with rapid ventricular response", "AFIB", ""),
        ("Atrial flutter with 2:1 A-V block", "AFLT", ""),
        ("2:1 A-V block", "AVB2TO1", ""),
        ("Afib/flut and V-paced complexes", "PACE", ""),
        ("A-V dual-paced rhythm", "PACE", ""),
        ("Pacemaker rhythm - no further analysis", "PACE", ""),
        ("Ventricular tachycardia, unsustained", "NSVT", ""),
        ("Paired ventricular premature complexes", "VCOUP", ""),
        ("Sinus tachycardia or ectopic atrial tachycardia", "", "STACH SVTAC"),
        ("Abnormal R-wave progression, early transition", "CCWROT", ""),
        ("rSr'(V1) - probable normal variant", "RSRP", ""),
        ("--- Suspect arm lead reversal - only aVF, V1-V6 analyzed ---", "", "ALEAD"),
        ("Normal ECG", "NORM", ""),
        ("Summary: Normal ECG", "NORM", ""),
        ("Otherwise normal ECG", "", ""),
        ("Normal ECG except for rate", "", ""),
        ("Abnormal ECG", "", ""),
        ("LVH with IVCD, LAD and secondary repol abnrm", "LVH IVCD LAXD STT", ""),
        ("Anterior infarct, acute (LAD)", "AMI", ""),  # The artery.
        ("Abnrm T, probable ischemia, anterolateral lds", "TAB_", "ISCAL"),
        ("Probable LVH with secondary repol abnrm", "", "LVH STT"),
        ("Wide-QRS tachycardia, consider ventricular tachycardia", "", "VT"),
        ("Unusual P axis, possible ectopic atrial rhythm", "", "EAR"),
        ("Borderline", "", ""),
    ],
)
def test_statements(statement: str, positive: str, hedged: str) -> None:
    finding = read_statement(statement)
    assert finding is not None
    assert (set(finding.positive), set(finding.hedged)) == (set(positive.split()), set(hedged.split()))
    assert finding.negated == ()


@pytest.mark.parametrize(
    ("statement", "positive", "negated"),
    [
        ("No ST elevation", "", "STE_"),
        ("Atrial fibrillation no longer present", "", "AFIB"),
        ("Sinus rhythm has replaced atrial fibrillation", "SR", "AFIB"),
        ("Sinus rhythm, without premature ventricular complexes", "SR", "PVC"),
    ],
)
def test_negation(statement: str, positive: str, negated: str) -> None:
    finding = read_statement(statement)
    assert finding is not None
    assert (finding.positive, finding.negated) == (tuple(positive.split()), tuple(negated.split()))


@pytest.mark.parametrize(
    ("statement", "open_"),
    [
        ("Right bundle branch block", {"CRBBB", "IRBBB"}),
        ("Left bundle branch block", {"CLBBB", "ILBBB"}),
        ("Septal infarct - age undetermined", {"ASMI"}),
        ("Afib/flut", {"AFIB", "AFLT"}),
        ("Borderline ECG", {"NORM"}),
        ("Lateral ST-T changes may be due to myocardial ischemia", {"ISC_", "ISCLA"}),
        ("Inferior ST elevation - cannot rule out myocardial injury", {"INJIN"}),
    ],
)
def test_what_is_broader_than_a_label_leaves_it_open(statement: str, open_: set[str]) -> None:
    finding = read_statement(statement)
    assert finding is not None
    assert open_ <= set(finding.unknown) and not open_ & set(finding.positive)


@pytest.mark.parametrize(
    ("statement", "stage"),
    [
        ("Anterior infarct, acute", {"AMI": "急性"}),
        ("Inferior infarct, old", {"IMI": "陳旧性"}),
        ("*** INFERIOR INFARCT - POSSIBLY ACUTE ***", {}),
        ("Inferior infarct, probably old", {}),
        ("Inferior infarct - age undetermined", {}),
        ("Possible acute inferior infarct", {}),
    ],
)
def test_stage_of_an_infarct(statement: str, stage: dict[str, str]) -> None:
    finding = read_statement(statement)
    assert finding is not None
    assert finding.modifiers == stage


def test_what_no_phrase_fits_is_none() -> None:
    assert read_statement("Blorb of the zonk") is None
    assert read_statement("") is None


@given(st.text(max_size=120))
def test_any_text_is_read_or_not(text: str) -> None:
    finding = read_statement(text)
    if finding is not None:
        assert {*finding.positive, *finding.hedged, *finding.negated, *finding.unknown} <= IDS


@given(
    st.sampled_from(["inferior infarct", "atrial fibrillation", "left atrial enlargement", "ventricular premature complexes"]),
    st.sampled_from(["possible ", "Probable ", "CONSIDER ", "cannot rule out ", "borderline ", "no ", ""]),
    st.sampled_from(["", ".", " ", " ***"]),
    st.booleans(),
)
def test_a_statement_is_meant_in_one_way(phrase: str, before: str, after: str, capitals: bool) -> None:
    text = before + phrase + after
    finding = read_statement(text.upper() if capitals else text)
    assert finding is not None
    said = {"positive": finding.positive, "hedged": finding.hedged, "negated": finding.negated}
    wanted = {"": "positive", "no ": "negated"}.get(before, "hedged")
    assert [name for name, labels in said.items() if labels] == [wanted]
