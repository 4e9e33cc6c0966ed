import numpy as np
import pytest

from ecgclip.errors import UserError
from ecgclip.prepare.split import SplitPlan, assign_splits


def long_tail(patients: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """One to four records a patient, labels of which the most frequent is a thousand times the rarest."""
    rng = np.random.default_rng(seed)
    names = [f"L{i:02}" for i in range(40)]
    chance = 0.5 * 0.84 ** np.arange(40)
    keys: list[str] = []
    labels: list[list[str]] = []
    for person in range(patients):
        for _ in range(rng.integers(1, 5)):
            keys.append(f"p{person}")
            labels.append([name for name, p in zip(names, chance, strict=True) if rng.random() < p])
    return keys, labels


def test_every_label_is_spread_in_proportion_and_no_patient_is_split() -> None:
    keys, labels = long_tail(2000)
    splits = assign_splits(SplitPlan(), keys, labels)
    of: dict[str, set[str]] = {}
    for key, split in zip(keys, splits, strict=True):
        of.setdefault(key, set()).add(split)
    assert all(len(found) == 1 for found in of.values())
    counts = {name: splits.count(name) / len(splits) for name in ("train", "val", "test")}
    assert counts == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1}, abs=0.02)
    holders: dict[str, set[str]] = {}
    for key, carried in zip(keys, labels, strict=True):
        for label in carried:
            holders.setdefault(label, set()).add(key)
    for label, people in holders.items():
        share = {name: sum(of[person] == {name} for person in people) for name in counts}
        if len(people) >= 3:
            assert min(share.values()) >= 1, (label, share)
        if len(people) >= 100:
            assert share["test"] / len(people) == pytest.approx(0.1, abs=0.02), label


def test_random_patients_do_worse() -> None:
    """What the stratification is for: at random, labels of a few patients miss a split."""
    keys, labels = long_tail(400)
    people = sorted(set(keys))

    def missing(of: dict[str, str]) -> int:
        found: dict[str, set[str]] = {}
        holders: dict[str, set[str]] = {}
        for key, carried in zip(keys, labels, strict=True):
            for label in carried:
                found.setdefault(label, set()).add(of[key])
                holders.setdefault(label, set()).add(key)
        return sum(len(found[label]) < 3 for label in found if len(holders[label]) >= 3)

    ours = missing(dict(zip(keys, assign_splits(SplitPlan(), keys, labels), strict=True)))
    drawn = np.random.default_rng(1).choice(["train", "val", "test"], len(people), p=[0.8, 0.1, 0.1])
    assert ours == 0 < missing(dict(zip(people, drawn.tolist(), strict=True)))


def test_the_salt_of_the_keys_changes_nothing() -> None:
    keys, labels = long_tail(200)
    other = [f"{hash(key) % 10**9}-{key}" for key in keys]
    assert assign_splits(SplitPlan(), keys, labels) == assign_splits(SplitPlan(), other, labels)
    assert assign_splits(SplitPlan(), keys, labels) != assign_splits(SplitPlan(seed=1), keys, labels)


def test_a_record_without_a_patient_is_one_of_its_own() -> None:
    splits = assign_splits(SplitPlan(val=0.25, test=0.25), [""] * 40, [["A"]] * 40)
    assert sorted(splits) == ["test"] * 10 + ["train"] * 20 + ["val"] * 10


def test_a_split_can_be_left_out() -> None:
    splits = assign_splits(SplitPlan(val=0.2, test=0), [f"p{i}" for i in range(50)], [["A"]] * 50)
    assert splits.count("val") == 10
    assert "test" not in splits


def test_by_time_the_test_patients_are_the_newest() -> None:
    rng = np.random.default_rng(0)
    years = rng.integers(2010, 2020, 300).tolist()
    keys = [f"p{i % 150}" for i in range(300)]
    splits = assign_splits(SplitPlan(by="time"), keys, [["A"]] * 300, years=years)
    first = {key: min(y for k, y in zip(keys, years, strict=True) if k == key) for key in keys}
    tested = {first[key] for key, split in zip(keys, splits, strict=True) if split == "test"}
    rest = {first[key] for key, split in zip(keys, splits, strict=True) if split != "test"}
    assert min(tested) > max(rest)
    assert 0.03 < splits.count("test") / 300 < 0.25
    assert "val" in splits


def test_by_site_the_test_is_of_patients_seen_nowhere_else() -> None:
    keys = ["a", "a", "b", "c", "c", "d", "e", "f", "g", "h"]
    sites = ["X", "Y", "X", "Y", "Y", "X", "Y", "Y", "Y", "Y"]
    splits = assign_splits(SplitPlan(by="site", test_sites=("X",), val=0.2), keys, [["A"]] * 10, sites=sites)
    assert [key for key, split in zip(keys, splits, strict=True) if split == "test"] == ["b", "d"]


@pytest.mark.parametrize(
    ("plan", "given", "says"),
    [
        ({"by": "ward"}, {}, "split by 'ward' does not exist"),
        ({"val": 0.6, "test": 0.4}, {}, "leave nothing to train on"),
        ({"by": "site"}, {}, "needs the sites to test on"),
        ({"test_sites": ("X",)}, {}, "give both or neither"),
        ({"by": "time"}, {"years": [2020, None]}, "needs the year of every record, 1 have none"),
        ({"by": "time"}, {"years": [2020, 2020]}, "needs two years"),
        ({"by": "site", "test_sites": ("Z",)}, {"sites": ["X", "Y"]}, "no record is of the site 'Z': known are X, Y"),
        ({"by": "site", "test_sites": ("X",)}, {"sites": ["X", "X"]}, "leave no patient on one"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(plan: dict, given: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        assign_splits(SplitPlan(**plan), ["a", "b"], [["A"], ["A"]], **given)
