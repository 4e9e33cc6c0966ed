"""What eight electrodes see of the heart: a lead matrix of one person.

A wave is a current vector in the body's own directions: x to the left, y to the feet, z to the front. The leads that are
independent (I, II, V1-V6) each take a weighted sum of it. The weights start from Dower's (Dower, Machado and Osborne 1980, as printed
by Edenbrandt and Pahlm 1988) and differ from person to person: the chest electrodes sit a little round the chest, a rib too high or
low and nearer or farther from the heart, and a broad or a narrow body turns the frontal axis. An infarct or an injury lies close to
some electrodes, so a wall is seen more sharply than one distant vector would be (``Body.wall``).
"""

import math

import numpy as np
from numpy.typing import NDArray

from ecgclip.errors import UserError
from ecgclip.simulation.draws import Draws

Vector = tuple[float, float, float]
Leads = NDArray[np.float64]

# Dower's weights of x, y and z (here to the front) in the limb leads; in V1-V6 as angle, size and part of y.
_ONE = (0.632, -0.235, -0.059)
_TWO = (0.235, 1.066, 0.132)
_ANGLES = (119.3, 88.2, 55.4, 26.4, 4.4, -15.5)  # degrees from the left towards the front
_SIZES = (1.052, 1.388, 1.552, 1.354, 1.128, 0.862)
# What brings the median R, S and T of V1-V6 to those of normal ECGs of PTB-XL (folds 1-8).
_TYPICAL = (1.08, 1.33, 0.92, 0.95, 0.97, 1.03)
# Dower's weights are those of QRS. The sources of T and P are wider and lie farther from V3-V6, which see less of their leftward part.
_T_TYPICAL = np.array((1.0, 1.05, 1.0, 0.87, 0.93, 0.96))
_T_LEFT, _P_LEFT, _P_DOWN = 0.75, 0.2, 0.25
# How much of a rotation each electrode notices: V1 and V2 lie over the right ventricle, which stays in front.
_TURNS = (0.4, 0.6, 0.85, 1.0, 1.0, 1.0)
_DOWN = (0.157, 0.164, 0.098, 0.127, 0.127, 0.076)
CHEST = len(_ANGLES)
# Of the angle between lead I, which is the leftward part, and lead II.
COS_60, SIN_60 = 0.5, math.sqrt(0.75)

# Where each wall of the left ventricle lies (names of walls: Fourth Universal Definition of Myocardial Infarction, 2018).
WALLS: dict[str, Vector] = {
    "septal": (-0.3, 0.0, 1.0),
    "anteroseptal": (0.08, 0.0, 1.0),
    "anterior": (0.62, 0.0, 0.8),
    "anterolateral": (0.95, -0.4, 0.3),
    "lateral": (1.0, -0.35, -0.55),
    "inferior": (0.05, 1.0, -0.1),
    "inferolateral": (0.65, 0.8, -0.35),
    "posterior": (0.05, 0.1, -1.0),
    "inferoposterior": (0.1, 0.8, -0.75),
    "inferoposterolateral": (0.7, 0.7, -0.65),
    # Findings without a wall.
    "chest": (0.65, 0.0, 0.7),
    "left": (1.0, 0.1, -0.05),
    "diffuse": (0.75, 0.6, 0.35),
    "right": (-0.3, 0.15, 0.9),
}


class Person:
    """How one body differs from Dower's, drawn once and the same whatever the heart shows.

    Args:
        draws: The record's random numbers.
    """

    def __init__(self, draws: Draws) -> None:
        spread = draws.spread
        around, above = spread(7.0), spread(0.1)
        self.angles = [around + spread(7.5) for _ in range(CHEST)]
        self.heights = [above + spread(0.1) for _ in range(CHEST)]
        tilt = spread(0.16)  # from V1 to V6
        self.gains = [math.exp(spread(0.16) + tilt * (k - 2.5) / 2.5) for k in range(CHEST)]
        # T and P come from elsewhere than QRS, so an electrode that sees one well need not see the others.
        self.t_gains = [math.exp(spread(0.13)) for _ in range(CHEST)]
        self.p_gains = [math.exp(spread(0.25)) for _ in range(CHEST)]
        self.limbs = [spread(0.06) for _ in range(8)]  # of y and z in I and II, for T, then for P
        self.levels = [spread(0.01) for _ in range(8)]  # of ST, mV
        self.torso = spread(0.09)
        self.t_left = _T_LEFT * math.exp(spread(0.2))
        self.sharpness = draws.between(1.0, 1.7)
        self.reciprocity = draws.between(0.15, 0.8)
        self.place = draws.between(0.03, 0.45)  # within limits that a finding sets


class Body:
    """The lead matrix of a person.

    Args:
        person: How this body differs.
        axis: Degrees of the main vector in the frontal plane. Half of what is unusual about an axis comes from the body: where it
            points down, lead I sees less of it.
        rotation: Degrees by which the heart is turned below the chest electrodes; negative is clockwise (transition towards V6).
        chest: Factor on V1-V6.

    Attributes:
        qrs: ``(8, 3)``, I, II, V1-V6 of x, y, z during depolarisation, which a rotation moves most.
        t: The same for ST, T and U.
        p: The same for the atria.
    """

    def __init__(self, person: Person, axis: float, rotation: float, chest: float) -> None:
        self._person = person
        # An axis beyond 90 degrees is the heart's own again.
        steep = axis if axis <= 90.0 else max(45.0, 90.0 - 2.5 * (axis - 90.0))
        down = min(max(0.235 + 0.006 * (steep - 45.0) + person.torso, 0.02), 0.6)
        self._one = (_ONE[0], -down, _ONE[2])
        self.qrs = self._matrix(rotation, chest)
        self.qrs[7, 2] = max(self.qrs[7, 2], -0.12 * chest)  # The septum lies out of V6's sight.
        self.t = self._matrix(0.25 * rotation, chest)
        self.p = self.t.copy()
        self.t[:2, 1:] += np.array(person.limbs[:4]).reshape(2, 2)
        self.p[:2, 1:] += np.array(person.limbs[4:]).reshape(2, 2)
        self.t[2:] *= np.array(person.t_gains)[:, None] * _T_TYPICAL[:, None]
        self.p[2:] *= np.array(person.p_gains)[:, None]
        # A heart that hangs down is no smaller to the left: what it loses in lead I, V3-V6 keep.
        self.qrs[4:, 0] *= min(max(1.0 + 0.008 * (steep - 40.0), 0.65), 1.4)
        self.t[2:, 0] *= person.t_left
        np.maximum(self.t[6:, 2], 0.0, out=self.t[6:, 2])  # V5 and V6 do not look at T from behind.
        self.p[2:, 0] *= _P_LEFT
        self.p[3, 2] *= 0.6
        self.p[4:, 1] += _P_DOWN * chest  # What V3-V6 see of P goes along with lead II.
        self._walls: dict[str, Leads] = {}

    def _matrix(self, rotation: float, chest: float) -> Leads:
        person, rows = self._person, [self._one, _TWO]
        for k in range(CHEST):
            angle = math.radians(_ANGLES[k] + person.angles[k] - _TURNS[k] * rotation)
            size = chest * person.gains[k] * _TYPICAL[k] * _SIZES[k]
            rows.append((size * math.cos(angle), chest * (_DOWN[k] + person.heights[k]), size * math.sin(angle)))
        return np.array(rows)

    def vector(self, axis: float, size: float, front: float) -> Vector:
        """Return the vector that the limb leads see at an angle.

        Args:
            axis: Degrees in Einthoven's triangle, 0 towards the left arm (lead I), 90 towards the feet (aVF).
            size: mV in the frontal plane of the leads.
            front: mV towards the front (before the chest leads' weights).
        """
        angle = math.radians(axis)
        one = size * math.cos(angle) - self._one[2] * front
        two = size * (COS_60 * math.cos(angle) + SIN_60 * math.sin(angle)) - _TWO[2] * front
        (a, b), (c, d) = self._one[:2], _TWO[:2]
        whole = a * d - b * c
        return (d * one - b * two) / whole, (a * two - c * one) / whole, front

    def wall(self, name: str) -> Leads:
        """Return how the leads see a wall of the heart, the lead of the twelve that looks straight at it as 1, ``(8,)``.

        Leads on the other side see it upside down, less than one distant vector would show (reciprocal changes).

        Raises:
            UserError: For a wall that is not in ``WALLS``.
        """
        if name not in self._walls:
            if name not in WALLS:
                raise UserError(f"wall {name!r} is not one of {', '.join(WALLS)}")
            seen = self._matrix(0.0, 1.0) @ np.array(WALLS[name])
            largest = max(np.abs(seen[2:]).max() / 1.2, abs(seen[0]), abs(seen[1]), abs(seen[1] - seen[0]), abs(seen[0] - 0.5 * seen[1]))
            seen /= largest
            chest = seen[2:]
            chest[:] = np.sign(chest) * np.abs(chest) ** self._person.sharpness
            if name not in ("posterior", "inferoposterior", "inferoposterolateral"):  # Those are known by their mirror image.
                chest[chest < 0] *= self._person.reciprocity
            self._walls[name] = seen
        return self._walls[name]
