"""Drawn sets of labels: clinically consistent, even or long-tailed."""

from collections import Counter

import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.simulation import DRAWABLE, draw_label_sets, left_open
from ecgclip.simulation.traits import TRAITS

RHYTHMS = {"AFIB", "AFLT", "STACH", "SBRAD", "SARRH", "SVTAC", "PSVT", "PACE", "VT", "JUNC", "EAR", "3AVB", "SVARR"}


@pytest.fixture(scope="module")
def even() -> list[frozenset[str]]:
    return draw_label_sets(3000, 7)


@pytest.fixture(scope="module")
def hospital() -> list[frozenset[str]]:
    return draw_label_sets(6000, 7, "hospital")


def test_the_simulator_draws_the_catalogue():
    assert set(DRAWABLE) == set(Catalogue.load("ja98").ids)


def test_uniform_draws_every_label_about_equally_often(even):
    counts = Counter(label for labels in even for label in labels)
    described = {other for trait in TRAITS.values() for other, share in trait.shows.items() if share}
    rest = np.array([counts[name] for name in DRAWABLE if name != "SR"])
    alone = np.array([counts[name] for name in DRAWABLE if name != "SR" and name not in described])
    assert rest.min() > 0.6 * rest.mean()
    assert alone.max() < 1.8 * alone.mean()


def test_what_a_picture_bears_out_is_named_or_left_open(even):
    named = [labels for labels in even if "LVH" in labels]
    assert 0.1 < np.mean(["VCLVH" in labels for labels in named]) < 0.9
    assert all(("VCLVH" in labels) != ("VCLVH" in left_open(labels)) for labels in named)
    assert not left_open({"NORM", "SR"})


def test_hospital_has_a_long_tail(hospital):
    counts = Counter(label for labels in hospital for label in labels)
    share = {name: counts[name] / 6000 for name in DRAWABLE}
    assert 0.4 < share["NORM"] < 0.48
    assert share["SR"] > 0.6
    assert 0.03 < share["AFIB"] < 0.12
    assert 0.02 < share["SBRAD"] < 0.06
    assert share["PMI"] < 0.01
    assert len(counts) > 80


@pytest.mark.parametrize("kind", ["even", "hospital"])
def test_sets_hold_together(kind, request):
    catalogue = Catalogue.load("ja98")
    for labels in request.getfixturevalue(kind):
        assert not catalogue.conflicts(catalogue.implied(labels))
        assert len(labels & RHYTHMS) <= 1
        if "AFIB" in labels:
            assert not labels & {"PAC", "LAO/LAE", "RAO/RAE", "1AVB", "LPR", "SPQ", "SABLOCK", "SARREST"}
        if labels & {"PACE", "WPW", "CLBBB"}:
            assert not labels & {
                "LVH",
                "VCLVH",
                "HVOLT",
                "LVOLT",
                "QWAVE",
                "AMI",
                "IMI",
                "STD_",
                "STE_",
                "ISC_",
                "STEMI",
            }
        if "NORM" in labels:
            assert labels <= {"NORM", "SR", "SBRAD", "SARRH"}


def test_labels_come_together(even):
    assert np.mean([len(labels - {"SR"}) > 1 for labels in even]) > 0.4


def test_the_draw_is_repeatable(even):
    assert draw_label_sets(3000, 7) == even
    assert draw_label_sets(3000, 8) != even


@pytest.mark.parametrize(("arguments", "says"), [((5, 0, "clinic"), "'clinic'"), ((-1, 0), "n -1"), ((5, -2), "seed -2")])
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(UserError, match=says):
        draw_label_sets(*arguments)
