"""Which patient goes where: training, validation or test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecgclip.errors import UserError
from ecgclip.signals.record import SPLITS

BY = ("patient", "time", "site")


@dataclass(frozen=True)
class SplitPlan:
    """How a data set is split. A patient is never on two sides, whatever the plan.

    Attributes:
        by: ``patient``: at random, every label in its share of each split. ``time``: the test patients are those first seen in the
            newest years. ``site``: the test patients are those seen at ``test_sites`` only. In the last two, validation is drawn from the
            rest as in ``patient``.
        val: Share of the records for validation.
        test: Share for the test; with ``site`` it follows from the sites.
        test_sites: For ``site``.
        seed: Of the draw.

    """

    by: str = "patient"
    val: float = 0.1
    test: float = 0.1
    test_sites: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be carried out.

        Raises:
            UserError: In one line.

        """
        if self.by not in BY:
            raise UserError(f"split by {self.by!r} does not exist: known are {', '.join(BY)}")
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise UserError(f"shares of {self.val:g} for val and {self.test:g} for test leave nothing to train on: give less")
        if (self.by == "site") != bool(self.test_sites):
            raise UserError("a split by site needs the sites to test on, and only that split does: give both or neither")


def assign_splits(
    plan: SplitPlan,
    patients: Sequence[str],
    labels: Sequence[Sequence[str]],
    *,
    years: Sequence[int | None] | None = None,
    sites: Sequence[str | None] | None = None,
) -> list[str]:
    """Split records by patient.

    Args:
        plan: How.
        patients: N keys; a record with an empty one is a patient of its own.
        labels: N collections of the ids of positive labels.
        years: N, where the plan goes by time.
        sites: N, where it goes by site.

    Returns:
        N names out of ``SPLITS``. A label of three patients or more is in all three splits, if their shares are above 0.

    Raises:
        UserError: When what the plan goes by is not known, or the sites hold no record or all of them.

    """
    # Numbered by their first record: the keys, and with them another order, depend on the salt.
    person, _ = pd.factorize(pd.Series([patient or f"#{row}" for row, patient in enumerate(patients)], dtype=object))
    size = np.bincount(person)
    groups: list[list[int]] = [[] for _ in size]
    for row, owner in enumerate(person.tolist()):
        groups[owner].append(row)
    carried = [sorted({label for row in rows for label in labels[row]}) for rows in groups]
    where = np.full(len(size), -1)
    test = plan.test
    if plan.by == "time":
        where[_newest(plan, person, size, years)] = 2
    elif plan.by == "site":
        where[_at_sites(plan, groups, sites)] = 2
    if plan.by != "patient":
        test = 0.0
    open_ = np.flatnonzero(where < 0)
    shares = np.array([1 - plan.val - test, plan.val, test])
    where[open_] = _stratify([carried[i] for i in open_], size[open_], shares, plan.seed)
    return [SPLITS[int(where[owner])] for owner in person]


def _stratify(carried: Sequence[Sequence[str]], size: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Share out patients so that every label is spread in proportion, the rarest first.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011, doi:10.1007/978-3-642-23808-6_10) with patients in place of records,
    and one patient of every label promised to every split.

    Args:
        carried: Of each patient, the ids of the labels.
        size: ``(P,)`` records of each.
        shares: ``(3,)``, adding up to 1.
        seed: Of the order, and of ties.

    Returns:
        ``(P,)`` numbers of splits.

    """
    rng = np.random.default_rng([seed, *b"split"])
    order = rng.permutation(len(size))
    holders: dict[str, list[int]] = {}
    for person in order.tolist():
        for label in carried[person]:
            holders.setdefault(label, []).append(person)
    used = shares > 0
    wanted = {label: _wanted(len(people), shares, used) for label, people in holders.items()}
    room = shares * size.sum()
    where = np.full(len(size), -1)

    def place(person: int, need: np.ndarray) -> None:
        best = np.flatnonzero(used & (need >= need[used].max() - 1e-9))
        chosen = int(best[np.argmax(room[best] / shares[best])])
        where[person] = chosen
        room[chosen] -= size[person]
        for label in carried[person]:
            wanted[label][chosen] -= 1

    # Rare labels first: what is left open for them later is not theirs to choose.
    for label in sorted(holders, key=lambda name: (len(holders[name]), name)):
        for person in holders[label]:
            if where[person] < 0:
                place(person, wanted[label])
    for person in order.tolist():
        if where[person] < 0:
            place(person, room / np.maximum(shares, 1e-9))
    return where


def _wanted(people: int, shares: np.ndarray, used: np.ndarray) -> np.ndarray:
    """How many patients with a label each split should get."""
    wanted = shares * people
    if people >= used.sum():
        wanted = np.where(used, np.maximum(wanted, 1), 0)
        wanted[wanted.argmax()] -= wanted.sum() - people
    return np.asarray(wanted, float)


def _newest(plan: SplitPlan, person: np.ndarray, size: np.ndarray, years: Sequence[int | None] | None) -> np.ndarray:
    """Return the patients first seen in the newest years, about as many records as wanted; whole years."""
    known = [] if years is None else [year for year in years if year is not None]
    if years is None or len(known) < len(years):
        raise UserError(f"a split by time needs the year of every record, {len(person) - len(known)} have none: give a column year or date")
    seen = np.full(len(size), np.iinfo(np.int64).max)
    np.minimum.at(seen, person, np.array(years, np.int64))
    distinct = np.unique(seen)
    if len(distinct) < 2:
        raise UserError(f"all patients were first seen in {distinct[0]}: a split by time needs two years")
    # The year from which on there is closest to what is wanted, never all years.
    held = np.array([size[seen >= year].sum() for year in distinct[1:]]) / size.sum()
    return np.asarray(seen >= distinct[1:][np.abs(held - plan.test).argmin()])


def _at_sites(plan: SplitPlan, groups: Sequence[Sequence[int]], sites: Sequence[str | None] | None) -> np.ndarray:
    """Return the patients seen at the test sites only."""
    found = sorted({site for site in sites or () if site})
    if missing := [site for site in plan.test_sites if site not in found]:
        raise UserError(f"no record is of the site {missing[0]!r}: known are {', '.join(found[:20]) or 'none, give a column site'}")
    assert sites is not None
    away = np.array([all(sites[row] in plan.test_sites for row in rows) for rows in groups])
    if away.all() or not away.any():
        raise UserError("the sites to test on leave no patient on one of the two sides: give others")
    return away
