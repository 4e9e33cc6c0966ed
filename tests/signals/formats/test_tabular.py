"""Tables of samples that the tests write."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgclip.errors import UserError
from ecgclip.signals.formats.tabular import is_tabular, read_tabular

RATE, SAMPLES = 500, 400


def waves():
    time = np.arange(SAMPLES) / RATE
    return {"I": np.sin(2 * np.pi * time).round(4), "aVR": np.cos(2 * np.pi * time).round(4)}


def text(tmp_path, columns, *, encoding="utf-8", **kwargs):
    path = tmp_path / "a.csv"
    path.write_bytes(pd.DataFrame(columns).to_csv(index=False, **kwargs).encode(encoding))
    return path


def parquet(tmp_path, columns, metadata):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
def test_separators_and_encodings(tmp_path, separator, encoding):
    path = text(tmp_path, {"時間": np.arange(SAMPLES) / RATE, **waves(), "メモ": 0}, encoding=encoding, sep=separator)
    record = read_tabular(path, None)
    assert is_tabular(path.read_bytes()[:4096])
    assert (record.lead_names, record.sampling_rate, record.source) == (("I", "aVR"), RATE, "csv")
    np.testing.assert_allclose(record.signal, list(waves().values()), atol=1e-6)


def test_decimal_commas(tmp_path):
    path = text(tmp_path, waves(), sep=";", decimal=",")
    np.testing.assert_allclose(read_tabular(path, None, 500).signal, list(waves().values()), atol=1e-6)


@pytest.mark.parametrize("name", ["II (uV)", "II[uV]", "II_uV", "lead ii (µV)", "Ⅱ(μV)"])
def test_units_in_names(tmp_path, name):
    record = read_tabular(text(tmp_path, {name: waves()["I"] * 1000, "V1": waves()["aVR"]}), None, 500)
    assert record.lead_names == ("II", "V1")
    np.testing.assert_allclose(record.signal, list(waves().values()), atol=1e-6)


@pytest.mark.parametrize(("name", "factor"), [("time (s)", 1), ("Time[ms]", 1000), ("time_ms", 1000), ("t", 1), ("time", 1)])
def test_units_of_time(tmp_path, name, factor):
    assert read_tabular(text(tmp_path, {name: np.arange(SAMPLES) / RATE * factor, **waves()}), None).sampling_rate == RATE


def test_rounded_times(tmp_path):
    columns = {"time (ms)": np.round(np.arange(SAMPLES) * 1000 / 360), **waves()}
    assert read_tabular(text(tmp_path, columns), None).sampling_rate == pytest.approx(360, rel=1e-3)


def test_empty_cells_are_missing_samples(tmp_path):
    columns = waves()
    columns["I"][5:9] = np.nan
    record = read_tabular(text(tmp_path, columns), None, 500)
    assert np.isnan(record.signal[0, 5:9]).all() and np.isnan(record.signal).sum() == 4


def test_parquet(tmp_path):
    path = parquet(tmp_path, {name: row * 1000 for name, row in waves().items()}, {"sampling_rate": "500", "unit": "uV"})
    record = read_tabular(path, None)
    assert is_tabular(path.read_bytes()[:4096])
    assert (record.lead_names, record.sampling_rate, record.source) == (("I", "aVR"), RATE, "parquet")
    np.testing.assert_allclose(record.signal, list(waves().values()), atol=1e-6)


def test_parquet_with_times(tmp_path):
    assert read_tabular(parquet(tmp_path, {"time": np.arange(SAMPLES) / RATE, **waves()}, {}), None).sampling_rate == RATE


@pytest.mark.parametrize(
    ("columns", "rate", "reason"),
    [
        (waves(), None, "pass sampling_rate"),
        ({"time": np.arange(SAMPLES) / RATE, **waves()}, 250, "do not agree"),
        ({"time": np.zeros(SAMPLES), **waves()}, None, "does not go on"),
        ({"time": np.arange(SAMPLES) / RATE + (np.arange(SAMPLES) > 200), **waves()}, None, "leaps"),
        ({"time": np.delete(np.arange(SAMPLES + 1), 200) / RATE, **waves()}, None, "leaps"),
        ({"time (h)": np.arange(SAMPLES) / RATE, **waves()}, None, "not understood"),
        ({"X": waves()["I"]}, 500, "none of its columns"),
        ({"I (kg)": waves()["I"]}, 500, "not a voltage"),
        ({"I": ["SECRET"] * SAMPLES}, 500, "something else"),
        ({"I": waves()["I"] * 1000}, 500, "check the unit"),
    ],
)
def test_what_is_refused(tmp_path, columns, rate, reason):
    with pytest.raises(UserError, match=reason) as error:
        read_tabular(text(tmp_path, columns), None, rate)
    assert "\n" not in str(error.value) and "SECRET" not in str(error.value)


def test_rows_longer_than_the_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("I,II\n" + "".join(f"{row},{value},0.5\n" for row, value in enumerate(waves()["I"])))
    with pytest.raises(UserError, match="one row per sample"):
        read_tabular(path, None, 500)


PREAMBLES = [
    "",
    "Patient: X\nRate,500 Hz\n\n",
    "患者名,山田太郎\r\n記録,I\r\n",
    "# comment\n# I, II\n",
    "記録,I\n機器,II,V1\n",
]


@pytest.mark.parametrize("preamble", PREAMBLES)
@pytest.mark.parametrize("units", ["", "uV,uV\n", "(µV),(µV)\n"])
def test_lines_before_the_names_and_units_under_them(tmp_path, preamble, units):
    factor = 1000 if units else 1
    rows = "".join(f"{one * factor:.4f},{two * factor:.4f}\n" for one, two in zip(*waves().values(), strict=True))
    path = tmp_path / "a.csv"
    path.write_text(f"{preamble}Lead I,aVR\n{units}{rows}", encoding="utf-8")
    record = read_tabular(path, None, 500)
    assert is_tabular(path.read_bytes()[:4096])
    assert record.lead_names == ("I", "aVR")
    np.testing.assert_allclose(record.signal, list(waves().values()), atol=1e-4)


def test_units_of_every_column_under_the_names(tmp_path):
    rows = "".join(f"{at * 2},{value},{value * 1000:.1f},0\n" for at, value in enumerate(waves()["I"]))
    path = tmp_path / "a.csv"
    path.write_text(f"time,I,V1,Note\nms,mV,uV,\n{rows}")
    record = read_tabular(path, None)
    assert (record.lead_names, record.sampling_rate) == (("I", "V1"), 500)
    np.testing.assert_allclose(record.signal[0], record.signal[1], atol=1e-3)


def test_a_lead_that_is_there_twice(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("I,II,Lead I\n" + "".join(f"{value},0.1,{value}\n" for value in waves()["I"]))
    with pytest.raises(UserError, match="I more than once"):
        read_tabular(path, None, 500)


def test_numbers_in_quotes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"I","aVR"\n' + "".join(f'"{one}","{two}"\n' for one, two in zip(*waves().values(), strict=True)))
    np.testing.assert_allclose(read_tabular(path, None, 500).signal, list(waves().values()), atol=1e-6)


def test_a_column_of_remarks_with_commas(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("I,aVR,Note\n" + "".join(f'{one},{two},"a, b, c, d"\n' for one, two in zip(*waves().values(), strict=True)))
    np.testing.assert_allclose(read_tabular(path, None, 500).signal, list(waves().values()), atol=1e-6)


def test_damaged_parquet(tmp_path):
    path = parquet(tmp_path, waves(), {"sampling_rate": "500"})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged"):
        read_tabular(path, None)


def test_a_text_is_no_table():
    assert not is_tabular(b"RECORD LINE\nI,II\n") and not is_tabular(b"") and not is_tabular(b"<?xml version='1.0'?><a/>")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=300), st.text('I,V1;\t\n.0e9-" ', max_size=200).map(lambda t: ("I,V1\n" + t).encode())))
def test_any_text_is_a_record_or_one_error(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    # Anything but this one error fails the test.
    with contextlib.suppress(UserError):
        assert read_tabular(path, None, 500).sampling_rate == 500
