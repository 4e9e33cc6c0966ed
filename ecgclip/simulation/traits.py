"""One table: what each label changes in a heart. To teach the simulator a label, add a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecgclip.simulation.draws import Draws
from ecgclip.simulation.heart import Heart, Regional

RECORDS = 21837  # of PTB-XL, of which a weight below is a part


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
class Wall:
    """A change of Q, ST or T on a wall (one of several, where several are given), in mV."""

    regions: tuple[str, ...]
    low: float
    high: float
    shapes: tuple[str, ...] = ("flat",)


@dataclass(frozen=True)
class Trait:
    """What a label changes.

    Attributes:
        uses: Aspects of the ECG that the label needs for itself; two labels that share one do not show side by side.
        changes: Field of ``Heart`` to its new value; walls are added to those already there.
        weight: Records of 21,837 in PTB-XL that carry it (Wagner et al. 2020, table 2 and 3), a guess for labels beyond PTB-XL.
    """

    uses: frozenset[str]
    changes: Mapping[str, Any]
    weight: float

    def apply(self, heart: Heart, draws: Draws) -> None:
        """Change a heart in place, with the record's random numbers."""
        for name, value in self.changes.items():
            setattr(heart, name, _drawn(value, getattr(heart, name), draws))


def _drawn(value: Any, old: Any, draws: Draws) -> Any:
    if isinstance(value, Between):
        number = draws.between(value.low, value.high)
        return old * number if value.times else number
    if isinstance(value, OneOf):
        return draws.choice(value.items)
    if isinstance(value, list):
        return old + value
    if isinstance(value, tuple):
        # Walls of one kind share their extent.
        extent = draws.unit()
        return old + [Regional(draws.choice(w.regions), w.low + extent * (w.high - w.low), draws.choice(w.shapes)) for w in value]
    return value


def _label(uses: str, weight: float, **changes: Any) -> Trait:
    return Trait(frozenset(uses.split()), changes, weight)


def _times(low: float, high: float) -> Between:
    return Between(low, high, times=True)


def _infarct(region: str, weight: float, uses: str = "") -> Trait:
    """Q, R gone, T inverted; ST at most slightly up, for an old infarct's is back to the line."""
    st = (Wall((region,), 0.0, 0.1, ("dome", "up")),)
    return _label(f"q st t qrs {uses}", weight, q=(Wall((region,), 0.24, 0.58),), st=st, t=(Wall((region,), -0.1, -0.32),))


def _ischaemia(region: str, weight: float) -> Trait:
    """T deeply and evenly inverted, ST a little down."""
    st = (Wall((region,), -0.02, -0.1, ("flat", "down")),)
    return _label("st t", weight, t=(Wall((region,), -0.14, -0.5),), st=st, t_narrow=Between(0.85, 1.0))


def _injury(region: str, weight: float) -> Trait:
    """ST deeply and squarely down, T upright."""
    return _label("st t", weight, st=(Wall((region,), -0.15, -0.35, ("flat",)),), t=(Wall((region,), 0.1, 0.22),))


# Aspects: rhythm, rate, atrium (P), pq, event, pvc, qrs (width and shape),
# axis, rightward (forces to the right), turn (R progression), voltage, q, v1 (the shape in V1), st, t, qt, u, leads.
TRAITS: dict[str, Trait] = {
    # ---- PTB-XL, in its order
    "NDT": _label("st t", 1829, t=(Wall(("left",), -0.02, 0.03),)),
    "NST_": _label("st t", 770, st=(Wall(("diffuse",), -0.04, -0.075, ("flat",)),), t_size=_times(0.75, 0.9)),
    "DIG": _label(
        "st t qt",
        181,
        st=(Wall(("left",), -0.14, -0.26, ("scoop",)),),
        qtc=Between(0.33, 0.36),
        t_size=_times(0.5, 0.8),
    ),
    "LNGQT": _label("qt", 118, qtc=Between(0.49, 0.56)),
    "NORM": _label("rate atrium pq event pvc qrs axis turn voltage q v1 st t qt u leads", 9528),
    "IMI": _infarct("inferior", 2685, "axis"),
    "ASMI": _infarct("anteroseptal", 2363, "v1 turn"),
    "LVH": _label(
        "voltage st t turn qrs rightward",
        2137,
        limb=Between(1.3, 1.7),
        chest=Between(1.5, 2.1),
        septal=Between(0.14, 0.2),
        terminal=Between(0.5, 0.65),
        strain=Between(0.1, 0.24),
        st=(Wall(("left",), -0.06, -0.14, ("down",)),),
        axis=Between(-15, 40),
    ),
    "LAFB": _label(
        "axis turn qrs",
        1626,
        axis=Between(-75, -47),
        qrs=Between(0.096, 0.108),
        septal=Between(0.3, 0.42),
        rotation=Between(-34, -18),
    ),
    "ISC_": _label("st t", 1275, st=(Wall(("diffuse",), -0.09, -0.16, ("down",)),), t=(Wall(("diffuse",), -0.15, -0.35),)),
    "IRBBB": _label("qrs v1", 1118, qrs_kind="rbbb", qrs=Between(0.106, 0.117), late=Between(0.45, 0.6)),
    "1AVB": _label("pq", 797, pq=Between(0.22, 0.35)),
    "IVCD": _label("qrs turn v1 st t q", 789, qrs_kind="notched", qrs=Between(0.118, 0.148), strain=Between(0.12, 0.2)),
    "ISCAL": _ischaemia("anterolateral", 660),
    "CRBBB": _label(
        "qrs v1 turn st t",
        542,
        qrs_kind="rbbb",
        qrs=Between(0.128, 0.16),
        late=Between(0.55, 0.85),
        t=(Wall(("right",), -0.1, -0.3),),
    ),
    "CLBBB": _label(
        "qrs v1 turn voltage q st t axis",
        536,
        qrs_kind="lbbb",
        qrs=Between(0.135, 0.17),
        axis=Between(-30, 50),
        strain=Between(0.26, 0.36),
        chest=_times(1.05, 1.3),
    ),
    "ILMI": _infarct("inferolateral", 479, "axis voltage"),
    "LAO/LAE": _label(
        "atrium pq",
        427,
        p_width=Between(0.122, 0.145),
        pq=_times(1.14, 1.18),
        p_left=Between(0.095, 0.15),
        p_split=Between(0.42, 0.5),
        p_back=Between(0.7, 1.3),
    ),
    "AMI": _infarct("anterior", 354, "turn"),
    "ALMI": _infarct("anterolateral", 290, "voltage axis turn"),
    "ISCIN": _ischaemia("inferior", 219),
    "INJAS": _injury("anteroseptal", 215),
    "LMI": _infarct("lateral", 201, "axis voltage"),
    "ISCIL": _ischaemia("inferolateral", 179),
    "LPFB": _label("axis qrs rightward", 177, axis=Between(102, 125), qrs=Between(0.096, 0.108), septal=Between(0.36, 0.5)),
    "ISCAS": _ischaemia("anteroseptal", 170),
    "INJAL": _injury("anterolateral", 148),
    "ISCLA": _ischaemia("lateral", 142),
    "RVH": _label(
        "voltage axis turn v1 st t qrs q",
        126,
        axis=Between(105, 140),
        rotation=Between(84, 104),
        terminal=Between(0.1, 0.25),
        septal=Between(0.1, 0.2),
        chest=Between(0.85, 1.15),
        t=(Wall(("right",), -0.15, -0.3),),
        st=(Wall(("right",), -0.04, -0.1, ("down",)),),
    ),
    "ANEUR": _label(
        "q st t qrs turn v1",
        104,
        q=(Wall(("anteroseptal", "anterior"), 0.5, 0.75),),
        st=(Wall(("chest",), 0.18, 0.32, ("dome",)),),
        t=(Wall(("chest",), 0.03, 0.1),),
    ),
    "RAO/RAE": _label(
        "atrium",
        99,
        p_right=Between(0.22, 0.36),
        p_left=Between(0.08, 0.11),
        p_axis=Between(68, 82),
        p_split=Between(0.14, 0.2),
    ),
    "EL": _label(
        "st t qt u",
        97,
        t_size=_times(0.2, 0.35),
        u=Between(0.16, 0.26),
        st=(Wall(("diffuse",), -0.04, -0.09, ("flat",)),),
    ),
    "WPW": _label(
        "pq atrium qrs v1 turn voltage q st t axis",
        80,
        pq=Between(0.075, 0.1),
        qrs_kind="delta",
        qrs=Between(0.12, 0.14),
        strain=Between(0.1, 0.2),
    ),
    "ILBBB": _label(
        "qrs v1 turn q st t rightward",
        77,
        qrs_kind="lbbb",
        qrs=Between(0.106, 0.117),
        strain=Between(0.04, 0.1),
        axis=Between(0, 50),
    ),
    "IPLMI": _infarct("inferoposterolateral", 51, "axis voltage v1 turn"),
    "ISCAN": _ischaemia("anterior", 44),
    "IPMI": _infarct("inferoposterior", 33, "axis v1 turn"),
    "SEHYP": _label("q voltage v1 turn qrs", 30, septal=Between(0.95, 1.25), terminal=Between(0.5, 0.7)),
    "INJIN": _injury("inferior", 18),
    "INJLA": _injury("lateral", 17),
    "PMI": _infarct("posterior", 17, "v1 turn"),
    "3AVB": _label("rhythm rate pq event pvc", 16, block="complete", rate=Between(65, 95)),
    "INJIL": _injury("inferolateral", 15),
    "2AVB": _label("rhythm rate pq event pvc", 14, block=OneOf(("wenckebach", "mobitz2", "two_to_one")), rate=Between(70, 95)),
    "ABQRS": _label("qrs q", 3327, fragments=Between(0.28, 0.45), qrs=Between(0.096, 0.108)),
    "PVC": _label("pvc", 1146, events=["pvc"]),
    "STD_": _label("st t", 1009, st=(Wall(("left", "diffuse"), -0.12, -0.19, ("flat",)),)),
    "VCLVH": _label(
        "voltage turn qrs rightward",
        875,
        chest=Between(1.5, 2.1),
        septal=Between(0.14, 0.2),
        terminal=Between(0.5, 0.65),
        axis=Between(0, 60),
    ),
    "QWAVE": _label("q qrs axis turn v1", 548, q=(Wall(("inferior", "lateral", "anterior", "anteroseptal"), 0.26, 0.5),)),
    "LOWT": _label("t", 438, t_size=Between(0.04, 0.1)),
    "NT_": _label("t", 424, t_size=_times(0.4, 0.65), t_biphasic=Between(0.45, 0.8)),
    "PAC": _label("event atrium", 398, events=["pac"]),
    "LPR": _label("pq", 340, pq=Between(0.203, 0.228)),
    "INVT": _label("t", 294, t=(Wall(("diffuse", "chest", "left"), -0.14, -0.5),)),
    "LVOLT": _label(
        "voltage st t qrs",
        182,
        limb=Between(0.2, 0.38),
        chest=Between(0.36, 0.58),
        t_size=_times(0.4, 0.6),
    ),
    "HVOLT": _label("voltage qrs rightward", 62, limb=Between(1.75, 2.2), chest=Between(1.4, 1.7), axis=Between(20, 75)),
    "TAB_": _label("t qt", 35, t_split=Between(0.06, 0.08), t_size=_times(0.9, 1.1)),
    "STE_": _label("st t", 28, st=(Wall(("chest", "diffuse"), 0.13, 0.22, ("flat",)),)),
    "PRC(S)": _label("event atrium", 10, events=["premature"]),
    "SR": _label("rhythm", 16782),
    "AFIB": _label("rhythm rate atrium pq u", 1514, rhythm="fibrillation", rate=Between(60, 130)),
    "STACH": _label("rhythm rate pq u", 826, rate=Between(102, 140)),
    "SARRH": _label("rhythm rate event", 772, breathing=Between(0.2, 0.3), breaths=Between(0.17, 0.26), rate=Between(60, 78)),
    "SBRAD": _label("rhythm rate", 637, rate=Between(38, 49)),
    "PACE": _label(
        "rhythm rate atrium pq event pvc qrs axis turn v1 voltage q st t qt",
        296,
        rhythm=OneOf(("ventricular_pacing", "dual_pacing")),
        qrs_kind="paced",
        qrs=Between(0.15, 0.18),
        axis=Between(-85, -60),
        strain=Between(0.26, 0.34),
        rate=Between(60, 75),
    ),
    "SVARR": _label("rhythm rate atrium pq event pvc", 157, rhythm="wandering", rate=Between(75, 105)),
    "BIGU": _label("event pvc atrium rate", 82, events=["every_second"], rate=Between(65, 85)),
    "AFLT": _label("rhythm rate atrium pq event pvc st t u", 73, rhythm="flutter"),
    "SVTAC": _label("rhythm rate atrium pq event pvc qt u", 27, rhythm="svt", rate=Between(155, 205)),
    "PSVT": _label("rhythm rate atrium pq event pvc qt u", 24, events=["paroxysm"], rate=Between(65, 85)),
    "TRIGU": _label("event pvc atrium rate", 20, events=["every_third"], rate=Between(65, 85)),
    # ---- beyond PTB-XL
    "LAXD": _label("axis", 900, axis=Between(-44, -32)),
    "RAXD": _label("axis rightward", 350, axis=Between(102, 140)),
    "INDAX": _label("axis rightward", 60, axis=Between(-160, -105)),
    "CWROT": _label("turn", 400, rotation=Between(-68, -50)),
    "CCWROT": _label("turn v1", 250, rotation=Between(48, 66), terminal=_times(0.35, 0.5)),
    "PRWP": _label("turn v1 q", 500, front=Between(0.15, 0.32), rotation=Between(-22, -10)),
    "RSRP": _label("v1 qrs", 250, second_r=Between(0.28, 0.45), qrs=Between(0.084, 0.094), terminal=_times(0.7, 0.9)),
    "STT": _label("st t", 1200, st=(Wall(("left",), -0.07, -0.14, ("down",)),), t=(Wall(("left",), -0.08, -0.2),)),
    "ERP": _label(
        "st t qrs",
        200,
        j_wave=Between(0.22, 0.38),
        st=(Wall(("diffuse",), 0.08, 0.15, ("up",)),),
        t_size=_times(1.2, 1.5),
    ),
    "BRUG": _label("v1 st t qrs turn", 40, st=(Wall(("septal",), 0.35, 0.6, ("cove",)),), t=(Wall(("septal",), -0.15, -0.3),)),
    "TTALL": _label("t", 80, t_size=_times(2.1, 2.7), t_narrow=Between(0.7, 0.8)),
    "NEGU": _label("u", 40, u=Between(-0.2, -0.13)),
    "STEMI": _label(
        "st t q qrs axis v1 turn",
        120,
        st=(
            Wall(
                ("anteroseptal", "anterior", "inferior", "lateral", "inferoposterior", "anterolateral"),
                0.35,
                0.8,
                ("dome", "up"),
            ),
        ),
        t_size=_times(1.0, 1.3),
    ),
    "SPQ": _label("pq atrium", 60, pq=Between(0.085, 0.108)),
    "SARREST": _label("event pvc atrium rate pq", 30, events=["arrest"], rate=Between(62, 85)),
    "SABLOCK": _label("event pvc atrium rate pq", 25, events=["exit_block"], rate=Between(62, 85), breathing=0.005),
    "WENCK": _label("rate pq event pvc", 40, block="wenckebach", rate=Between(65, 95), pq=Between(0.16, 0.2)),
    "MOBITZ2": _label("rate pq event pvc", 20, block="mobitz2", rate=Between(65, 95), pq=Between(0.15, 0.19)),
    "AVB2TO1": _label("rate pq event pvc", 20, block="two_to_one", rate=Between(70, 100)),
    "HIGHAVB": _label("rhythm rate pq event pvc", 20, block="high", rate=Between(78, 105)),
    "EAR": _label("rhythm rate atrium pq event pvc", 60, rhythm="atrial", rate=Between(58, 90), pq=Between(0.125, 0.15)),
    "JUNC": _label("rhythm rate atrium pq event pvc", 40, rhythm="junctional", rate=Between(42, 58)),
    "ESCAPE": _label("event pvc atrium rate", 40, events=["escape"], rate=Between(60, 80)),
    "VCOUP": _label("event pvc", 80, events=["couplet"]),
    "NSVT": _label("event pvc", 50, events=["short_run"]),
    "VT": _label(
        "rhythm rate atrium pq event pvc qrs axis turn v1 voltage q st t qt u",
        15,
        rhythm="vt",
        rate=Between(145, 195),
        breathing=0.004,
    ),
    "ALEAD": _label("leads axis q st t atrium voltage", 60, arms_swapped=True),
}

# Drawn on request, too rare for the catalogue: dextrocardia, to tell it from exchanged arm electrodes.
EXTRA: dict[str, Trait] = {"DEXTRO": _label("leads axis turn q st t atrium voltage v1 qrs", 0, mirrored=True)}

DRAWABLE: tuple[str, ...] = tuple(TRAITS)
