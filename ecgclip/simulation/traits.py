"""What each label changes in a heart: ``traits.yaml``, read once and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ecgclip.errors import UserError
from ecgclip.simulation.body import WALLS
from ecgclip.simulation.draws import Draws
from ecgclip.simulation.heart import Heart, Regional

TABLE = Path(__file__).with_name("traits.yaml")
RECORDS = 21837  # of PTB-XL, of which a weight in the table is a part
_FIELDS = frozenset(entry.name for entry in fields(Heart)) - {"person"}


@dataclass(frozen=True)
class Between:
    """A number drawn evenly from ``low`` to ``high``; with ``times``, a factor on the person's own value."""

    low: float
    high: float
    times: bool = False


@dataclass(frozen=True)
class OneOf:
    """One of several values, each as likely."""

    items: tuple[Any, ...]


@dataclass(frozen=True)
class Added:
    """Items put to a list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Limits:
    """A pair of limits that the drawn heart must keep."""

    low: float
    high: float


@dataclass(frozen=True)
class Wall:
    """A change of Q, ST or T on a wall (one of several, where several are given), in mV."""

    walls: tuple[str, ...]
    low: float
    high: float
    shapes: tuple[str, ...] = ("flat",)


@dataclass(frozen=True)
class Trait:
    """What a label changes.

    Attributes:
        uses: Aspects of the ECG that the label needs for itself; two labels that share one do not show side by side.
        kinds: One or more ways in which the finding shows, each a mapping of a field of ``Heart`` to its new value; walls are added to
            those already there. A record shows one of them, each as likely.
        weight: Records of 21,837 in PTB-XL that carry it (Wagner et al. 2020, table 2 and 3), a guess for labels beyond PTB-XL.
        often_with: Label to how many times more often than by chance it comes beside this one.
        shows: Descriptions that the picture of this label bears out, to how often a reader gives them beside it.
        unless: A field of ``Heart``: where it is filled already, nothing is changed.
    """

    uses: frozenset[str]
    kinds: tuple[Mapping[str, Any], ...]
    weight: float
    often_with: Mapping[str, float]
    shows: Mapping[str, float]
    unless: str

    def apply(self, heart: Heart, draws: Draws) -> None:
        """Change a heart in place, with the record's random numbers."""
        if self.unless and getattr(heart, self.unless):
            return
        for name, value in draws.choice(self.kinds).items():
            setattr(heart, name, _drawn(value, getattr(heart, name), draws))


def _drawn(value: Any, old: Any, draws: Draws) -> Any:
    if isinstance(value, Between):
        number = draws.between(value.low, value.high)
        return old * number if value.times else number
    if isinstance(value, OneOf):
        return draws.choice(value.items)
    if isinstance(value, Added):
        return [*old, *value.items]
    if isinstance(value, Limits):
        return value.low, value.high
    if isinstance(value, tuple):
        # Walls of one kind share their extent.
        extent = draws.unit()
        return old + [Regional(draws.choice(w.walls), w.low + extent * (w.high - w.low), draws.choice(w.shapes)) for w in value]
    return value


def read(path: Path = TABLE) -> dict[str, Trait]:
    """Read a table of traits.

    Args:
        path: A YAML of the form that the head of ``traits.yaml`` explains.

    Returns:
        Label to trait, in the order of the file.

    Raises:
        UserError: For an entry that is no trait, with its place.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    return {name: _trait(entry, f"{path.name}, {name}") for name, entry in entries.items()}


def _trait(entry: Mapping[str, Any], where: str) -> Trait:
    known = ("weight", "uses", "often_with", "shows", "unless", "changes", "kinds")
    unknown = sorted(set(entry) - set(known))
    if unknown:
        raise UserError(f"{where}: no field is called {', '.join(unknown)}: {', '.join(known)} are")
    common = entry.get("changes", {})
    kinds = [{**common, **kind} for kind in entry.get("kinds", [{}])]
    return Trait(
        uses=frozenset(entry["uses"]),
        kinds=tuple({name: _value(name, value, where) for name, value in kind.items()} for kind in kinds),
        weight=float(entry["weight"]),
        often_with={other: float(times) for other, times in entry.get("often_with", {}).items()},
        shows={other: float(share) for other, share in entry.get("shows", {}).items()},
        unless=entry.get("unless", ""),
    )


def _value(name: str, value: Any, where: str) -> Any:
    """Return what a change in the table stands for."""
    if name not in _FIELDS:
        raise UserError(f"{where}: a heart has no {name!r}")
    if isinstance(value, Mapping):
        ((how, what),) = value.items()
        if how == "times":
            return Between(float(what[0]), float(what[1]), times=True)
        if how == "one_of":
            return OneOf(tuple(what))
        if how == "add":
            return Added(tuple(what))
        if how == "limits":
            return Limits(float(what[0]), float(what[1]))
        raise UserError(f"{where}: {name} is {how!r}: write a number, [low, high], times, one_of, add, limits or walls")
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        walls = tuple(Wall(tuple(w["wall"]), float(w["level"][0]), float(w["level"][1]), tuple(w.get("shape", ("flat",)))) for w in value)
        for wall in walls:
            if not set(wall.walls) <= WALLS.keys():
                raise UserError(f"{where}: {name} names a wall that is not one of {', '.join(WALLS)}")
        return walls
    if isinstance(value, list):
        return Between(float(value[0]), float(value[1]))
    return value


_ALL = read()
# What people with a finding have beside it.
PATIENT: Trait = _ALL.pop("PATIENT")
# Drawn on request, too rare for the catalogue.
EXTRA: dict[str, Trait] = {"DEXTRO": _ALL.pop("DEXTRO")}
TRAITS: dict[str, Trait] = _ALL
DRAWABLE: tuple[str, ...] = tuple(TRAITS)
