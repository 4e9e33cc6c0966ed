"""What can differ between two hearts: the parameters that a person draws and that a label changes."""

from dataclasses import dataclass, field

from ecgclip.simulation.body import Person
from ecgclip.simulation.draws import Draws


@dataclass
class Regional:
    """A change of ST, T or Q that one wall of the heart shows.

    Attributes:
        region: A key of ``ecgclip.simulation.body.WALLS``.
        level: mV in the lead that looks straight at the wall.
        shape: For ST only: ``flat``, ``up`` (concave), ``down`` (down-sloping), ``dome`` (convex), ``scoop`` or ``cove``.
    """

    region: str
    level: float
    shape: str = "flat"


@dataclass(kw_only=True)
class Heart:
    """All that the rhythm and the waves of a record follow from. Times in s, amplitudes in mV, angles in degrees, rate per min.

    Frontal angles count as in the clinic (0 is lead I, 90 is aVF); forward parts are those of the vector, positive towards V2.
    """

    person: Person
    age: float  # years
    male: bool
    # rhythm
    rhythm: str = (
        "sinus"  # sinus, fibrillation, flutter, svt, vt, ventricular_pacing, dual_pacing, atrial_pacing, junctional, atrial, wandering
    )
    rate: float
    breathing: float  # relative swing of RR with respiration
    slow: float  # relative swing of RR at about 0.1 Hz (blood pressure waves)
    breaths: float  # per second
    pq: float  # onset of P to onset of QRS
    block: str = ""  # "", wenckebach, mobitz2, two_to_one, high, complete
    # P
    p_width: float
    p_right: float  # early half, mV
    p_left: float  # late half, mV
    p_axis: float
    p_split: float  # distance of the two halves as a share of p_width
    p_back: float  # how far the late half points away from V1: 1 is clearly enlarged
    # QRS
    qrs_kind: str = "normal"  # normal, rbbb, lbbb, notched, delta, paced
    qrs: float
    axis: float
    swing: float = 0.0  # degrees of the axis that the limb leads see alone: V1-V6 stay as with an axis of that much less
    rotation: float  # of the heart below the chest electrodes; negative is clockwise (transition towards V6)
    limb: float  # mV of the main vector in the frontal plane
    chest: float  # factor on the chest leads
    forward: float  # forward part of the main vector, as a share of limb
    septal: float  # forward part of the first vector, mV
    terminal: float  # backward part of the last vector, mV
    second_r: float = 0.0  # R' in V1 and V2, mV
    late: float = 0.0  # size of the last, rightward vector of right bundle branch block
    fragments: float  # notches within a narrow QRS, mV
    first_axis: float  # frontal direction of the first vector
    first_limb: float  # its frontal part, mV
    last_axis: float  # the same of the last vector
    last_limb: float  # mV
    skew: float  # share of QRS by which the main wave comes late
    sharpness: float  # factor on the width of the main wave
    last_late: float  # share of QRS by which the last wave comes late
    j_wave: float = 0.0  # mV
    sokolow: tuple[float, float] = (0.0, 3.35)  # S in V1 plus the larger R of V5 and V6 lies in here, mV
    limb_voltage: tuple[float, float] = (0.62, 2.4)  # The largest QRS of the limb leads, top to bottom, lies in here, mV
    # ST, T, U
    qtc: float  # Fridericia
    t_size: float
    t_axis: float
    t_forward: float  # forward part of T, as a share of t_size
    t_narrow: float  # factor on the width of T
    t_rise: float  # rising over falling width of T
    t_split: float = 0.0  # distance of two humps of T, s
    t_biphasic: float = 0.0  # size of a second, opposite hump, as a share of the first
    strain: float = 0.0  # ST-T away from QRS, as a share of QRS
    u: float  # mV
    # leads
    arms_swapped: bool = False
    mirrored: bool = False
    # keys of ecgclip.simulation.rhythm.EVENTS
    events: list[str] = field(default_factory=list)
    # walls
    q: list[Regional] = field(default_factory=list)
    st: list[Regional] = field(default_factory=list)
    t: list[Regional] = field(default_factory=list)
    beat_gain: float = 0.0  # share of the amplitude that breathing moves


def _within(low: float, value: float, high: float) -> float:
    return min(max(value, low), high)


def healthy(draws: Draws) -> Heart:
    """Draw a person with nothing to report: every parameter stays within its normal limits.

    Age and sex shift what they shift in healthy people: with age the axis turns left, PQ lengthens, voltage and respiratory
    variation fall; women have a longer QTc, a shorter QRS and less voltage and T in the chest leads (Macfarlane et al.,
    Comprehensive Electrocardiology, 2010, chapter 13; Rijnbeek et al. 2014).

    Args:
        draws: The record's random numbers.

    Returns:
        A heart in sinus rhythm at 51-99/min, with no value that a label's criterion would catch.
    """
    between, spread, chance = draws.between, draws.spread, draws.chance
    age, male = _within(18.0, 56.0 + spread(18.0), 95.0), chance(0.5)
    old = (age - 50.0) / 10.0  # decades beyond 50
    axis = _within(-20.0, 40.0 - 6.0 * old + spread(25.0), 86.0)
    limb = (1.02 - 0.03 * old) * 2.718 ** spread(0.27)
    terminal, p_size = between(0.32, 0.88) * (0.6 + 0.4 * limb), 2.718 ** spread(0.25)
    return Heart(
        person=Person(draws),
        age=age,
        male=male,
        rate=_within(51.0, 69.0 + spread(11.0), 99.0),
        breathing=_within(0.004, (0.041 - 0.008 * old) * 2.718 ** spread(0.7), 0.06),
        slow=0.012 * 2.718 ** spread(0.5),
        breaths=between(0.17, 0.32),
        pq=_within(0.124, 0.155 + 0.003 * old + spread(0.018), 0.194),
        p_width=_within(0.075, 0.096 + 0.001 * old + spread(0.008), 0.112),
        p_right=p_size * between(0.05, 0.12),
        p_left=p_size * between(0.05, 0.1),
        p_axis=_within(10.0, 56.0 + spread(22.0), 82.0),
        p_split=between(0.22, 0.34),
        p_back=between(0.0, 0.4),
        qrs=_within(0.07, (0.083 if male else 0.077) + spread(0.008), 0.104),
        axis=axis,
        rotation=spread(14.0),
        limb=limb,
        chest=(1.1 if male else 1.01) * 2.718 ** spread(0.1),
        forward=spread(0.17) - 0.05,
        septal=between(0.04, 0.24),
        terminal=terminal,
        fragments=between(0.03, 0.1) if chance(0.2) else 0.0,
        first_axis=210.0 + 1.3 * (axis - 40.0) + spread(35.0),
        first_limb=between(0.035, 0.13) * limb,
        last_axis=210.0 + spread(50.0),
        last_limb=between(0.0, 0.32),
        skew=spread(0.045),
        sharpness=2.718 ** spread(0.15),
        last_late=spread(0.05),
        qtc=_within(0.352, (0.388 if male else 0.398) + 0.002 * old + spread(0.016), 0.442),
        t_size=_within(0.14, (0.38 - 0.014 * old) * 2.718 ** spread(0.26), 0.75),
        t_axis=0.4 * axis + 26 + spread(14.0),
        t_forward=(0.8 if male else 0.58) + spread(0.26),
        t_narrow=between(0.85, 1.25),
        t_rise=between(1.3, 2.0),
        u=between(0.0, 0.03),
        st=[
            # ST goes with the S before it.
            Regional("anteroseptal", (between(0.06, 0.22) if male else between(0.01, 0.14)) * terminal, "up"),
            Regional("diffuse", 0.016 + spread(0.016), "up"),
        ],
        beat_gain=0.033 * 2.718 ** spread(0.6),
    )
