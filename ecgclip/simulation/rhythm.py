"""When the atria and the ventricles of a record beat."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ecgclip.simulation.draws import Draws
from ecgclip.simulation.heart import Heart

LEAD_IN = 1.6  # s before the record starts: what began then still shows.


@dataclass
class Timeline:
    """Onsets in s from the start of the record, a list per kind of wave.

    Attributes:
        waves: By kind: ``p``, ``p_low``, ``p_early``, ``p_pointed``, ``own``, ``escape``, ``ventricular``, ``spike``.
        mean_rr: Of the dominant rhythm, s.
        fibrillation: Whether the atria fibrillate.
        flutter: Atrial waves per second, 0 without flutter.
        flutter_phase: Where a flutter wave starts, s.
    """

    waves: dict[str, list[float]] = field(default_factory=dict)
    mean_rr: float = 0.8
    fibrillation: bool = False
    flutter: float = 0.0
    flutter_phase: float = 0.0

    def add(self, kind: str, time: float) -> None:
        """Note a wave."""
        self.waves.setdefault(kind, []).append(time)


@dataclass
class _Beat:
    """A P wave, a QRS, or both."""

    p: float | None
    q: float | None
    p_kind: str = "p"
    q_kind: str = "own"


Event = Callable[[list[_Beat], Heart, float, Draws], list[_Beat]]


def timeline(heart: Heart, seconds: float, draws: Draws) -> Timeline:
    """Draw when the waves of a record come.

    Args:
        heart: Gives rhythm, rate, PQ, block and event.
        seconds: Length of the record.
        draws: The record's random numbers.

    Returns:
        Onsets from ``LEAD_IN`` before the record to just after its end.
    """
    line = Timeline(mean_rr=60.0 / heart.rate)
    beats = RHYTHMS[heart.rhythm](heart, seconds, draws, line)
    # A pattern is made of early beats already.
    patterns = [event for event in heart.events if event in PATTERNS]
    for event in patterns or heart.events:
        beats = EVENTS[event](beats, heart, seconds, draws)
    for beat in beats:
        if beat.p is not None:
            line.add(beat.p_kind, beat.p)
        if beat.q is not None:
            line.add(beat.q_kind, beat.q)
            if heart.rhythm in ("ventricular_pacing", "dual_pacing") and beat.q_kind == "own":
                line.add("spike", beat.q - 0.012)
    return line


# ---- dominant rhythms: each returns its beats in order of time


def _regular(heart: Heart, seconds: float, draws: Draws, rate: float) -> list[float]:
    """Onsets at a rate that swings with breathing and with the slower waves of blood pressure, and trembles a little."""
    rr = 60.0 / rate
    time, phase, slow_phase, out = -LEAD_IN - draws.unit() * rr, draws.unit(), draws.unit(), []
    while time < seconds + 0.3:
        out.append(time)
        # A triangle in place of a sine: as good, and without a call.
        swing = 4 * abs((time * heart.breaths + phase) % 1.0 - 0.5) - 1
        slow = 4 * abs((time * 0.1 + slow_phase) % 1.0 - 0.5) - 1
        time += rr * (1 + heart.breathing * swing + heart.slow * slow + draws.spread(0.004))
    return out


def _sinus(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    ps = _regular(heart, seconds, draws, heart.rate)
    if heart.block == "complete":
        return _dissociated(ps, heart, seconds, draws, line)
    beats: list[_Beat] = []
    group = draws.choice((3, 4, 5)) if heart.block == "wenckebach" else draws.choice((3, 4))
    if heart.block == "high":
        group = draws.choice((3, 3, 4))
    if heart.block == "two_to_one":
        group = 2
    place = int(draws.unit() * group)
    dropped = {"mobitz2": {group - 1}, "two_to_one": {1}, "high": set(range(1, group))}.get(heart.block, set())
    for p in ps:
        q: float | None = p + heart.pq
        if heart.block == "wenckebach":
            # The increments shrink within a group (Wenckebach's own observation), so RR shortens before the pause.
            q = None if place == group - 1 else p + heart.pq + (0.0, 0.09, 0.14, 0.17)[place]
        elif place in dropped:
            q = None
        beats.append(_Beat(p, q))
        place = (place + 1) % group
    line.mean_rr *= {"two_to_one": 2.0, "high": float(group)}.get(heart.block, 1.0)
    line.mean_rr = min(line.mean_rr, 1.5)
    return beats


def _dissociated(ps: list[float], heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    """Atria and ventricles each at their own rate."""
    rr = 60.0 / draws.between(29, 43)
    line.mean_rr = rr
    kind = "own" if draws.chance(0.5) else "escape"
    beats = [_Beat(p, None) for p in ps]
    time = -LEAD_IN - draws.unit() * rr
    while time < seconds + 0.3:
        beats.append(_Beat(None, time, q_kind=kind))
        time += rr * (1 + draws.spread(0.006))
    return beats


def _fibrillation(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    line.fibrillation = True
    rr = 60.0 / heart.rate
    time, beats = -LEAD_IN - draws.unit() * rr, []
    while time < seconds + 0.3:
        beats.append(_Beat(None, time))
        # Skewed to the long side, as the AV node lets the waves through.
        time += max(rr * (0.56 + 0.4 * (draws.unit() + draws.unit()) + (0.55 * draws.unit() if draws.chance(0.15) else 0.0)), 0.32)
    return beats


def _flutter(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    line.flutter = draws.between(4.4, 5.3)
    period = 1.0 / line.flutter
    ratio = draws.choice((2, 3, 4, 4, 0))
    time = -LEAD_IN - draws.unit()
    line.flutter_phase = time - draws.between(0.0, period)
    times = []
    while time < seconds + 0.3:
        times.append(time)
        time += period * (ratio or draws.choice((2, 3, 4)))
    line.mean_rr = period * (ratio or 3)
    return [_Beat(None, t) for t in times]


def _junctional(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    # P is upside down: just before QRS, within it, or after.
    where = draws.choice((-0.085, None, 0.1))
    return [_Beat(None if where is None else q + where, q, p_kind="p_low") for q in _regular(heart, seconds, draws, heart.rate)]


def _atrial(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    return [_Beat(p, p + heart.pq, p_kind="p_low") for p in _regular(heart, seconds, draws, heart.rate)]


def _svt(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    hidden = draws.chance(0.5)
    return [_Beat(None if hidden else q + 0.07, q, p_kind="p_low") for q in _regular(heart, seconds, draws, heart.rate)]


def _vt(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    beats = [_Beat(None, q, q_kind="ventricular") for q in _regular(heart, seconds, draws, heart.rate)]
    if draws.chance(0.6):
        beats += [_Beat(p, None) for p in _regular(heart, seconds, draws, draws.between(65, 95))]
    return beats


def _wandering(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    """Several atrial foci in turn: P, PQ and RR change from beat to beat."""
    rr = 60.0 / heart.rate
    time, beats = -LEAD_IN - draws.unit() * rr, []
    while time < seconds + 0.3:
        kind = draws.choice(("p", "p_low", "p_pointed", "p_early"))
        beats.append(_Beat(time, time + heart.pq + draws.between(-0.03, 0.05), p_kind=kind))
        time += rr * (1 + draws.spread(0.2))
    return beats


def _ventricular_pacing(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    heart.breathing = heart.slow = 0.0
    beats = [_Beat(None, q) for q in _regular(heart, seconds, draws, heart.rate)]
    if draws.chance(0.5):
        beats += [_Beat(p, None) for p in _regular(heart, seconds, draws, draws.between(60, 90))]
    else:
        line.fibrillation = True
    return beats


def _dual_pacing(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    beats = [_Beat(p, p + heart.pq) for p in _regular(heart, seconds, draws, heart.rate)]
    if draws.chance(0.5):
        for beat in beats:
            line.add("spike", (beat.p or 0.0) - 0.008)
    return beats


def _atrial_pacing(heart: Heart, seconds: float, draws: Draws, line: Timeline) -> list[_Beat]:
    heart.breathing = heart.slow = 0.0
    beats = [_Beat(p, p + heart.pq) for p in _regular(heart, seconds, draws, heart.rate)]
    for beat in beats:
        line.add("spike", (beat.p or 0.0) - 0.008)
    return beats


RHYTHMS = {
    "sinus": _sinus,
    "fibrillation": _fibrillation,
    "flutter": _flutter,
    "junctional": _junctional,
    "atrial": _atrial,
    "svt": _svt,
    "vt": _vt,
    "wandering": _wandering,
    "ventricular_pacing": _ventricular_pacing,
    "dual_pacing": _dual_pacing,
    "atrial_pacing": _atrial_pacing,
}

# ---- events: each takes the beats of the dominant rhythm and returns them changed


def _when(beat: _Beat) -> float:
    return beat.q if beat.q is not None else beat.p or 0.0


def _moment(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws, before: float = 1.2) -> int:
    """Return the number of a conducted beat, away from other events, after which an event still shows whole."""
    beats.sort(key=_when)
    active = [i for i, b in enumerate(beats) if b.q is not None]
    foreign = [b.q for b in beats if b.q is not None and b.q_kind != "own"]
    near = 0.72 * 60.0 / heart.rate
    inside = []
    for last, i, following in zip(active, active[1:], active[2:], strict=False):
        q = beats[i].q or 0.0
        alone = q - (beats[last].q or 0.0) > near and (beats[following].q or 0.0) - q > near
        if 0.35 < q < seconds - before and alone and not any(q - near < other < q + before for other in foreign):
            inside.append(i)
    # A record too short for the event gets it at its first beat.
    return draws.choice(inside or [i for i in active if (beats[i].q or 0.0) >= 0][:1] or active[:1] or [0])


def _shift(beats: list[_Beat], start: int, by: float) -> None:
    for beat in beats[start:]:
        beat.p = None if beat.p is None else beat.p + by
        beat.q = None if beat.q is None else beat.q + by


def _interval(beats: list[_Beat], i: int, heart: Heart) -> float:
    """RR around beat ``i``, s."""
    here = beats[i].q
    after = next((b.q for b in beats[i + 1 :] if b.q is not None), None)
    return 60.0 / heart.rate if here is None or after is None else max(after - here, 0.3)


def _gap_free(beats: list[_Beat], start: float, stop: float) -> list[_Beat]:
    """Take out the ventricles' own beats between two times; their P waves march on."""
    for beat in beats:
        if beat.q is not None and beat.q_kind == "own" and start < beat.q < stop:
            beat.q = None
    return [b for b in beats if b.p is not None or b.q is not None]


def _run(beats: list[_Beat], heart: Heart, i: int, count: int, step: float, draws: Draws) -> list[_Beat]:
    """Put ``count`` ventricular beats after beat ``i``."""
    start = beats[i].q or 0.0
    rr = _interval(beats, i, heart)
    time = start + min(max(draws.between(0.52, 0.64) * rr, 0.36), 0.62)
    times = [time + k * step * (1 + draws.spread(0.03)) for k in range(count)]
    beats = _gap_free(beats, start + 0.01, times[-1] + max(0.45, 0.45 * rr))
    return beats + [_Beat(None, t, q_kind="ventricular") for t in times]


def _ventricular(count: int, times: int) -> Event:
    def event(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
        again = draws.choice(range(1, times + 1))
        for _ in range(again):
            i = _moment(beats, heart, seconds, draws, before=0.8 + 0.45 * count)
            beats = _run(beats, heart, i, count, draws.between(0.36, 0.46), draws)
        return beats

    return event


def _short_run(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
    count = draws.choice((3, 4, 5, 6, 8))
    count = max(3, min(count, int((seconds - 1.0) / 0.5)))
    i = _moment(beats, heart, seconds, draws, before=0.6 + 0.42 * count)
    return _run(beats, heart, i, count, draws.between(0.33, 0.45), draws)


def _premature(beats: list[_Beat], heart: Heart, i: int, draws: Draws, p_kind: str | None) -> None:
    """Put an early beat from above the ventricles after beat ``i``; the sinus node starts anew from it."""
    start, rr = beats[i].q or 0.0, _interval(beats, i, heart)
    q = start + max(draws.between(0.56, 0.68) * rr, 0.34)
    early = _Beat(None if p_kind is None else q - heart.pq, q, p_kind=p_kind or "p")
    following = next((k for k in range(i + 1, len(beats)) if beats[k].q is not None), len(beats))
    if following < len(beats):
        _shift(beats, following, q + 1.12 * rr - (beats[following].q or 0.0))
    beats.insert(i + 1, early)


def _early(p_kind: str | None) -> Event:
    def event(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
        for _ in range(draws.choice((1, 2, 3)) if seconds >= 8 else 1):
            _premature(beats, heart, _moment(beats, heart, seconds, draws), draws, p_kind)
        return beats

    return event


def _pattern(every: int) -> Event:
    """Every second or third beat comes early, and the pause after it makes up for that."""

    def event(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
        place = int(draws.unit() * every)
        ventricular = draws.chance(0.7)
        step = draws.between(0.55, 0.64)
        out = beats[:1]
        for i, beat in enumerate(beats[1:], start=1):
            if (i + place) % every == 0:
                q = (out[-1].q or 0.0) + max(step * _interval(beats, i - 1, heart), 0.36)
                beat = _Beat(None, q, q_kind="ventricular") if ventricular else _Beat(q - heart.pq, q, p_kind="p_early")
            out.append(beat)
        return out

    return event


def _arrest(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
    """The sinus node stands still, over 3 s where the record is long enough, and for no multiple of its own interval."""
    rr = 60.0 / heart.rate
    least = min(3.05, max(1.6, 0.36 * seconds))
    pause = (math.ceil(least / rr - 0.4) + draws.choice((0.4, 0.6)) + draws.choice((0.0, 0.0, 1.0))) * rr
    i = _moment(beats, heart, seconds, draws, before=pause + 0.3)
    _shift(beats, i + 1, pause - rr)
    return beats


def _exit_block(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
    """Beats fall out whole, P and all; the pause is twice the interval."""
    i = _moment(beats, heart, seconds, draws, before=2.1)
    gone = {i + 1}
    if draws.chance(0.6):
        gone |= {i + 1 + draws.choice((3, 4, 5)), i - draws.choice((3, 4, 5))}
    return [b for k, b in enumerate(beats) if k not in gone]


def _escape(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
    """A pause that a lower centre ends without a P wave."""
    rr = 60.0 / heart.rate
    i = _moment(beats, heart, seconds, draws, before=2.2)
    time = (beats[i].q or 0.0) + draws.between(1.35, 1.65)
    _shift(beats, i + 1, 1.5 + draws.between(0.55, 0.8) * max(rr, 0.8) - rr + 0.3)
    beats.insert(i + 1, _Beat(None, time, q_kind="own" if draws.chance(0.5) else "escape"))
    return beats


def _paroxysm(beats: list[_Beat], heart: Heart, seconds: float, draws: Draws) -> list[_Beat]:
    """A tachycardia that starts, or stops, at once."""
    step = 60.0 / draws.between(155, 195)
    turn = draws.between(0.35, 0.6) * seconds
    starts = draws.chance(0.5)
    if starts:
        kept = [b for b in beats if (b.q or 0.0) < turn]
        time, stop = (kept[-1].q if kept and kept[-1].q else turn) + 1.15 * step, seconds + 0.3
    else:
        time, stop = -LEAD_IN, turn
        # The sinus node needs a moment to recover.
        kept = [b for b in beats if (b.p or 0.0) > turn + 0.7]
    runs = []
    while time < stop:
        runs.append(_Beat(None, time))
        time += step
    return kept + runs if starts else runs + kept


PATTERNS = ("every_second", "every_third")
EVENTS = {
    "pac": _early("p_early"),
    "premature": _early(None),
    "pvc": _ventricular(1, times=4),
    "couplet": _ventricular(2, times=2),
    "short_run": _short_run,
    "every_second": _pattern(2),
    "every_third": _pattern(3),
    "arrest": _arrest,
    "exit_block": _exit_block,
    "escape": _escape,
    "paroxysm": _paroxysm,
}
