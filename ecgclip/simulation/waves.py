"""The shape of one beat: P, QRS, ST, T and U as bumps in time with a vector each.

A bump is a Gaussian with its own left and right width and, for plateaus, a flat top; a sum of Gaussians per wave follows McSharry et
al. 2003 (one lead) and Sameni et al. 2007 (a moving dipole, equation 4).
"""

from typing import NamedTuple

import numpy as np

from ecgclip.simulation.heart import Heart
from ecgclip.simulation.vectors import Vector, dipole, region, towards


class Bump(NamedTuple):
    """One bump of a beat.

    Attributes:
        at: Its middle, s after the onset of QRS (of P, for P waves).
        left: Width before the middle (sigma), s.
        right: Width after it, s.
        flat: Half of the plateau, s.
        vector: ``(8,)`` mV, see ``ecgclip.simulation.vectors``.
        stretches: Whether its time follows the beat's own RR interval, as ST-T does.
    """

    at: float
    left: float
    right: float
    flat: float
    vector: Vector
    stretches: bool = False


def _bump(at: float, sigma: float, vector: Vector) -> Bump:
    return Bump(at, sigma, sigma, 0.0, vector)


def p_wave(heart: Heart, kind: str = "sinus") -> list[Bump]:
    """Return the two halves of a P wave, right atrium first.

    Args:
        heart: Gives width, heights and axis.
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
    late = dipole(axis - 15, left, 15 - 40 * back, 0.6 * left)
    late[2:4] -= 0.09 * back, 0.03 * back
    return [
        _bump(middle - 0.5 * gap, sigma, dipole(axis + 8, right, 75, 0.8 * right)),
        _bump(middle + 0.5 * gap, sigma, late),
    ]


def _narrow(heart: Heart) -> list[Bump]:
    """QRS of a heart whose both ventricles start together: septum, free walls, base."""
    d = min(heart.qrs, 0.1)
    axis, turn, limb, chest = heart.axis, heart.rotation, heart.limb, heart.chest
    septal = dipole(axis + 190 + heart.loop, 0.35 * heart.septal * limb, 102 + turn, heart.septal * chest)
    main = dipole(axis, limb, 4 + turn, chest)
    terminal = dipole(axis - 150 + 1.5 * heart.loop, 0.2 * limb, -97 + turn, heart.terminal * chest)
    septal[2:5] *= heart.front
    main[4] *= heart.front
    return [
        _bump(0.24 * d, 0.11 * d, septal),
        _bump((0.5 + heart.skew) * d, (0.115 - 0.4 * abs(heart.skew)) * d, main),
        _bump(0.77 * d, 0.11 * d, terminal),
    ]


def _right_block(heart: Heart) -> list[Bump]:
    """Septum and left ventricle as ever, the right ventricle late: R' in V1, S in I and V6."""
    d = heart.qrs
    sigma = max(0.008, 0.34 * (d - 0.078))
    late = dipole(heart.axis if heart.axis > 120 else 185, 0.4 * heart.late * heart.limb, 125, heart.late * heart.chest)
    bumps = _narrow(heart)
    base = bumps[2]
    bumps[2] = base._replace(vector=0.55 * base.vector)
    return [*bumps, _bump(d - 2.1 * sigma, sigma, late)]


def _left_block(heart: Heart) -> list[Bump]:
    """The septum from right to left, then the left ventricle, slowly: no q, a broad notched R in I and V6, QS in V1."""
    d, axis, limb, chest = heart.qrs, heart.axis, heart.limb, heart.chest
    wide = min(max((d - 0.105) / 0.03, 0.0), 1.0)  # notched when complete, slurred when incomplete
    size = 0.6 + 0.35 * wide
    first = dipole(axis + 8, 0.8 * size * limb, -28 + 0.5 * heart.rotation, 0.8 * size * chest)
    second = dipole(axis - 12, 0.8 * size * limb, -50 + 0.5 * heart.rotation, size * chest)
    middle, sigma = 0.52 * d, 0.145 * d
    spread = (0.14 + 0.06 * wide) * d
    return [_bump(middle - spread, sigma, first), _bump(middle + spread, sigma, second)]


def _notched(heart: Heart) -> list[Bump]:
    """Wide without the pattern of either bundle: every phase is slow and the main one is split."""
    d, axis, turn, limb, chest = heart.qrs, heart.axis, heart.rotation, heart.limb, heart.chest
    septal = dipole(axis + 190, 0.25 * heart.septal * limb, 102 + turn, heart.septal * chest)
    first = dipole(axis - 20, 0.8 * limb, 12 + turn, 0.8 * chest)
    second = dipole(axis + 25, 0.55 * limb, -15 + turn, 0.5 * chest)
    terminal = dipole(axis - 140, 0.25 * limb, -95 + turn, 0.65 * chest)
    return [
        _bump(0.2 * d, 0.09 * d, septal),
        _bump(0.38 * d, 0.1 * d, first),
        _bump(0.66 * d, 0.1 * d, second),
        _bump(0.82 * d, 0.1 * d, terminal),
    ]


def _delta(heart: Heart) -> list[Bump]:
    """Pre-excitation: a slow start, then the ventricles as ever."""
    d, axis, limb, chest = heart.qrs, heart.axis, heart.limb, heart.chest
    slow = dipole(axis + 5, 0.42 * limb, 30 + heart.rotation, 0.42 * chest)
    main = dipole(axis, 0.9 * limb, 8 + heart.rotation, 0.95 * chest)
    terminal = dipole(axis - 150, 0.12 * limb, -97 + heart.rotation, 0.5 * chest)
    # The slow start runs up into the main wave without a step.
    return [
        Bump(d - 0.07, 0.024, 0.016, 0.0, slow),
        Bump(d - 0.046, 0.017, 0.0125, 0.0, main),
        _bump(d - 0.021, 0.0105, terminal),
    ]


def _paced(heart: Heart) -> list[Bump]:
    """From the apex of the right ventricle: like left bundle branch block, with the axis upwards."""
    d, limb, chest = heart.qrs, heart.limb, heart.chest
    first = dipole(heart.axis + 10, 0.8 * limb, -60, 0.75 * chest)
    second = dipole(heart.axis - 8, 0.85 * limb, -85, 0.9 * chest)
    return [_bump(0.34 * d, 0.15 * d, first), _bump(0.66 * d, 0.15 * d, second)]


_QRS = {
    "normal": _narrow,
    "rbbb": _right_block,
    "lbbb": _left_block,
    "notched": _notched,
    "delta": _delta,
    "paced": _paced,
}


def _infarcts(heart: Heart, bumps: list[Bump]) -> list[Bump]:
    """Take the R of the infarcted walls away and put a Q at its start."""
    d = heart.qrs
    for scar in heart.q:
        wall = region(scar.region)
        loss = min(0.75, 0.15 + scar.level)
        # A wall's own loss is one of what it sees; what the back wall loses is seen in front as a gain.
        for i, bump in enumerate(bumps):
            seen = towards(bump.vector, wall)
            seen[2:] = np.where(wall[2:] > 0, np.maximum(seen[2:], 0.0), 0.0)
            # All of the first r goes, or it would hide the Q.
            bumps[i] = bump._replace(vector=bump.vector - (1.0 if i == 0 else loss) * seen)
        front = np.where(wall < 0, wall, 0.0)
        front[:2] = 0.0
        direct = wall - front
        if direct.any():
            bumps.append(Bump(0.3 * d, 0.13 * d, 0.15 * d, 0.04 * d, -scar.level * direct))
        if front.any():
            bumps.append(Bump(0.42 * d, 0.14 * d, 0.17 * d, 0.05 * d, -1.6 * scar.level * front))
    return bumps


def _extras(heart: Heart) -> list[Bump]:
    """Small bumps of QRS: R' in V1, notches, J wave."""
    d, out = heart.qrs, []
    if heart.second_r:
        v1 = np.zeros(8)
        v1[2], v1[3] = heart.second_r, 0.45 * heart.second_r
        out.append(_bump(d - 0.002, 0.008, v1))
    if heart.fragments:
        notch = dipole(heart.axis + 15, heart.fragments, 20, heart.fragments)
        out += [
            _bump(0.36 * d, 0.006, -1.3 * notch),
            _bump(0.68 * d, 0.007, -0.8 * notch),
            _bump(d - 0.004, 0.007, 0.9 * notch),
        ]
    if heart.j_wave:
        out.append(_bump(d + 0.012, 0.011, heart.j_wave * region("inferolateral")))
    return out


def _segment(shape: str, start: float, stop: float, vector: Vector) -> list[Bump]:
    """ST of one wall between the J point and the top of T."""
    span = max(stop - start, 0.04)
    middle = start + 0.42 * span
    if shape == "up":  # concave: low at J, rising into T
        return [
            Bump(start + 0.3 * span, 0.014, 0.03, 0.3 * span, 0.7 * vector, True),
            Bump(start + 0.75 * span, 0.3 * span, 0.05, 0.0, 0.6 * vector, True),
        ]
    if shape == "down":  # J slightly off, deeper towards T
        return [
            Bump(middle, 0.016, 0.03, 0.36 * span, 0.55 * vector, True),
            Bump(start + 0.75 * span, 0.3 * span, 0.035, 0.0, 0.75 * vector, True),
        ]
    if shape == "dome":  # convex: high at J, rounded into T
        return [Bump(start + 0.45 * span, 0.022, 0.05, 0.42 * span, vector, True)]
    if shape == "scoop":  # a hanging bow
        return [Bump(start + 0.5 * span, 0.3 * span, 0.28 * span, 0.05 * span, vector, True)]
    if shape == "cove":  # highest at J, down to an inverted T
        return [Bump(start + 0.012, 0.014, 0.4 * span, 0.008, vector, True)]
    return [Bump(middle, 0.014, 0.03, 0.36 * span, vector, True)]


def repolarisation(heart: Heart, qrs: list[Bump], mean_rr: float) -> list[Bump]:
    """Return ST, T and U of a beat.

    Args:
        heart: Gives QTc (Fridericia: QT is QTc times the cube root of RR), vectors, walls and shapes.
        qrs: The bumps of QRS: what is depolarised late is repolarised the other way round.
        mean_rr: s.
    """
    # QTc counts for a narrow QRS; half of a wide one's excess comes on top.
    qt = min(heart.qtc * mean_rr ** (1 / 3), 0.28 + 0.35 * mean_rr) + 0.5 * max(0.0, heart.qrs - 0.1)
    falling = 0.034 * heart.t_narrow * (qt / 0.38)
    rising = 1.5 * falling
    peak = qt - 2.1 * falling
    vector = dipole(heart.t_axis, heart.t_size, heart.t_angle, heart.t_size)
    out: list[Bump] = []
    if heart.strain:
        # Areas, so that a short high wave weighs no more than a long low one.
        away = -sum((b.vector * (b.left + b.right + 2 * b.flat) for b in qrs), np.zeros(8)) / 0.05
        vector = vector * max(0.0, 1 - 1.6 * heart.strain) + heart.strain * away
        out += _segment("flat", heart.qrs, peak - rising, 0.3 * heart.strain * away)
    for change in heart.t:
        wall = region(change.region)
        vector = vector - towards(vector, wall) + change.level * wall
    for change in heart.st:
        out += _segment(change.shape, heart.qrs, peak - 0.5 * rising, change.level * region(change.region))
    if heart.t_split:
        half = 0.5 * heart.t_split
        out += [
            Bump(peak - half - 0.02, 0.8 * falling, 0.55 * falling, 0.0, 0.9 * vector, True),
            Bump(peak + half, 0.55 * falling, 0.8 * falling, 0.0, 0.8 * vector, True),
        ]
    elif heart.t_biphasic:
        out += [
            Bump(peak - 0.045, 0.9 * falling, 0.8 * falling, 0.0, 0.9 * vector, True),
            Bump(peak + 0.035, 0.7 * falling, 0.8 * falling, 0.0, -heart.t_biphasic * vector, True),
        ]
    else:
        out.append(Bump(peak, rising, falling, 0.0, vector, True))
    if heart.u:
        height = heart.u * (region("chest") if heart.u > 0 else region("left"))
        out.append(Bump(qt + 0.075, 0.027, 0.03, 0.0, height, True))
    return out


def own_beat(heart: Heart, mean_rr: float) -> list[Bump]:
    """Return QRS, ST, T and U of a beat that came down the heart's own conduction system (or, if paced, out of the lead)."""
    qrs = _infarcts(heart, _QRS[heart.qrs_kind](heart)) + _extras(heart)
    return qrs + repolarisation(heart, qrs, mean_rr)


def ventricular_beat(width: float, axis: float, horizontal: float, size: float) -> list[Bump]:
    """Return QRS and T of a beat that starts in a ventricle: wide, of one piece, with ST-T the other way.

    Args:
        width: s.
        axis: Frontal, degrees.
        horizontal: About -70 looks like left bundle branch block (from the right ventricle), 120 like right.
        size: mV.
    """
    first = dipole(axis + 15, 0.75 * size, horizontal + 18, 0.8 * size)
    second = dipole(axis - 20, 0.8 * size, horizontal - 15, 0.75 * size)
    whole = first + second
    return [
        _bump(0.34 * width, 0.16 * width, first),
        _bump(0.66 * width, 0.15 * width, second),
        Bump(width + 0.04, 0.02, 0.05, 0.03, -0.1 * whole),
        Bump(width + 0.15, 0.06, 0.045, 0.0, -0.33 * whole),
    ]


def spike(sampling_rate: float, size: float) -> list[Bump]:
    """Return a pacing spike as a recorder of this rate shows it: far shorter than a sample, so its height falls with the rate."""
    sigma = max(0.001, 0.4 / sampling_rate)
    return [_bump(0.0, sigma, dipole(75, size, -40, 0.8 * size))]
