"""Criteria of labels as sentences that a cardiologist can read and a program can check: ``pr > 0.200``, ``any2(q[II, III, aVF]) >= 0.1``.

The language is explained at the head of ``criteria.yaml``. Sentences are parsed once and walked; nothing in them is run as Python.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import ecgclip.simulation
from ecgclip.benchmark.simulator.events import NAMES as EVENTS
from ecgclip.benchmark.simulator.events import events
from ecgclip.errors import UserError
from ecgclip.signals.leads import LEADS
from ecgclip.signals.measure import WAVES, Measurements

TABLE = Path(ecgclip.simulation.__file__).with_name("criteria.yaml")
LIMB, CHEST = LEADS[:6], LEADS[6:]
SCALARS = (
    "rate", "rr_sd", "rr_cv", "pr", "p_time", "qrs", "qt", "qtc", "axis", "p_axis", "p_steady", "slur", "amplitude_cv", *EVENTS
)  # fmt: skip
DERIVED = ("bigq", "dep", "j_over")
# Who stands beside whom: the limb leads as Cabrera orders them (aVR turned round), then the chest leads.
NEIGHBOURS = (("aVL", "I"), ("I", "II"), ("II", "aVF"), ("aVF", "III"), *pairwise(CHEST))

Value = Any  # A number, a truth, or (n,) numbers of several leads.


def _nth(largest: int) -> Callable[..., float]:
    def pick(*values: Value) -> float:
        flat = np.concatenate([np.atleast_1d(value) for value in values])
        flat = np.sort(flat[np.isfinite(flat)])[::-1]
        return float(flat[largest - 1]) if len(flat) >= largest else float("nan")

    return pick


def _neighbours(values: NDArray[np.float64]) -> float:
    pairs = [min(values[LEADS.index(a)], values[LEADS.index(b)]) for a, b in NEIGHBOURS]
    return float(np.nanmax(pairs)) if np.isfinite(pairs).any() else float("nan")


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "max": _nth(1),
    "any2": _nth(2),
    "any3": _nth(3),
    "min": lambda *values: -_nth(1)(*(-np.atleast_1d(value) for value in values)),
    "low2": lambda *values: -_nth(2)(*(-np.atleast_1d(value) for value in values)),
    "both": np.minimum,
    "abs": np.abs,
    "neighbours": _neighbours,
    "absent": lambda value: bool(np.isnan(value)),
}
OPERATORS: Mapping[type, Callable[[Value, Value], Value]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: np.divide,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
}  # fmt: skip


class Reading:
    """The measurements of one record by the names that criteria use.

    Args:
        found: Measured on a clean render.
    """

    def __init__(self, found: Measurements) -> None:
        self._values: dict[str, Value] = {name: getattr(found, name) for name in SCALARS if hasattr(found, name)}
        self._values |= events(found)
        self._values |= found.leads
        self._values |= self._derived(found.leads)

    @staticmethod
    def _derived(leads: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        septal = np.isin(LEADS, ("V2", "V3"))
        whole = (leads["r"] == 0) & (leads["q"] > 0)
        long = np.where(septal, leads["q_time"] > 0.02, leads["q_time"] >= 0.03)
        return {
            "bigq": np.where(whole | long, leads["q"], np.minimum(leads["q"], 0.0)),
            "dep": np.minimum(-leads["j"], -leads["st"]),
            "j_over": leads["j"] - np.where(septal, 0.2, 0.1),
        }

    def value(self, name: str) -> Value:
        """Return a measurement: a number, or ``(12,)`` of a wave in every lead."""
        if name in self._values:
            return self._values[name]
        wave, _, lead = name.rpartition("_")
        return float(self._values[wave][LEADS.index(lead)])


@dataclass(frozen=True)
class Criterion:
    """What a label must show.

    Attributes:
        label: Its id.
        source: Who says so.
        needs: Sentences, all of which must hold.
        shows: The measurement that a table reports.
    """

    label: str
    source: str
    needs: tuple[str, ...]
    shows: str

    def failing(self, reading: Reading) -> list[str]:
        """Return the sentences that do not hold for a record."""
        return [sentence for sentence in self.needs if not bool(_walk(_parsed(sentence), reading))]

    def main(self, reading: Reading) -> float:
        """Return the measurement that ``shows`` names."""
        return float(_walk(_parsed(self.shows), reading))


@lru_cache(maxsize=1)
def criteria() -> dict[str, Criterion]:
    """Return the criteria of ``criteria.yaml`` by label, read once.

    Raises:
        UserError: For an entry without a source or with a sentence that cannot be read.
    """
    return read(TABLE)


def read(path: Path) -> dict[str, Criterion]:
    """Read a table of criteria.

    Raises:
        UserError: For an entry without a source or with a sentence that cannot be read, with its place.
    """
    found = {}
    for label, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        where = f"{path.name}, {label}"
        lacking = {"source", "needs", "shows"} - set(entry)
        if lacking or not entry["source"] or not entry["needs"]:
            raise UserError(f"{where}: an entry has source, needs and shows; this one lacks {', '.join(sorted(lacking)) or 'a value'}")
        for sentence in (*entry["needs"], entry["shows"]):
            check(str(sentence), where)
        found[str(label)] = Criterion(str(label), entry["source"], tuple(map(str, entry["needs"])), str(entry["shows"]))
    return found


def check(sentence: str, where: str) -> None:
    """Refuse a sentence that is not of the language.

    Raises:
        UserError: With the place and what is wrong.
    """
    try:
        tree = _parsed(sentence)
    except SyntaxError:
        raise UserError(f"{where}: {sentence!r} is no sentence: write a comparison such as pr > 0.200") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not _known(node.id):
            raise UserError(f"{where}: {sentence!r}: no measurement, lead or function is called {node.id!r}")
        if not isinstance(node, _ALLOWED):
            raise UserError(f"{where}: {sentence!r}: {type(node).__name__} is not part of the language of criteria")


_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Compare, ast.Call, ast.Name, ast.Load,
    ast.Constant, ast.Subscript, ast.Tuple, *OPERATORS,
)  # fmt: skip


def _known(name: str) -> bool:
    wave, _, lead = name.rpartition("_")
    waves = (*WAVES, *DERIVED)
    return name in (*SCALARS, *waves, *FUNCTIONS, *LEADS, "limb", "chest", "meets") or (wave in waves and lead in LEADS)


@lru_cache(maxsize=1024)
def _parsed(sentence: str) -> ast.expr:
    return ast.parse(sentence, mode="eval").body


def _walk(node: ast.expr, reading: Reading) -> Value:
    """Return the value of a part of a sentence for a record."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return reading.value(name)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _walk(operand, reading)
        case ast.UnaryOp(operand=operand):
            return -_walk(operand, reading)
        case ast.BinOp(left=left, op=op, right=right):
            with np.errstate(divide="ignore", invalid="ignore"):
                # A wave that is not there has no amplitude: R over no S is without bound.
                return OPERATORS[type(op)](np.asarray(_walk(left, reading), float), _walk(right, reading))
        case ast.BoolOp(op=op, values=values):
            return (all if isinstance(op, ast.And) else any)(bool(_walk(value, reading)) for value in values)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_walk(side, reading) for side in (left, *comparators)]
            return all(bool(OPERATORS[type(op)](a, b)) for op, a, b in zip(ops, sides[:-1], sides[1:], strict=True))
        case ast.Subscript(value=value, slice=leads):
            return _walk(value, reading)[[LEADS.index(lead) for lead in _leads(leads)]]
        case ast.Call(func=ast.Name(id="meets"), args=[ast.Constant(value=label)]):
            return not criteria()[str(label)].failing(reading)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name](*(_walk(argument, reading) for argument in arguments))
    raise AssertionError(ast.dump(node))  # `check` lets nothing else through.


def _leads(node: ast.expr) -> list[str]:
    names = [element.id for element in (node.elts if isinstance(node, ast.Tuple) else [node]) if isinstance(element, ast.Name)]
    return [lead for name in names for lead in {"limb": LIMB, "chest": CHEST}.get(name, (name,))]
