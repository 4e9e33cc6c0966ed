"""The heart's dipole and what eight independent leads see of it.

A wave is eight numbers: the two parts of its frontal vector (left, down) and its six precordial leads. The frontal part gives the
limb leads by Einthoven's triangle, so that an axis of 60 degrees is one; the precordial part comes from a vector of its own in the
horizontal plane through Dower's weights (Dower et al. 1980, as used in the inverse Dower transform of Edenbrandt and Pahlm 1988),
because near the chest wall one distant dipole for both planes is a poor model. Walls of the heart add to single leads.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ecgclip.errors import UserError

Vector = NDArray[np.float64]

# Dower's weights of the leftward and of the forward part in V1-V6.
LEFT = np.array([-0.515, 0.044, 0.882, 1.213, 1.125, 0.831])
FRONT = np.array([0.917, 1.387, 1.277, 0.601, 0.086, -0.230])

# Of the angle between lead I, which is the leftward part, and lead II.
COS_60, SIN_60 = np.float32(0.5), np.float32(math.sqrt(0.75))


def dipole(frontal: float, limb: float, horizontal: float, chest: float) -> Vector:
    """Return the eight numbers of a vector.

    Args:
        frontal: Degrees, 0 towards the left arm (lead I), 90 towards the feet (aVF).
        limb: mV of the frontal part.
        horizontal: Degrees, 0 towards the left, 90 towards the front.
        chest: mV of the horizontal part, before Dower's weights.

    Returns:
        ``(8,)``: left, down, V1-V6.
    """
    out = np.empty(8)
    a, h = math.radians(frontal), math.radians(horizontal)
    out[0], out[1] = limb * math.cos(a), limb * math.sin(a)
    out[2:] = (chest * math.cos(h)) * LEFT + (chest * math.sin(h)) * FRONT
    return out


def _wall(frontal: float | None, limb: float, chest: tuple[float, ...]) -> Vector:
    out = np.zeros(8)
    if frontal is not None:
        out[:2] = limb * math.cos(math.radians(frontal)), limb * math.sin(math.radians(frontal))
    out[2:] = chest
    return out


# Which leads look at a wall: frontal direction and weight, then V1-V6 (Fourth Universal Definition of MI, 2018).
REGIONS: dict[str, Vector] = {
    "septal": _wall(None, 0, (1.0, 1.0, 0.3, 0.0, 0.0, 0.0)),
    "anteroseptal": _wall(None, 0, (0.8, 1.0, 0.9, 0.25, 0.0, 0.0)),
    "anterior": _wall(None, 0, (0.0, 0.6, 1.0, 1.0, 0.35, 0.0)),
    "anterolateral": _wall(-30, 0.7, (0.0, 0.0, 0.5, 1.0, 1.0, 0.9)),
    "lateral": _wall(-30, 0.9, (0.0, 0.0, 0.0, 0.1, 0.8, 1.0)),
    "inferior": _wall(97, 0.95, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    "inferolateral": _wall(80, 0.95, (0.0, 0.0, 0.0, 0.15, 0.8, 1.0)),
    # Nothing faces the back: V1-V3 see it upside down.
    "posterior": _wall(None, 0, (-0.9, -1.0, -0.6, 0.0, 0.0, 0.2)),
    "inferoposterior": _wall(97, 0.95, (-0.9, -1.0, -0.6, 0.0, 0.0, 0.0)),
    "inferoposterolateral": _wall(80, 0.95, (-0.9, -1.0, -0.6, 0.1, 0.8, 1.0)),
    # Findings without a wall.
    "chest": _wall(None, 0, (0.2, 0.8, 1.0, 1.0, 0.8, 0.6)),
    "left": _wall(30, 0.8, (0.0, 0.0, 0.3, 0.8, 1.0, 0.9)),
    "diffuse": _wall(45, 0.9, (0.3, 0.9, 1.0, 1.0, 0.9, 0.8)),
    "right": _wall(None, 0, (1.0, 1.0, 0.7, 0.2, 0.0, 0.0)),
    "frontal": _wall(40, 1.0, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
}


def region(name: str) -> Vector:
    """Return the weights ``(8,)`` of a wall.

    Raises:
        UserError: For a wall that is not in ``REGIONS``.
    """
    if name not in REGIONS:
        raise UserError(f"region {name!r} is not one of {', '.join(REGIONS)}")
    return REGIONS[name]


def towards(vector: Vector, wall: Vector) -> Vector:
    """Return what a wall sees of a vector: each lead's own share of it, with the wall's weights.

    Args:
        vector: ``(8,)``.
        wall: ``(8,)`` from ``REGIONS``.

    Returns:
        ``(8,)``, the part of ``vector`` that points at (or, for the back wall, away from) the wall.
    """
    out = np.abs(wall) * vector
    size = math.hypot(wall[0], wall[1])
    if size:
        along = (vector[0] * wall[0] + vector[1] * wall[1]) / size
        out[:2] = wall[:2] * along
    return out
