"""What a table of label draws x patients says about other draws and other patients.

A table is (draws, patients): networks of different draws are scored on the same patients, so both
are random and crossed. (draws, 1) holds the means of draws that have patients of their own.
"""

import numpy as np
import pandas as pd

N_RESAMPLES = 10_000
MOST_SIGNS = 2**14  # all choices of signs of up to 14 draws; of more draws, so many at random


def without_holes(table: pd.DataFrame) -> np.ndarray:
    """Draws x patients that have no hole (NaN); if most do, as in folds, the means (draws, 1)."""
    table = table.dropna(how="all").dropna(axis=1, how="all")
    whole = table.dropna(axis=1)
    if len(whole.columns) > 1 and 2 * len(whole.columns) >= len(table.columns):
        return whole.to_numpy()
    return table.mean(axis=1).to_numpy()[:, None]


def bootstrap_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979), NaN left out; NaN of one value."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(len(values), size=(N_RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean and its 95 % interval for other draws and patients; of one draw, other patients.

    The crossed random-effects model: with D draws, P patients and the mean squares of the two-way
    table, Var(mean) = (MS_draws + max(MS_patients - MS_residual, 0)) / (D P), and Student's t with
    the degrees of freedom of Satterthwaite (1946). docs/statistics.md says how often it holds.
    """
    from scipy.stats import t

    n_draws, n_patients = values.shape
    mean = float(values.mean()) if values.size else float("nan")
    if n_draws < 2:
        return mean, *bootstrap_interval(values.ravel())
    of_draws, of_patients = values.mean(axis=1), values.mean(axis=0)
    squares = n_patients * of_draws.var(ddof=1)
    parts = squares**2 / (n_draws - 1)
    if n_patients > 1:
        residual = values - of_draws[:, None] - of_patients + mean
        noise = (residual**2).sum() / ((n_draws - 1) * (n_patients - 1))
        excess = max(n_draws * of_patients.var(ddof=1) - noise, 0.0)
        squares, parts = squares + excess, parts + excess**2 / (n_patients - 1)
    freedom = squares**2 / parts if squares else 1.0
    half = float(t.ppf(0.975, freedom) * np.sqrt(squares / values.size))
    return mean, mean - half, mean + half


def sign_flip_p(values: np.ndarray) -> float:
    """Two-sided p of the sign-flip test (Fisher 1935) over the means of draws; NaN for one draw."""
    from scipy.stats import permutation_test

    if len(values) < 2:
        return float("nan")
    flips = {"permutation_type": "samples", "n_resamples": MOST_SIGNS, "random_state": 0}
    return float(permutation_test((values,), np.mean, vectorized=True, **flips).pvalue)
