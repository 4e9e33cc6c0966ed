"""Label sets and seeds in, 12-lead ECGs out."""

import math
import multiprocessing
import os
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgclip.errors import UserError
from ecgclip.simulation import recorder
from ecgclip.simulation.body import Body
from ecgclip.simulation.draws import Draws
from ecgclip.simulation.heart import Heart, healthy
from ecgclip.simulation.label_sets import NORMAL_WITH, essential
from ecgclip.simulation.rhythm import Timeline, timeline
from ecgclip.simulation.traits import EXTRA, PATIENT, TRAITS
from ecgclip.simulation.waves import Template, own_beat, p_wave, spike, template, ventricular_beat

CHUNK = 64  # Records at a time: their waves stay within the processor's cache.
BLOCK = 512  # Records that one process makes before it hands them over.
REACH = 3.6  # Widths of a bump beyond which it is under 0.2 % of its height.
ORDER = {name: place for place, name in enumerate((*TRAITS, *EXTRA))}
ALL_TRAITS = {**TRAITS, **EXTRA}


class Score(NamedTuple):
    """A record before it is played: its bumps in time, and what each looks like in the leads.

    Attributes:
        at, left, right, flat, gain: ``(M,)`` each, one bump of one beat: its middle and widths in s, its factor.
        column: ``(M,)`` int, its row of ``vectors``.
        vectors: ``(K, 8)`` mV: I, II, V1-V6.
        waves: ``(C, 8)`` and their time courses ``(C, T)``, of fibrillation or flutter.
    """

    at: NDArray[np.float64]
    left: NDArray[np.float64]
    right: NDArray[np.float64]
    flat: NDArray[np.float64]
    gain: NDArray[np.float64]
    column: NDArray[np.int64]
    vectors: NDArray[np.float64]
    waves: tuple[NDArray[np.float64], NDArray[np.float64]] | None


def simulate(
    label_sets: Sequence[Collection[str]],
    seeds: Sequence[int],
    *,
    sampling_rate: float = 100.0,
    seconds: float = 10.0,
    noise: bool = True,
) -> NDArray[np.float32]:
    """Draw one 12-lead ECG per label set, with the trait of every label.

    A record follows from its label set and its seed alone. One seed is one person: with another label set, the same heart shows
    something else.

    Args:
        label_sets: N sets of ids of the catalogue ``ja98`` (or ``DEXTRO``, dextrocardia); an empty one is a normal ECG.
        seeds: N whole numbers, not negative.
        sampling_rate: Hz.
        seconds: Length of a record. Events want 10 s; shorter ones show what fits.
        noise: Take the record with a recorder: its noise, its filters and its steps. Without, the ECG is as the heart made it.

    Returns:
        ``(N, 12, T)`` float32, mV, leads I, II, III, aVR, aVL, aVF, V1-V6; ``T = round(sampling_rate * seconds)``.

    Raises:
        UserError: For an unknown label, labels that exclude each other, another number of seeds than of sets, a negative seed, or a
            rate or length that is not positive.
    """
    if len(label_sets) != len(seeds):
        raise UserError(f"simulate: {len(label_sets)} label sets but {len(seeds)} seeds: give one seed per set")
    if not (sampling_rate > 0 and math.isfinite(sampling_rate)):
        raise UserError(f"simulate: sampling rate {sampling_rate:g} Hz must be above 0 (100 or 500 are common)")
    if not (seconds > 0 and math.isfinite(seconds)) or round(sampling_rate * seconds) < 1:
        raise UserError(f"simulate: {seconds:g} s at {sampling_rate:g} Hz is not a single sample: ask for 10 s")
    samples = round(sampling_rate * seconds)
    out = np.empty((len(label_sets), 12, samples), np.float32)
    for start in range(0, len(label_sets), CHUNK):
        stop = start + CHUNK
        _chunk(label_sets[start:stop], seeds[start:stop], sampling_rate, noise, out[start:stop])
    return out


def simulate_blocks(
    label_sets: Sequence[Collection[str]],
    seeds: Sequence[int],
    *,
    sampling_rate: float = 100.0,
    seconds: float = 10.0,
    size: int = BLOCK,
    jobs: int | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Draw many records, block by block and in order, on several processes; the memory does not grow with their number.

    Args:
        label_sets: N sets, as for :func:`simulate`.
        seeds: N whole numbers.
        sampling_rate: Hz.
        seconds: Length of a record.
        size: Records in a block.
        jobs: Processes; None for one per core, fewer where there is little to do. The records are the same for any number.

    Yields:
        ``(size, 12, T)`` float32, mV; the last block may be shorter.

    Raises:
        UserError: As :func:`simulate`.
    """
    starts = range(0, len(label_sets), size)
    draw = partial(simulate, sampling_rate=sampling_rate, seconds=seconds)
    jobs = min(len(os.sched_getaffinity(0)) if jobs is None else jobs, len(starts) // 2) if hasattr(os, "sched_getaffinity") else 1
    if jobs < 2:
        for start in starts:
            yield draw(label_sets[start : start + size], seeds[start : start + size])
        return
    # Forked, as PyTorch's own loaders are: a script needs no main guard, and the children use NumPy alone.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        ahead: deque[Future[NDArray[np.float32]]] = deque()
        for start in starts:
            ahead.append(pool.submit(draw, label_sets[start : start + size], seeds[start : start + size]))
            if len(ahead) > 2 * jobs:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _chunk(label_sets: Sequence[Collection[str]], seeds: Sequence[int], rate: float, noise: bool, out: NDArray[np.float32]) -> None:
    """Fill ``out`` ``(n, 12, T)`` with the records of one chunk."""
    samples = out.shape[2]
    scores, hearts, streams = [], [], []
    for row, (labels, seed) in enumerate(zip(label_sets, seeds, strict=True)):
        if int(seed) != seed or seed < 0:
            raise UserError(f"simulate: seed {seed} of record {row} is not a whole number from 0 up")
        draws = Draws(int(seed))
        heart = healthy(draws)
        names = ordered(labels)
        if not NORMAL_WITH.issuperset(names):
            PATIENT.apply(heart, draws)
        for name in names:
            ALL_TRAITS[name].apply(heart, draws)
        body = Body(heart.person, heart.axis - heart.swing, heart.rotation, heart.chest)
        scores.append(score(heart, body, timeline(heart, samples / rate, draws), rate, samples, draws))
        hearts.append(heart)
        streams.append(draws)
    leads = _play(scores, rate, samples)
    _place_electrodes(leads, hearts)
    if noise:
        for row, draws in enumerate(streams):
            recorder.record(leads[row], recorder.draw(draws, samples / rate), rate, draws)
    _derive(leads, out)


def ordered(labels: Collection[str]) -> list[str]:
    """Return the labels in the catalogue's order, so that a set's own order changes nothing.

    Raises:
        UserError: For a label that has no trait, or labels that exclude each other.
    """
    names = {labels} if isinstance(labels, str) else set(labels)
    unknown = sorted(names - ALL_TRAITS.keys())
    if unknown:
        raise UserError(f"simulate: no label {', '.join(map(repr, unknown))}: the ids are those of the catalogue ja98, such as CRBBB")
    return sorted(essential(names), key=ORDER.__getitem__)


def score(heart: Heart, body: Body, line: Timeline, rate: float, samples: int, draws: Draws) -> Score:
    """Write out every bump of a record."""
    templates = {kind: _template(kind, heart, body, line, rate, draws) for kind in line.waves}
    beats = sorted(t for kind in ("own", "escape", "ventricular") for t in line.waves.get(kind, ()))
    before = dict(zip(beats[1:], np.diff(beats).tolist(), strict=True)) if len(beats) > 1 else {}
    parts: list[NDArray[np.float64]] = []
    columns: list[NDArray[np.int64]] = []
    first = 0
    for kind, beat in templates.items():
        times = np.array(line.waves[kind])
        # QT follows the interval before a beat, but not all the way (hysteresis).
        ratio = np.array([before.get(t, line.mean_rr) for t in line.waves[kind]]) / line.mean_rr
        stretch = np.clip(ratio, 0.5, 1.6) ** 0.2
        swing = np.sin(2 * np.pi * heart.breaths * times) + 0.4 * draws.rng.standard_normal(len(times))
        gain = 1.0 + heart.beat_gain * swing
        at = times[:, None] + beat.times[:, 0] * np.where(beat.stretches, stretch[:, None], 1.0)
        block = np.empty((5, *at.shape))
        block[0], block[1], block[2], block[3], block[4] = at, *beat.times[:, 1:].T, gain[:, None]
        parts.append(block.reshape(5, -1))
        columns.append(np.tile(np.arange(first, first + len(beat.times)), len(times)))
        first += len(beat.times)
    flat = np.concatenate(parts, axis=1) if parts else np.empty((5, 0))
    column = np.concatenate(columns) if columns else np.empty(0, np.int64)
    table = np.concatenate([beat.leads for beat in templates.values()]) if templates else np.empty((0, 8))
    at, left, right, plateau, gains = flat
    return Score(at, left, right, plateau, gains, column, table, _atrial_waves(line, body, rate, samples, draws))


def _template(kind: str, heart: Heart, body: Body, line: Timeline, rate: float, draws: Draws) -> Template:
    if kind == "own":
        return own_beat(heart, body, line.mean_rr)
    if kind in ("escape", "ventricular"):
        # From the outflow tract and the apex of the right ventricle, from the bottom and the free wall of the left one.
        axis, forward = draws.choice(((90.0, -0.9), (-65.0, -0.9), (-100.0, 0.8), (150.0, 0.9), (60.0, 0.7), (-30.0, -0.6)))
        width = draws.between(0.13, 0.17) if kind == "ventricular" else draws.between(0.125, 0.155)
        size = draws.between(0.75, 1.6) if kind == "ventricular" else draws.between(0.7, 1.1)
        axis, forward = axis + draws.between(-25, 25), forward + draws.between(-0.25, 0.25)
        return ventricular_beat(width, axis, forward, size, body)
    if kind == "spike":
        # What is left of half a millisecond behind the recorder's filter, mV s.
        area = 0.0006 * 12.0 ** draws.unit()
        return template(spike(rate, draws.choice((-1.0, 1.0)) * area, body), body)
    return template(p_wave(heart, body, {"p": "sinus", "p_low": "low", "p_early": "early", "p_pointed": "pointed"}[kind]), body)


def _atrial_waves(
    line: Timeline, body: Body, rate: float, samples: int, draws: Draws
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """f waves (irregular, 5-8 per second, best in V1) or F waves (a saw, best in II, III and aVF)."""
    if not (line.fibrillation or line.flutter):
        return None
    t = np.arange(samples) / rate
    if line.flutter:
        phase = (t - line.flutter_phase) * line.flutter
        # Slowly down, fast up: the first four harmonics of a saw, the higher ones less, or they would ripple.
        saw = sum(np.sin(2 * np.pi * k * phase) / k**1.6 for k in range(1, 5))
        size = draws.between(0.07, 0.16) * (1.0 if draws.chance(0.8) else -1.0)  # Mostly counter-clockwise round the tricuspid valve.
        return (body.p @ np.array(body.vector(85 + draws.between(-20, 20), size, -0.8 * size)))[None], np.asarray(saw)[None]
    rows, vectors = [], []
    coarse = draws.between(0.25, 1.4)
    for _ in range(3):
        speed = draws.between(4.6, 8.4)
        drift = draws.between(0.4, 0.9) * np.sin(2 * np.pi * draws.between(0.4, 1.3) * t + 6.28 * draws.unit())
        swell = 1 + 0.6 * np.sin(2 * np.pi * draws.between(0.3, 1.1) * t + 6.28 * draws.unit())
        rows.append(swell * np.sin(2 * np.pi * (speed * t + drift) + 6.28 * draws.unit()))
        size = coarse * draws.between(0.015, 0.04)
        vectors.append(body.p @ np.array(body.vector(draws.between(20, 110), size, draws.between(0.8, 1.8) * size)))
    return np.array(vectors), np.array(rows)


def _play(scores: Sequence[Score], rate: float, samples: int) -> NDArray[np.float32]:
    """Turn scores into ``(n, 8, T)`` float32, mV: I, II, V1-V6."""
    depths = [len(s.vectors) + (0 if s.waves is None else len(s.waves[0])) for s in scores]
    depth = max(depths)
    vectors = np.zeros((len(scores), depth, 8), np.float32)
    basis = np.zeros((len(scores), depth, samples), np.float32)
    base = []
    for row, s in enumerate(scores):
        k = len(s.vectors)
        vectors[row, :k] = s.vectors
        base.append(s.column + row * depth)
        if s.waves is not None:
            vectors[row, k : k + len(s.waves[0])], basis[row, k : k + len(s.waves[0])] = s.waves
    at, left, right, flat, gain = (np.concatenate(part) for part in list(zip(*scores, strict=True))[:5])
    first = np.ceil((at - flat - REACH * left) * rate).astype(np.int64)
    last = np.floor((at + flat + REACH * right) * rate).astype(np.int64)
    np.clip(first, 0, samples, out=first)
    np.clip(last, -1, samples - 1, out=last)
    lengths = np.maximum(last - first + 1, 0)
    ends = np.cumsum(lengths)
    bump = np.repeat(np.arange(len(at)), lengths)
    sample = np.arange(len(bump)) - np.repeat(ends - lengths - first, lengths)
    x = (sample / rate - at[bump]).astype(np.float32)
    width = np.where(x < 0, left[bump], right[bump]).astype(np.float32)
    z = np.maximum(np.abs(x) - flat[bump].astype(np.float32), 0) / width
    values = gain[bump].astype(np.float32) * np.exp(-0.5 * z * z)
    place = np.concatenate(base)[bump] * samples + sample
    np.add.at(basis.reshape(-1), place, values)
    # One product per record, of its own depth: with another record's padding the rounding would differ.
    out = np.empty((len(scores), 8, samples), np.float32)
    for row, k in enumerate(depths):
        np.matmul(vectors[row, :k].T, basis[row, :k], out=out[row])
    return out


def _place_electrodes(leads: NDArray[np.float32], hearts: Sequence[Heart]) -> None:
    """Exchange the arms' electrodes, or mirror the heart below all of them, where a heart says so."""
    for eight, heart in zip(leads, hearts, strict=True):
        if heart.arms_swapped != heart.mirrored:  # Both look alike in the limb leads: I upside down, II and III exchanged.
            eight[1] -= eight[0]
            eight[0] *= -1
        if heart.mirrored:
            # On the right chest there is less and less heart under V3-V6.
            eight[2:] = eight[[3, 2, 2, 2, 2, 2]] * np.array([1, 0.9, 0.7, 0.5, 0.35, 0.25], np.float32)[:, None]


def _derive(leads: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Fill ``(n, 12, T)`` from I, II and V1-V6 by Einthoven's and Goldberger's laws, so that II = I + III holds to rounding."""
    one, two = leads[:, 0], leads[:, 1]
    out[:, 0], out[:, 1] = one, two
    out[:, 2] = two - one
    out[:, 3] = -(one + two) / 2
    out[:, 4] = one - two / 2
    out[:, 5] = two - one / 2
    out[:, 6:] = leads[:, 2:]
