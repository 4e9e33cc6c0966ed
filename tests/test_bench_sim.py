"""The measurements of the simulator in seconds: a few labels, a few records, and that a wrong label is seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ecgclip.benchmark.simulator import bench_sim
from ecgclip.benchmark.simulator.archive import real_normals, simulated_normals
from ecgclip.benchmark.simulator.command import parse
from ecgclip.benchmark.simulator.criteria import TABLE, check, criteria, read
from ecgclip.benchmark.simulator.pictures import draw_all
from ecgclip.benchmark.simulator.realism import (
    distance,
    distances,
    features,
    hang_together,
    spectra,
    spectral_distance,
    summary,
    tell_apart,
)
from ecgclip.benchmark.simulator.speed import Memory, stream
from ecgclip.benchmark.simulator.validity import check as check_records
from ecgclip.benchmark.simulator.validity import lead_identities, likeness, readings, validity
from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.simulation import simulate
from tests.ptbxl_folder import make_ptbxl

CATALOGUE = Path("ecgclip/labels/ja98.yaml")


def test_every_label_with_a_criterion_has_one_that_a_program_can_check():
    entries = yaml.safe_load((Path(__file__).parents[1] / CATALOGUE).read_text(encoding="utf-8"))
    wanted = {entry["id"] for entry in entries if entry.get("criterion")}
    known = criteria()
    assert set(known) == wanted
    assert all(criterion.source and criterion.needs for criterion in known.values())
    assert set(known) <= {label.id for label in Catalogue.load("ja98").labels}


@pytest.mark.parametrize(
    ("sentence", "named"),
    [
        ("pr >", "no sentence"),
        ("pq > 0.2", "'pq'"),
        ("q_V7 > 0.1", "'q_V7'"),
        ("__import__('os')", "'__import__'"),
        ("(lambda: 1)() > 0", "Lambda"),
        ("qrs.real > 0", "Attribute"),
    ],
)
def test_what_is_no_criterion_is_refused_with_its_place(sentence, named):
    with pytest.raises(UserError, match="criteria.yaml, CRBBB") as caught:
        check(sentence, "criteria.yaml, CRBBB")
    assert named in str(caught.value)


def test_an_entry_without_a_source_is_refused(tmp_path):
    table = tmp_path / "criteria.yaml"
    table.write_text("CRBBB: {needs: [qrs >= 0.120], shows: qrs}")
    with pytest.raises(UserError, match="CRBBB.*source"):
        read(table)
    assert TABLE.is_file()


@pytest.fixture(scope="module")
def normal():
    return readings(["NORM"], 6, 500)


@pytest.mark.parametrize("label", ["SBRAD", "1AVB", "PVC", "LAXD", "LVOLT", "AFIB"])
def test_a_label_shows_what_its_textbook_says(label):
    (row,) = validity([label], records=6, seed=500)
    assert row.share >= 0.8, row.failing
    assert row.low <= row.median <= row.high
    assert row.source


@pytest.mark.parametrize("label", ["CRBBB", "1AVB", "AFIB", "LVOLT", "LAXD", "PVC", "3AVB", "PACE", "STEMI", "LNGQT", "AFLT", "ALEAD"])
def test_a_normal_ecg_does_not_pass_for_another_label(label, normal):
    row = check_records(criteria()[label], normal)
    assert row.share <= 0.2
    assert not row.met and row.failing


def test_an_unknown_label_is_refused():
    with pytest.raises(UserError, match="NDT"):
        validity(["NDT"], records=1)


def test_limb_leads_fit_each_other():
    ecg = simulate([{"NORM"}] * 2, [1, 2])
    assert lead_identities(ecg) < 1
    broken = ecg.copy()
    broken[1, 3] += 0.01
    assert lead_identities(broken) == pytest.approx(10, abs=1)


def test_likeness_is_one_for_the_same_person_and_less_for_two():
    ecg = simulate([{"NORM"}] * 3, [1, 1, 2], noise=False)
    same, first, second = likeness(ecg, 100)
    assert same == pytest.approx(1, abs=1e-6)
    assert max(first, second) < 0.99


def test_distance_of_two_samples():
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, 500)
    assert distance(a, a) == 0
    assert distance(a, a + 10) == 1
    assert 0.3 < distance(a, a + 1) < 0.5
    assert distance(np.r_[a, np.nan], a) == 0
    assert np.isnan(distance(a, np.full(3, np.nan)))


def test_spectral_distance_is_the_gain_in_decibels():
    rng = np.random.default_rng(0)
    ecg = rng.normal(0, 0.1, (4, 12, 1000)).astype(np.float32)
    frequencies, power = spectra(ecg, 100)
    assert frequencies[0] == 0.5 and power.shape == (4, 12, len(frequencies))
    assert spectral_distance(power, spectra(2 * ecg, 100)[1]) == pytest.approx(np.full(12, 20 * np.log10(2)), abs=1e-3)


def tables(records: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of features of few simulated records, with as many drawn from the same spread."""
    table = features(simulate([{"NORM"}] * 8, range(8)), 100)
    rng = np.random.default_rng(0)
    filled = table.fillna(table.median()).fillna(0.0)
    drawn = [rng.normal(filled.mean(), filled.std() + 1e-3, (records, filled.shape[1])) for _ in range(2)]
    return pd.DataFrame(drawn[0], columns=table.columns), pd.DataFrame(drawn[1], columns=table.columns)


def test_a_classifier_tells_apart_what_differs_and_names_it(tmp_path):
    pytest.importorskip("sklearn")
    real, simulated = tables()
    assert tell_apart(real, simulated).auroc < 0.75
    moved = simulated.assign(t_V4=simulated["t_V4"] + 10 * real["t_V4"].std())
    verdict = tell_apart(real, moved)
    assert verdict.auroc > 0.95
    assert verdict.telling["feature"][0] == "t_V4"
    assert verdict.telling["alone"][0] > 0.95
    assert verdict.groups["t"] > 0.9 > verdict.groups["r"]
    with pytest.raises(UserError, match="at least 10"):
        tell_apart(real[:3], simulated)


def test_distances_summary_and_pictures(tmp_path):
    real, simulated = tables()
    apart = distances(real, simulated)
    assert set(apart["feature"]) == set(real.columns)
    assert apart["ks"].between(0, 1).all()
    short = summary(apart).set_index("quantity")
    assert {"rate", "qtc", "r", "t"} <= set(short.index)
    assert short.loc["r", "worst"]
    assert len(hang_together(real, simulated, 5)) == 5
    power = np.zeros((3, 12, 40))
    drawn = draw_all(real, simulated, (np.linspace(0.5, 49, 40), power, power), tmp_path / "pictures")
    assert len(drawn) == 15
    assert all(path.stat().st_size > 1000 for _, path in drawn)


def test_memory_and_stream():
    assert stream((3, 0, 100.0)) == 3
    assert Memory(10, 40, 100.0, 105.0).flat
    assert not Memory(10, 40, 100.0, 150.0).flat


def test_normal_records_of_ptbxl_and_as_many_simulated(tmp_path):
    root = make_ptbxl(tmp_path, records=30, folds=(1, 2, 9))
    real = real_normals(root, 10, 0)
    assert real.signals.shape == (len(real.label_sets), 12, 1000)
    assert set(real.label_sets) == {frozenset({"NORM", "SR"})}
    assert 0 < len(real.label_sets) <= 4  # Of two folds, where a patient is one of two records.
    assert simulated_normals(real.label_sets, 7).signals.shape == real.signals.shape
    with pytest.raises(UserError, match="ptbxl_database.csv"):
        real_normals(Path("nowhere"), 3, 0)


def test_the_command_checks_labels_and_writes_nothing(tmp_path, capsys):
    page = tmp_path / "simulator.md"
    bench_sim(["--labels", "SBRAD", "--records", "2", "--out", str(page)])
    said = capsys.readouterr().out
    assert "SBRAD" in said and "1 labels" in said
    assert not page.exists()


def test_the_command_without_ptbxl_leaves_realism_out(capsys, tmp_path):
    bench_sim(["--only", "realism", "--out", str(tmp_path / "simulator.md")])
    assert "--data_root" in capsys.readouterr().out
    assert not (tmp_path / "simulator.md").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--records", "0"], "--records 0"),
        (["--labels", "SR", "--only", "speed"], "--labels"),
        (["--only", "beauty"], "beauty"),
        (["--data_root", "nowhere", "--only", "realism"], "ptbxl_database.csv"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(arguments, said, tmp_path):
    with pytest.raises(UserError, match=said):
        bench_sim([*arguments, "--out", str(tmp_path / "simulator.md")])


def test_the_command_as_one_types_it():
    assert parse(["--records", "9"]).command == "ecgclip bench-sim --records 9"
    assert parse(["--data_root", "/somewhere"]).command == "ecgclip bench-sim --data_root DIR"
