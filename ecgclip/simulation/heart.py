"""What can differ between two hearts: the parameters that a person draws and that a label changes."""

from dataclasses import dataclass, field

from ecgclip.simulation.draws import Draws

# What brings the median R and S of simulated normal ECGs to those of 400 normal ones of PTB-XL, V1-V6.
CHEST_GAINS = (1.3, 1.3, 0.95, 1.05, 1.25, 1.5)


@dataclass
class Regional:
    """A change of ST, T or Q that one wall of the heart shows.

    Attributes:
        region: A key of ``ecgclip.simulation.vectors.REGIONS``.
        level: mV in the leads that look straight at the wall.
        shape: For ST only: ``flat``, ``up`` (concave), ``down`` (down-sloping), ``dome`` (convex), ``scoop`` or ``cove``.
    """

    region: str
    level: float
    shape: str = "flat"


@dataclass
class Heart:
    """All that the rhythm and the waves of a record follow from. Times in s, amplitudes in mV, angles in degrees, rate per min.

    Frontal angles count as in the clinic (0 is lead I, 90 is aVF); horizontal ones from the left (0) to the front (90).
    """

    # rhythm
    rhythm: str  # sinus, fibrillation, flutter, svt, vt, ventricular_pacing, dual_pacing, junctional, atrial, wandering
    rate: float
    breathing: float  # relative swing of RR with respiration
    breaths: float  # per second
    pq: float  # onset of P to onset of QRS
    block: str  # "", wenckebach, mobitz2, two_to_one, high, complete
    # P
    p_width: float
    p_right: float  # early half, mV
    p_left: float  # late half, mV
    p_axis: float
    p_split: float  # distance of the two halves as a share of p_width
    p_back: float  # how far the late half points away from V1: 1 is clearly enlarged
    # QRS
    qrs_kind: str  # normal, rbbb, lbbb, notched, delta, paced
    qrs: float
    axis: float
    rotation: float  # of the horizontal plane; negative is clockwise (transition towards V6)
    limb: float  # mV of the main vector
    chest: float  # mV of the main vector
    septal: float  # size of the first vector
    terminal: float  # size of the last vector
    second_r: float  # R' in V1 and V2, mV
    late: float  # size of the last, rightward vector of right bundle branch block
    fragments: float  # notches within a narrow QRS, mV
    loop: float  # degrees: how far the first and last vectors stray from their usual place in the frontal plane
    skew: float  # share of QRS by which the main wave comes late
    front: float  # factor on R in V1-V3
    j_wave: float  # mV
    # ST, T, U
    qtc: float
    t_size: float
    t_axis: float
    t_angle: float  # horizontal
    t_narrow: float
    t_split: float  # distance of two humps of T, s
    t_biphasic: float
    strain: float  # ST-T away from QRS, as a share of QRS
    u: float
    # leads
    arms_swapped: bool = False
    mirrored: bool = False
    # keys of ecgclip.simulation.rhythm.EVENTS
    events: list[str] = field(default_factory=list)
    # walls
    q: list[Regional] = field(default_factory=list)
    st: list[Regional] = field(default_factory=list)
    t: list[Regional] = field(default_factory=list)
    # the person
    gains: list[float] = field(default_factory=list)  # I and II share one, then V1-V6
    beat_gain: float = 0.0


def healthy(draws: Draws) -> Heart:
    """Draw a person with nothing to report: every parameter stays within its normal limits.

    Args:
        draws: The record's random numbers.

    Returns:
        A heart in sinus rhythm at 54-97/min, with no value that a label's criterion would catch.
    """
    between = draws.between
    axis = between(-15, 82)
    return Heart(
        rhythm="sinus",
        rate=between(54, 97),
        breathing=between(0.01, 0.03),
        breaths=between(0.2, 0.32),
        pq=between(0.135, 0.18),
        block="",
        p_width=between(0.08, 0.1),
        p_right=between(0.045, 0.09),
        p_left=between(0.045, 0.085),
        p_axis=between(35, 70),
        p_split=between(0.22, 0.3),
        p_back=between(0.0, 0.35),
        qrs_kind="normal",
        qrs=between(0.078, 0.096),
        axis=axis,
        rotation=between(-20, 18),
        limb=between(0.7, 1.25),
        chest=between(0.72, 1.26),
        septal=between(0.16, 0.38),
        terminal=between(0.45, 0.9),
        second_r=0.0,
        late=0.0,
        fragments=between(0.03, 0.1) if draws.chance(0.15) else 0.0,
        loop=between(-40, 40),
        skew=between(-0.04, 0.04),
        front=1.0,
        j_wave=0.0,
        qtc=between(0.385, 0.43),
        t_size=between(0.2, 0.46),
        t_axis=0.5 * axis + between(5, 35),
        t_angle=between(18, 62),
        t_narrow=between(0.85, 1.2),
        t_split=0.0,
        t_biphasic=0.0,
        strain=0.0,
        u=between(0.0, 0.02),
        gains=[between(0.9, 1.1), *(typical * between(0.75, 1.25) for typical in CHEST_GAINS)],
        st=[Regional("chest", between(0.0, 0.06), "up")],
        beat_gain=between(0.01, 0.05),
    )
