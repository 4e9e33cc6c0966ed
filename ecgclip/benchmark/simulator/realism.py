"""How near simulated normal ECGs come to real ones: every quantity as a distance of two distributions, and a classifier for all at once.

A distance says where a distribution is off; the classifier says whether the quantities hang together as they do in people. It sees rates,
intervals and amplitudes only, never the waveform: what it separates the two by is what the simulator has to mend.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ecgclip.errors import UserError
from ecgclip.signals import LEADS
from ecgclip.signals.measure import Measurements, measure

INTERVALS = ("rate", "rr_sd", "pr", "p_time", "qrs", "qt", "qtc", "axis", "p_axis", "amplitude_cv")
AMPLITUDES = ("q", "r", "s", "t", "p", "st")
DERIVED = ("III", "aVR", "aVL", "aVF")  # Follow from I and II: no news to a classifier.
BAND = (0.5, 49.0)  # Hz; half the rate of the records is 50.
FOLDS = 5
AUROC_WANTED = 0.85

Spectra = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """How well a classifier separates simulated from real records.

    Attributes:
        auroc: Cross-validated; 0.5 where it cannot tell them apart.
        telling: The features that it goes by, the most telling first: ``feature``, ``drop`` of AUROC when its values are shuffled,
            ``alone`` AUROC of the feature by itself, and the medians ``real`` and ``simulated``.
        groups: AUROC of a classifier that sees one group of features only: the intervals, or one wave in its leads.
    """

    auroc: float
    telling: pd.DataFrame
    groups: dict[str, float]


def features(signals: NDArray[np.floating], sampling_rate: float, title: str = "") -> pd.DataFrame:
    """Measure records.

    Args:
        signals: ``(N, 12, T)`` mV.
        sampling_rate: Hz.
        title: Of the progress bar.

    Returns:
        A row per record; columns are ``INTERVALS`` (s, 1/min, degrees) and each of ``AMPLITUDES`` per lead, ``r_V1`` (mV).
    """
    rows = [_row(measure(signal, sampling_rate)) for signal in tqdm(signals, desc=f"measuring {title}".strip(), unit="record")]
    return pd.DataFrame(rows)


def _row(found: Measurements) -> dict[str, float]:
    row = {name: float(getattr(found, name)) for name in INTERVALS}
    return row | {f"{wave}_{lead}": found.wave(wave, lead) for wave in AMPLITUDES for lead in LEADS}


def distance(real: NDArray[np.floating], simulated: NDArray[np.floating]) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples, 0 to 1, of their finite values; NaN where one has none."""
    from scipy.stats import ks_2samp

    real, simulated = real[np.isfinite(real)], simulated[np.isfinite(simulated)]
    if not len(real) or not len(simulated):
        return float("nan")
    return float(ks_2samp(real, simulated, method="asymp").statistic)


def distances(real: pd.DataFrame, simulated: pd.DataFrame) -> pd.DataFrame:
    """Compare every column of two tables of :func:`features`.

    Returns:
        A row per column: ``feature``, ``ks``, and the 5th, 50th and 95th percentile of both (``real_5`` to ``simulated_95``).
    """
    rows = []
    for name in real.columns:
        row = {"feature": name, "ks": distance(real[name].to_numpy(), simulated[name].to_numpy())}
        for title, table in (("real", real), ("simulated", simulated)):
            row |= {f"{title}_{q}": float(np.nanpercentile(table[name], q)) if table[name].notna().any() else np.nan for q in (5, 50, 95)}
        rows.append(row)
    return pd.DataFrame(rows)


def spectra(signals: NDArray[np.floating], sampling_rate: float) -> tuple[Spectra, Spectra]:
    """Return frequencies ``(F,)`` Hz within ``BAND`` and power ``(N, 12, F)`` in dB over 1 mV^2/Hz, by Welch's method over 4 s."""
    from scipy.signal import welch

    frequencies, power = welch(signals.astype(np.float64), sampling_rate, nperseg=round(4 * sampling_rate), axis=-1)
    inside = (frequencies >= BAND[0]) & (frequencies <= BAND[1])
    return frequencies[inside], 10 * np.log10(np.maximum(power[..., inside], 1e-12))


def spectral_distance(real: Spectra, simulated: Spectra) -> NDArray[np.float64]:
    """Return the log-spectral distance per lead, ``(12,)`` dB: root mean square over frequency of the difference of the medians."""
    difference = np.median(real, axis=0) - np.median(simulated, axis=0)
    return np.asarray(np.sqrt((difference**2).mean(-1)))


def tell_apart(real: pd.DataFrame, simulated: pd.DataFrame, seed: int = 0) -> Verdict:
    """Let gradient boosting tell simulated from real records by their measurements.

    Args:
        real: Of :func:`features`.
        simulated: The same.
        seed: Of the folds.

    Raises:
        UserError: Without scikit-learn, or with fewer than ten records of a kind.
    """
    if min(len(real), len(simulated)) < 2 * FOLDS:
        raise UserError(f"telling {len(simulated)} simulated from {len(real)} real records: give at least {2 * FOLDS} of each")
    names = [name for name in real.columns if name.rpartition("_")[2] not in DERIVED]
    auroc, drops = _cross_validated(real[names], simulated[names], seed)
    telling = pd.DataFrame(
        {
            "feature": names,
            "drop": drops,
            "alone": [_alone(real[name], simulated[name]) for name in names],
            "real": [float(real[name].median()) for name in names],
            "simulated": [float(simulated[name].median()) for name in names],
        }
    )
    members = {"intervals": [name for name in names if name in INTERVALS]}
    members |= {wave: [f"{wave}_{lead}" for lead in LEADS if f"{wave}_{lead}" in names] for wave in AMPLITUDES}
    groups = {title: _cross_validated(real[of], simulated[of], seed)[0] for title, of in members.items() if of}
    return Verdict(auroc, telling.sort_values("drop", ascending=False, ignore_index=True), groups)


def _cross_validated(real: pd.DataFrame, simulated: pd.DataFrame, seed: int) -> tuple[float, NDArray[np.float64]]:
    """Return the AUROC over all folds, and by how much it drops with each column shuffled in the test fold."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import StratifiedKFold
    except ImportError:
        raise UserError(
            "telling simulated from real records needs scikit-learn: pip install 'ecgclip[dev]', or leave realism out"
        ) from None
    x = np.concatenate([real.to_numpy(float), simulated.to_numpy(float)])
    y = np.r_[np.zeros(len(real), int), np.ones(len(simulated), int)]
    scores, drops = np.zeros(len(y)), np.zeros((FOLDS, x.shape[1]))
    rng = np.random.default_rng(seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (train, test) in enumerate(folds.split(x, y)):
        model = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, max_leaf_nodes=15, random_state=seed)
        model.fit(x[train], y[train])
        scores[test] = model.predict_proba(x[test])[:, 1]
        reached = roc_auc_score(y[test], scores[test])
        for column in range(x.shape[1]):
            shuffled = x[test].copy()
            shuffled[:, column] = rng.permutation(shuffled[:, column])
            drops[fold, column] = reached - roc_auc_score(y[test], model.predict_proba(shuffled)[:, 1])
    return float(roc_auc_score(y, scores)), drops.mean(0)


def hang_together(real: pd.DataFrame, simulated: pd.DataFrame, most: int = 20) -> pd.DataFrame:
    """Return the pairs of features whose rank correlation differs most: what a classifier sees and no single distribution shows.

    Returns:
        ``first``, ``second``, and their Spearman correlation in ``real`` and ``simulated`` records, the greatest difference first.
    """
    names = [name for name in real.columns if name.rpartition("_")[2] not in DERIVED]
    a, b = (table[names].rank().corr().to_numpy() for table in (real, simulated))
    i, j = np.triu_indices(len(names), 1)
    order = np.argsort(-np.nan_to_num(np.abs(a[i, j] - b[i, j])))[:most]
    rows = [{"first": names[i[k]], "second": names[j[k]], "real": a[i[k], j[k]], "simulated": b[i[k], j[k]]} for k in order]
    return pd.DataFrame(rows)


def _alone(real: pd.Series, simulated: pd.Series) -> float:
    """Return the AUROC of one feature, 0.5 to 1, by ranks; records without it are left out."""
    values = pd.concat([real.dropna(), simulated.dropna()], ignore_index=True)
    n, m = int(real.notna().sum()), int(simulated.notna().sum())
    if not n or not m:
        return float("nan")
    ranks = values.rank().to_numpy()
    area = (ranks[n:].sum() - m * (m + 1) / 2) / (n * m)
    return float(max(area, 1 - area))


def summary(table: pd.DataFrame, groups: Sequence[str] = AMPLITUDES) -> pd.DataFrame:
    """Bring :func:`distances` to one row per quantity: the intervals as they are, the leads of an amplitude as their mean and worst.

    Returns:
        ``quantity``, ``ks`` (mean over the leads), ``worst`` (the lead with the greatest distance, and that distance; empty for intervals).
    """
    by_name = table.set_index("feature")["ks"]
    rows = [{"quantity": name, "ks": float(by_name[name]), "worst": ""} for name in INTERVALS if name in by_name]
    for wave in groups:
        of_leads = by_name[[f"{wave}_{lead}" for lead in LEADS]]
        worst = str(of_leads.idxmax())
        rows.append({"quantity": wave, "ks": float(of_leads.mean()), "worst": f"{worst.partition('_')[2]} {of_leads[worst]:.2f}"})
    return pd.DataFrame(rows)
