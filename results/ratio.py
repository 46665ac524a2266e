"""The ratio of two methods' means with its interval: for a margin like "HD95 at most .81"."""

import numpy as np
import pandas as pd

from ssltut.errors import ConfigError
from ssltut.evaluation.draws import N_RESAMPLES, without_holes
from ssltut.evaluation.statistics import run_values


def ratio(rows: pd.DataFrame, metric: str, method: str, rival: str) -> tuple[float, float, float]:
    """The mean of a method over that of a rival, with the 95 % interval over draws and patients.

    ``rows`` are of one number of labelled scans. Only what both have is compared; with one draw the
    interval is of its patients alone, and where each draw has its own patients it is over draws.
    Raises ConfigError when they have none in common, or for rows of several numbers.
    """
    if rows["budget"].nunique() > 1:
        raise ConfigError("the rows have several numbers of labelled scans", fix="choose one")
    pairs = run_values(rows, metric).reindex(columns=[method, rival]).dropna()
    if pairs.empty:
        problem = f"{method!r} and {rival!r} have no result for the same draw and patient"
        raise ConfigError(problem, fix="give two methods that ran")
    above, below = (without_holes(pairs[name].unstack("patient")) for name in (method, rival))
    return float(above.mean() / below.mean()), *ratio_interval(above, below)


def ratio_interval(values: np.ndarray, rival: np.ndarray) -> tuple[float, float]:
    """Two-way bootstrap (Owen 2007): draws and patients are drawn again at the same time.

    Both tables are (draws, patients), as from ``without_holes``.
    """
    rng, (n_draws, n_patients) = np.random.default_rng(0), values.shape
    # How often each one is drawn: (N_RESAMPLES, draws) and (N_RESAMPLES, patients).
    draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws), N_RESAMPLES)
    patients = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), N_RESAMPLES)
    above, below = (((draws @ table) * patients).sum(axis=1) for table in (values, rival))
    low, high = np.quantile(above / below, [0.025, 0.975])
    return float(low), float(high)
