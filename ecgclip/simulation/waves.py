"""The shape of one beat: P, QRS, ST, T and U as bumps in time with a vector each.

A bump is a Gaussian with its own left and right width and, for plateaus, a flat top; a sum of Gaussians per wave follows McSharry et
al. 2003 (one lead) and Sameni et al. 2007 (a moving dipole, equation 4).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgclip.simulation.body import COS_60, SIN_60, Body, Leads, Vector
from ecgclip.simulation.heart import Heart

NOWHERE: Vector = (0.0, 0.0, 0.0)
LARGEST = 4.5  # mV, of a QRS in any chest lead


class Bump(NamedTuple):
    """One bump of a beat.

    Attributes:
        at: Its middle, s after the onset of QRS (of P, for P waves).
        left: Width before the middle (sigma), s.
        right: Width after it, s.
        flat: Half of the plateau, s.
        vector: The heart's current, mV in x, y and z (``ecgclip.simulation.body``).
        near: ``(8,)`` mV, what single leads see beyond that, or None.
        stretches: Whether its time follows the beat's own RR interval, as ST-T does.
        part: ``qrs``, ``t`` or ``p``, the matrix of ``Body`` that sees it.
    """

    at: float
    left: float
    right: float
    flat: float
    vector: Vector
    near: Leads | None = None
    stretches: bool = False
    part: str = "t"


class Template(NamedTuple):
    """A beat that is ready to be played: ``(K, 4)`` times of its bumps, which of them stretch ``(K,)``, and ``(K, 8)`` mV."""

    times: NDArray[np.float64]
    stretches: NDArray[np.bool_]
    leads: Leads


def template(bumps: list[Bump], body: Body) -> Template:
    """Return what the leads of a body see of a beat."""
    leads = np.empty((len(bumps), 8))
    for row, bump in enumerate(bumps):
        np.dot(getattr(body, bump.part), bump.vector, out=leads[row])
        if bump.near is not None:
            leads[row] += bump.near
    return Template(np.array([b[:4] for b in bumps]), np.array([b.stretches for b in bumps]), leads)


def _scaled(vector: Vector, factor: float) -> Vector:
    return vector[0] * factor, vector[1] * factor, vector[2] * factor


def _sum(one: Vector, other: Vector) -> Vector:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _atrial(at: float, sigma: float, vector: Vector) -> Bump:
    return Bump(at, sigma, sigma, 0.0, vector, part="p")


def _ventricular(at: float, sigma: float, vector: Vector) -> Bump:
    return Bump(at, sigma, sigma, 0.0, vector, part="qrs")


def p_wave(heart: Heart, body: Body, kind: str = "sinus") -> list[Bump]:
    """Return the two halves of a P wave, right atrium first.

    Args:
        heart: Gives width, heights and axis.
        body: Turns axes into vectors.
        kind: ``sinus``; ``low``: from low in the atrium, upside down in II, III and aVF; ``early``: from elsewhere, small and narrow;
            ``pointed``: from elsewhere, tall and narrow.
    """
    width, right, left, axis, back = heart.p_width, heart.p_right, heart.p_left, heart.p_axis, heart.p_back
    if kind == "low":
        axis, width, back = axis - 150.0, 0.85 * width, -0.5
    elif kind == "early":
        axis, width, right, left, back = axis - 75.0, 0.75 * width, 0.06, 0.05, -0.3
    elif kind == "pointed":
        axis, width, right, left = axis + 20.0, 0.7 * width, 0.14, 0.06
    gap, sigma = heart.p_split * width, 0.19 * width
    middle = 0.5 * width
    return [
        _atrial(middle - 0.5 * gap, sigma, body.vector(axis + 12, right, 0.4 * right)),
        _atrial(middle + 0.5 * gap, sigma, body.vector(axis - 15, left, -0.4 * left - 0.06 * back)),
    ]


def _narrow(heart: Heart, body: Body) -> list[Bump]:
    """QRS of a heart whose both ventricles start together: septum, free walls, base."""
    d = min(heart.qrs, 0.1)
    axis, limb = heart.axis - heart.swing, heart.limb
    septal = body.vector(heart.first_axis, heart.first_limb, heart.septal)
    main = body.vector(axis, limb, heart.forward * limb)
    terminal = body.vector(heart.last_axis, heart.last_limb, -heart.terminal)
    return [
        _ventricular(0.24 * d, 0.11 * d, septal),
        _ventricular((0.5 + heart.skew) * d, (0.118 - 0.3 * abs(heart.skew)) * heart.sharpness * d, main),
        _ventricular((0.73 + heart.last_late) * d, (0.122 - 0.3 * heart.last_late) * d, terminal),
    ]


def _right_block(heart: Heart, body: Body) -> list[Bump]:
    """Septum and left ventricle as ever, the right ventricle late: R' in V1, S in I and V6."""
    d = heart.qrs
    sigma = max(0.009, 0.34 * (d - 0.078))
    axis = heart.axis if heart.axis > 120 and not heart.swing else 185.0
    late = body.vector(axis, 0.26 * heart.late * heart.limb, 0.72 * heart.late * heart.limb)
    bumps = _narrow(heart, body)
    base = bumps[2]
    bumps[2] = base._replace(vector=_scaled(base.vector, 0.55))
    return [*bumps, _ventricular(d - 2.1 * sigma, sigma, late)]


def _left_block(heart: Heart, body: Body) -> list[Bump]:
    """The septum from right to left, then the left ventricle, slowly: no q, a broad notched R in I and V6, QS in V1."""
    d, axis = heart.qrs, heart.axis
    wide = min(max((d - 0.095) / 0.025, 0.0), 1.0)  # notched when complete, slurred when incomplete
    size = (0.6 + 0.35 * wide) * heart.limb
    first = body.vector(axis + 8, (0.45 + 0.35 * wide) * size, (-0.45 + heart.forward) * size)
    second = body.vector(axis - 12, 0.8 * size, (-0.95 + heart.forward) * size)
    middle, sigma = 0.52 * d, 0.145 * d
    spread = (0.14 + 0.06 * wide) * d
    return [_ventricular(middle - spread, sigma, first), _ventricular(middle + spread, sigma, second)]


def _notched(heart: Heart, body: Body) -> list[Bump]:
    """Wide without the pattern of either bundle: every phase is slow and the main one is split."""
    d, axis, limb = heart.qrs, heart.axis, heart.limb
    septal = body.vector(axis + 190, 0.2 * heart.septal, heart.septal)
    first = body.vector(axis - 20, 0.8 * limb, (0.15 + heart.forward) * limb)
    second = body.vector(axis + 25, 0.55 * limb, (-0.25 + heart.forward) * limb)
    terminal = body.vector(axis - 140, 0.22 * limb, -0.85 * heart.terminal)
    return [
        _ventricular(0.2 * d, 0.09 * d, septal),
        _ventricular(0.38 * d, 0.1 * d, first),
        _ventricular(0.66 * d, 0.1 * d, second),
        _ventricular(0.82 * d, 0.1 * d, terminal),
    ]


def _delta(heart: Heart, body: Body) -> list[Bump]:
    """Pre-excitation: a slow start from where the bypass enters, then the ventricles as ever."""
    d, axis, limb = heart.qrs, heart.axis, heart.limb
    slow = body.vector(axis + 5, 0.42 * limb, (0.2 + heart.forward) * 0.5 * limb)
    main = body.vector(axis, 0.9 * limb, (0.08 + heart.forward) * limb)
    terminal = body.vector(axis - 150, 0.12 * limb, -0.6 * heart.terminal)
    # The slow start runs up into the main wave without a step.
    return [
        Bump(d - 0.07, 0.024, 0.016, 0.0, slow, part="qrs"),
        Bump(d - 0.046, 0.017, 0.0125, 0.0, main, part="qrs"),
        _ventricular(d - 0.021, 0.0105, terminal),
    ]


def _paced(heart: Heart, body: Body) -> list[Bump]:
    """From the right ventricle: like left bundle branch block, with the axis upwards where the lead lies in the apex."""
    d, limb = heart.qrs, heart.limb
    first = body.vector(heart.axis + 10, 0.8 * limb, -0.6 * limb)
    second = body.vector(heart.axis - 8, 0.85 * limb, -0.85 * limb)
    return [_ventricular(0.34 * d, 0.15 * d, first), _ventricular(0.66 * d, 0.15 * d, second)]


_QRS = {
    "normal": _narrow,
    "rbbb": _right_block,
    "lbbb": _left_block,
    "notched": _notched,
    "delta": _delta,
    "paced": _paced,
}


def _q_waves(heart: Heart, body: Body) -> list[Bump]:
    """The Q of each infarcted wall, and the broad R that faces the Q of a back wall."""
    d, out = heart.qrs, []
    for scar in heart.q:
        out.append(Bump(0.3 * d, 0.14 * d, 0.16 * d, 0.05 * d, NOWHERE, -scar.level * body.wall(scar.region)))
        if "posterior" in scar.region:
            front = body.wall("posterior").copy()
            front[:2] = front[2:][front[2:] > 0] = 0.0
            out.append(Bump(0.44 * d, 0.15 * d, 0.2 * d, 0.11 * d, NOWHERE, -0.9 * scar.level * front))
    return out


def _lose_r(seen: Leads, heart: Heart, body: Body) -> None:
    """Take the infarcted walls' share out of the R of the leads that look at them, in place; ``seen`` is ``(K, 8)``, first vector first."""
    for scar in heart.q:
        facing = np.clip(1.15 * body.wall(scar.region), 0.0, 1.0)
        loss = np.full(len(seen), min(0.97, 0.3 + 1.1 * scar.level))
        loss[0] = 1.0  # All of the first r goes, or it would hide the Q.
        np.multiply(seen, 1.0 - loss[:, None] * facing, out=seen, where=seen > 0)


def _extras(heart: Heart, body: Body) -> list[Bump]:
    """Small bumps of QRS: R' in V1, notches, J wave."""
    d, out = heart.qrs, []
    if heart.second_r:
        v1 = np.zeros(8)
        v1[2], v1[3] = heart.second_r, 0.45 * heart.second_r
        out.append(Bump(d - 0.002, 0.008, 0.008, 0.0, NOWHERE, v1))
    if heart.fragments:
        notch = body.vector(heart.axis + 15, heart.fragments, 0.3 * heart.fragments)
        out += [
            _ventricular(0.36 * d, 0.006, _scaled(notch, -1.3)),
            _ventricular(0.68 * d, 0.007, _scaled(notch, -0.8)),
            _ventricular(d - 0.006, 0.007, _scaled(notch, 0.4)),
        ]
    if heart.j_wave:
        out.append(Bump(d + 0.012, 0.011, 0.011, 0.0, NOWHERE, heart.j_wave * body.wall("inferolateral")))
    return out


def _segment(shape: str, start: float, stop: float, near: Leads) -> list[Bump]:
    """ST of one wall between the J point and the top of T."""
    span = max(stop - start, 0.04)
    middle = start + 0.42 * span
    if shape == "up":  # concave: low at J, rising into T
        parts = [(start + 0.3 * span, 0.018, 0.35 * span, 0.16 * span, 0.75), (start + 0.8 * span, 0.35 * span, 0.06, 0.0, 0.5)]
    elif shape == "down":  # J slightly off, deeper towards T
        parts = [(middle, 0.016, 0.05, 0.34 * span, 0.55), (start + 0.75 * span, 0.3 * span, 0.035, 0.0, 0.75)]
    elif shape == "dome":  # convex: high at J, rounded into T
        parts = [(start + 0.46 * span, 0.024, 0.09, 0.32 * span, 1.0)]
    elif shape == "scoop":  # a hanging bow
        parts = [(start + 0.5 * span, 0.3 * span, 0.28 * span, 0.05 * span, 1.0)]
    elif shape == "cove":  # highest at J, down to an inverted T
        parts = [(start + 0.012, 0.014, 0.4 * span, 0.008, 1.0)]
    else:
        parts = [(middle, 0.014, 0.05, 0.34 * span, 1.0)]
    return [Bump(at, left, right, flat, NOWHERE, share * near, True) for at, left, right, flat, share in parts]


def repolarisation(heart: Heart, body: Body, qrs: list[Bump], mean_rr: float) -> list[Bump]:
    """Return ST, T and U of a beat.

    Args:
        heart: Gives QTc (Fridericia: QT is QTc times the cube root of RR), vectors, walls and shapes.
        body: Turns axes and walls into what the leads see.
        qrs: The bumps of QRS: what is depolarised late is repolarised the other way round.
        mean_rr: s.
    """
    # QTc counts for a narrow QRS; half of a wide one's excess comes on top.
    qt = min(heart.qtc * mean_rr ** (1 / 3), 0.28 + 0.35 * mean_rr) + 0.5 * max(0.0, heart.qrs - 0.1)
    falling = 0.034 * heart.t_narrow * (qt / 0.38)
    rising = heart.t_rise * falling
    peak = qt - 2.1 * falling
    # A large QRS has a large T, though not in proportion.
    size = heart.t_size * (min(max(heart.limb, 0.3), 2.0) ** 0.4)
    vector = body.vector(heart.t_axis, size, heart.t_forward * size)
    out: list[Bump] = []
    if heart.strain:
        # Areas, so that a short high wave weighs no more than a long low one.
        away = NOWHERE
        for b in qrs:
            area = (b.left + b.right + 2 * b.flat) / 0.05
            away = _sum(away, _scaled(b.vector, -area))
        vector = _sum(_scaled(vector, max(0.0, 1 - 1.6 * heart.strain)), _scaled(away, heart.strain))
        opposite = body.qrs @ np.array(away)
        out += _segment("flat", heart.qrs, peak - rising, 0.3 * heart.strain * opposite)
    seen = body.t @ np.array(vector)
    for change in heart.t:
        wall = body.wall(change.region)
        change_seen = change.level * wall
        # A T that is turned the same way only grows.
        kept = np.where((change_seen * seen > 0) & (np.abs(change_seen) > 0.06), 0.8, 1 - np.minimum(np.abs(wall), 1.0))
        seen = kept * seen + change_seen
    out += _segment("flat", heart.qrs, peak - 0.5 * rising, np.array(heart.person.levels))
    for change in heart.st:
        out += _segment(change.shape, heart.qrs, peak - 0.5 * rising, change.level * body.wall(change.region))
    return out + _t_wave(heart, seen, peak, rising, falling) + _u_wave(heart, body, qt)


def _t_wave(heart: Heart, seen: Leads, peak: float, rising: float, falling: float) -> list[Bump]:
    """T as one hump, two, or one up and one down; ``seen`` is what the leads see of it, ``(8,)`` mV."""

    def part(at: float, left: float, right: float, size: float) -> Bump:
        return Bump(at, left, right, 0.0, NOWHERE, size * seen, True)

    if heart.t_split:
        half = 0.5 * heart.t_split
        return [
            part(peak - half - 0.02, 0.8 * falling, 0.55 * falling, 0.9),
            part(peak + half, 0.55 * falling, 0.8 * falling, 0.8),
        ]
    if heart.t_biphasic:
        return [
            part(peak - 0.045, 0.9 * falling, 0.8 * falling, 0.9),
            part(peak + 0.035, 0.7 * falling, 0.8 * falling, -heart.t_biphasic),
        ]
    return [part(peak, rising, falling, 1.0)]


def _u_wave(heart: Heart, body: Body, qt: float) -> list[Bump]:
    if not heart.u:
        return []
    return [Bump(qt + 0.075, 0.027, 0.03, 0.0, NOWHERE, heart.u * body.wall("chest" if heart.u > 0 else "left"), True)]


def own_beat(heart: Heart, body: Body, mean_rr: float) -> Template:
    """Return QRS, ST, T and U of a beat that came down the heart's own conduction system (or, if paced, out of the lead)."""
    qrs = _QRS[heart.qrs_kind](heart, body)
    turn = _frontal_turn(template(qrs, body), heart)
    seen = template(qrs + _q_waves(heart, body) + _extras(heart, body), body)
    own = seen.leads[: len(qrs)]
    own[:, :2] = own[:, :2] @ turn
    _lose_r(own, heart, body)
    limb, chest = _voltage_factors(seen, heart)
    seen.leads[:, :2] *= limb
    seen.leads[:, 2:] *= chest
    rest = template(repolarisation(heart, body, qrs, mean_rr), body)
    if heart.strain:
        rest.leads[:, 2:] *= chest
    return Template(*(np.concatenate(pair) for pair in zip(seen, rest, strict=True)))


def _played(qrs: Template, heart: Heart) -> Leads:
    """Return a QRS in time, ``(t, 8)`` mV, every 3 ms."""
    at, left, right, flat = qrs.times.T
    x = np.arange(-0.02, heart.qrs + 0.04, 0.003)[:, None] - at
    z = np.maximum(np.abs(x) - flat, 0) / np.where(x < 0, left, right)
    wave: Leads = np.exp(-0.5 * z * z) @ qrs.leads
    return wave


def _frontal_turn(qrs: Template, heart: Heart) -> NDArray[np.float64]:
    """Return what turns I and II, ``(2, 2)``, so that the sum of R and S has the heart's axis: a wide loop would have shifted it."""
    wave = _played(qrs, heart)[:, :2]
    one, foot = wave[:, 0], (wave[:, 1] - 0.5 * wave[:, 0]) / SIN_60
    angle = math.radians(heart.axis) - math.atan2(foot.max() + foot.min(), one.max() + one.min())
    cos, sin = math.cos(angle), math.sin(angle)
    to_plane = np.array([[1.0, -COS_60 / SIN_60], [0.0, 1.0 / SIN_60]])
    back = np.array([[1.0, COS_60], [0.0, SIN_60]])
    return to_plane @ np.array([[cos, sin], [-sin, cos]]) @ back


def _voltage_factors(qrs: Template, heart: Heart) -> tuple[float, float]:
    """Return factors on the limb leads and on the chest leads that bring the voltages of QRS into the heart's limits.

    Args:
        qrs: The beat's QRS alone.
        heart: Gives ``limb_voltage`` and ``sokolow``, mV.
    """
    wave = _played(qrs, heart)
    one, two = wave[:, 0], wave[:, 1]
    peak = max(float(np.ptp(lead)) for lead in (one, two, two - one, one - 0.5 * two, two - 0.5 * one, 0.5 * (one + two)))
    sokolow = max(float(-wave[:, 2].min()), 0.0) + max(float(wave[:, 6].max()), float(wave[:, 7].max()), 0.0)
    chest = _into(sokolow, heart.sokolow, heart)
    return _into(peak, heart.limb_voltage, heart), min(chest, LARGEST / max(float(np.abs(wave[:, 2:]).max()), 1e-3))


def _into(value: float, limits: tuple[float, float], heart: Heart) -> float:
    """Return the factor that moves a value into its limits, to somewhere near the one it has broken."""
    low, high = limits
    if low <= value <= high or value < 1e-3:
        return 1.0
    goal = low + (high - low) * heart.person.place if value < low else high - 0.6 * (high - low) * heart.person.place
    return goal / value


def ventricular_beat(width: float, axis: float, forward: float, size: float, body: Body) -> Template:
    """Return QRS and T of a beat that starts in a ventricle: wide, of one piece, with ST-T the other way.

    Args:
        width: s.
        axis: Frontal, degrees.
        forward: Share of ``size``: about -1 looks like left bundle branch block (from the right ventricle), 0.9 like right.
        size: mV.
        body: Turns axes into vectors.
    """
    first = body.vector(axis + 15, 0.75 * size, (forward + 0.25) * 0.8 * size)
    second = body.vector(axis - 20, 0.8 * size, (forward - 0.25) * 0.75 * size)
    whole = _sum(first, second)
    seen = template(
        [
            _ventricular(0.34 * width, 0.16 * width, first),
            _ventricular(0.66 * width, 0.15 * width, second),
            Bump(width + 0.04, 0.02, 0.05, 0.03, _scaled(whole, -0.1), part="qrs"),
            Bump(width + 0.15, 0.06, 0.045, 0.0, _scaled(whole, -0.33), part="qrs"),
        ],
        body,
    )
    seen.leads[:, 2:] *= min(1.0, LARGEST / float(np.abs(seen.leads[:2, 2:]).sum(0).max()))
    return seen


def spike(sampling_rate: float, area: float, body: Body) -> list[Bump]:
    """Return a pacing spike as a recorder of this rate shows it: far shorter than a sample, so its height falls with the rate.

    Args:
        sampling_rate: Hz.
        area: mV s.
        body: Turns axes into vectors.
    """
    sigma = max(0.001, 0.4 / sampling_rate)
    size = area / (math.sqrt(2 * math.pi) * sigma)
    return [_ventricular(0.0, sigma, body.vector(75, size, -0.6 * size))]
