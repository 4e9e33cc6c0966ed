"""Which labels can be drawn side by side, and drawing sets of them."""

from collections.abc import Collection
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecgclip.errors import UserError
from ecgclip.labels import Catalogue
from ecgclip.simulation.traits import DRAWABLE, RECORDS, TRAITS

NORMAL_WITH = frozenset({"SR", "SBRAD", "SARRH"})  # All that stands beside a normal ECG (clinical rules of the catalogue).
NORMAL_RHYTHMS = ("SBRAD", "SARRH")  # Each beside one normal ECG in twenty.
COMPANIONS = (0.35, 0.35, 0.2, 0.1)  # How often an ECG with a finding has none, one, two or three more.
PREVALENCES = ("uniform", "balanced", "hospital")
NORMAL_SHARE = {"balanced": 0.25, "hospital": TRAITS["NORM"].weight / RECORDS}


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """Return the catalogue that the simulator draws, read once."""
    return Catalogue.load("ja98")


def essential(labels: Collection[str]) -> frozenset[str]:
    """Return a set without what its other labels imply: Wenckebach says which second-degree block is meant.

    Args:
        labels: Ids with a trait.

    Raises:
        UserError: For labels that exclude each other.
    """
    known = frozenset(labels) & TRAITS.keys()
    conflicts = catalogue().conflicts(known | catalogue().implied(known))
    if conflicts:
        raise UserError(f"simulate: {conflicts[0][0]} and {conflicts[0][1]} exclude each other: leave one of them out")
    implied = frozenset().union(*(catalogue().implied([name]) - {name} for name in known))
    return frozenset(labels) - implied


@lru_cache(maxsize=1)
def compatible() -> NDArray[np.bool_]:
    """Return which two labels show side by side, ``(98, 98)`` bool, symmetric, in the order of ``DRAWABLE``.

    Two labels do where neither needs an aspect of the ECG that the other one needs, and the catalogue, implied labels included, does
    not exclude them.
    """
    out = np.zeros((len(DRAWABLE), len(DRAWABLE)), bool)
    for i, one in enumerate(DRAWABLE):
        for j, other in enumerate(DRAWABLE[:i]):
            fits = not TRAITS[one].uses & TRAITS[other].uses
            if "NORM" in (one, other):
                fits = bool({one, other} & NORMAL_WITH)
            both = frozenset((one, other))
            out[i, j] = out[j, i] = fits and not catalogue().conflicts(both | catalogue().implied(both))
    return out


@lru_cache(maxsize=1)
def affinities() -> NDArray[np.float64]:
    """Return how many times more often than by chance a label (column) comes beside another (row), ``(98, 98)``."""
    out = np.ones((len(DRAWABLE), len(DRAWABLE)))
    for name, trait in TRAITS.items():
        for other, times in trait.often_with.items():
            if other not in TRAITS:
                raise UserError(f"traits.yaml, {name}: often_with names {other!r}, no label here")
            out[DRAWABLE.index(name), DRAWABLE.index(other)] = times
    return out


def draw_label_sets(n: int, seed: int, prevalence: str = "uniform") -> list[frozenset[str]]:
    """Draw sets of labels that occur together and all show in the record drawn for them.

    Sinus rhythm is named wherever nothing else is the rhythm; labels that another one implies are left to the catalogue.

    Args:
        n: How many.
        seed: Not negative; the sets follow from it and ``n``.
        prevalence: ``uniform``: every label (but sinus rhythm) about equally often; ``hospital``: as in PTB-XL, with a long tail;
            ``balanced``: halfway, by the square root of ``hospital``, with a normal ECG in every fourth record.

    Returns:
        n sets of ids of ``ja98``.

    Raises:
        UserError: For another prevalence, or a negative number.
    """
    if prevalence not in PREVALENCES:
        raise UserError(f"draw_label_sets: prevalence {prevalence!r} is not one of {', '.join(PREVALENCES)}")
    if n < 0 or seed < 0:
        raise UserError(f"draw_label_sets: n {n} and seed {seed} must not be negative")
    rng = np.random.default_rng(seed)
    pairs = compatible()
    sinus, normal = DRAWABLE.index("SR"), DRAWABLE.index("NORM")
    weights = np.array([TRAITS[name].weight for name in DRAWABLE]) ** (0.5 if prevalence == "balanced" else 1.0)
    often = np.where(np.isin(np.arange(len(DRAWABLE)), (sinus, normal)), 0.0, weights)
    drawn = np.zeros(len(DRAWABLE))
    drawn[sinus] = np.inf
    out = []
    for _ in range(n):
        if prevalence == "uniform":
            target = int(np.argmin(drawn + 0.5 * rng.random(len(drawn))))
            often = np.where(np.isfinite(drawn), 1.0 / (1.0 + drawn - drawn.min()) ** 2, 0.0)
        elif rng.random() < NORMAL_SHARE[prevalence]:
            target = normal
        else:
            target = int(rng.choice(len(often), p=often / often.sum()))
        chosen = [target] if target == normal else _with_companions(target, often, pairs, rng)
        if target == normal and rng.random() < 0.1:
            chosen.append(DRAWABLE.index(NORMAL_RHYTHMS[int(rng.integers(2))]))
        if bool(pairs[chosen, sinus].all()):
            chosen.append(sinus)
        out.append(_described({DRAWABLE[i] for i in chosen}, rng))
        drawn[[DRAWABLE.index(name) for name in out[-1]]] += 1
    return out


def _with_companions(target: int, often: NDArray[np.float64], pairs: NDArray[np.bool_], rng: np.random.Generator) -> list[int]:
    """Return a finding and up to three labels beside it, each drawn as often as ``often`` says."""
    chosen = [target]
    affinity = affinities()
    for _ in range(int(rng.choice(len(COMPANIONS), p=COMPANIONS))):
        left = often * pairs[chosen].all(0) * affinity[chosen].prod(0)
        if left.sum() == 0:
            break
        chosen.append(int(rng.choice(len(left), p=left / left.sum())))
    return chosen


def _described(labels: set[str], rng: np.random.Generator) -> frozenset[str]:
    """Add the descriptions that a reader gives beside these labels."""
    for name in sorted(labels, key=DRAWABLE.index):
        for other, share in TRAITS[name].shows.items():
            if rng.random() < share and not catalogue().conflicts(catalogue().implied(labels | {other})):
                labels = labels | {other}
    return frozenset(labels)


def left_open(labels: Collection[str]) -> frozenset[str]:
    """Return the descriptions that the picture of these labels bears out and that are not among them: neither there nor absent.

    Args:
        labels: Ids of one record.
    """
    return frozenset(other for name in labels if name in TRAITS for other in TRAITS[name].shows) - frozenset(labels)
