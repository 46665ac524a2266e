"""Statistics of a comparison: a patient is the unit, a miss counts, comparisons are paired.

Every function takes the rows of ``ssltut.evaluation.compare.compare`` (or of ``read_rows``) and one
metric of ssltut.metrics. Several tests are corrected together.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from ssltut.errors import ConfigError
from ssltut.methods.registry import METHODS, fidelity_of, title_of
from ssltut.metrics import HIGHER_IS_BETTER

LOWER_BOUND, UPPER_BOUND = "labels_only", "all_labels"
CONTROL = "same_batch"  # what a gain is measured from: all of the step but the unlabelled loss
SCORED = ["ok", "missed", "invented"]


def run_values(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """(Patient, seed) x methods: the mean over scans and classes of one metric in one run."""
    if metric not in HIGHER_IS_BETTER:
        fix = f"use one of {', '.join(HIGHER_IS_BETTER)}"
        raise ConfigError(f"there is no metric {metric!r}", fix=fix)
    values = rows[(rows["metric"] == metric) & (rows["status"] != "failed")]
    return values.groupby(["patient", "seed", "method"])["value"].mean().unstack("method")


def patient_values(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Patients x methods: the mean over scans and classes, then over seeds, of one metric."""
    return run_values(rows, metric).groupby("patient").mean()


def bootstrap_interval(
    values: np.ndarray,
    level: float = 0.95,
    seed: int = 0,
    center: Callable[..., np.ndarray] = np.mean,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) of the mean, or another ``center``, over patients.

    (NaN, NaN) below two values; NaN is left out.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(len(values), size=(10_000, len(values)))
    low, high = np.quantile(center(values[drawn], axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def order_of(methods: Iterable[str]) -> list[str]:
    """Names in the order of the method list, lower bound first; others, as of variants, follow."""
    names = list(dict.fromkeys(methods))
    known = [name for name in METHODS if name in names]
    return known + [name for name in names if name not in METHODS]


def each_class(rows: pd.DataFrame, table: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """``table`` of every class, with the column "class" in front; a failed run is in each."""
    parts = []
    for name in rows["class"].dropna().unique():
        part = table(rows[(rows["class"] == name) | (rows["status"] == "failed")])
        part.insert(0, "class", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else table(rows).assign(**{"class": ""})


def summary(rows: pd.DataFrame, metric: str, *, by_class: bool = False) -> pd.DataFrame:
    """One row a budget and method: mean and median over patients with 95 % intervals, and counts.

    Counts are of patients, of scored and missed structures, and of failed runs; "sd over seeds" is
    that of the means of the runs. ``by_class`` gives a row for every class, with the column
    "class", instead of their mean. A miss is in the mean and in "missed"; a structure that is
    neither there nor found is in neither. Raises ConfigError for an unknown metric.
    """
    if by_class:
        return each_class(rows, lambda part: summary(part, metric))
    table = []
    for budget, part in rows.groupby("budget"):
        values = patient_values(part, metric)
        for name in order_of(part["method"]):
            of_method = part[part["method"] == name]
            of_metric = of_method[of_method["metric"] == metric]
            patients = values.get(name, pd.Series(dtype=float))
            low, high = bootstrap_interval(patients)
            median_low, median_high = bootstrap_interval(patients, center=np.median)
            row = {
                "method": name,
                "title": title_of(name),
                "fidelity": fidelity_of(name),
                "budget": budget,
                "metric": metric,
                "mean": patients.mean(),
                "low95": low,
                "high95": high,
                "median": patients.median(),
                "median low95": median_low,
                "median high95": median_high,
                "sd over seeds": of_metric.groupby("seed")["value"].mean().std(ddof=1),
                "patients": int(patients.notna().sum()),
                "scored": int(of_metric["status"].isin(SCORED).sum()),
                "missed": int((of_metric["status"] == "missed").sum()),
                "failed": int((of_method["status"] == "failed").sum()),
            }
            table.append(row)
    return pd.DataFrame(table)


def strata(rows: pd.DataFrame, metric: str, bins: int = 6) -> pd.DataFrame:
    """The cases in ``bins`` parts of equal size by difficulty: a row a part, budget and method.

    As the six test parts of Xie et al. 2024. The columns are those of ``summary`` with part (1 the
    easiest), easiest and hardest (its range of difficulty) and cases. Difficulty is what the cohort
    says, in its own scale; the paper's is the HD95 in mm between a shape model and the truth.
    Raises ConfigError when there are fewer cases with a known difficulty than parts.
    """
    of_case = rows.dropna(subset=["difficulty"]).groupby("case")["difficulty"].first()
    difficulty = of_case.sort_values(kind="stable")
    if not 1 <= bins <= len(difficulty):
        problem = f"{len(difficulty)} cases have a known difficulty, for {bins} parts"
        raise ConfigError(problem, fix="choose fewer parts, or compare on more cases")
    tables = []
    for part, cases in enumerate(np.array_split(difficulty.index.to_numpy(), bins), start=1):
        table = summary(rows[rows["case"].isin(cases) | (rows["status"] == "failed")], metric)
        easiest, hardest = difficulty[cases].min(), difficulty[cases].max()
        tables.append(table.assign(part=part, easiest=easiest, hardest=hardest, cases=len(cases)))
    return pd.concat(tables, ignore_index=True)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979); NaN stays NaN and does not count."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, p[order] * factors))
    return adjusted.tolist()


def baseline_of(methods: Iterable[str]) -> str:
    """What gains are measured from: the control, or where it was not run the lower bound."""
    return CONTROL if CONTROL in set(methods) else LOWER_BOUND


def differences(rows: pd.DataFrame, metric: str, baseline: str | None = None) -> pd.DataFrame:
    """Patients x other methods, for one budget: the metric minus that of ``baseline``.

    ``baseline`` None is that of ``baseline_of``.
    It is the difference on the same patient with the same seed, then the mean over seeds. A seed
    that failed for one of the two is left out for both: its draw may have been an easy one.
    """
    baseline = baseline or baseline_of(rows["method"])
    values = run_values(rows, metric)
    others = order_of(name for name in rows["method"] if name != baseline)
    if baseline not in values:
        return pd.DataFrame(index=values.index.unique("patient"), columns=others, dtype=float)
    return values.sub(values[baseline], axis=0).groupby("patient").mean().reindex(columns=others)


def paired(
    rows: pd.DataFrame, metric: str, baseline: str | None = None, *, by_class: bool = False
) -> pd.DataFrame:
    """Every other method against ``baseline``, same budget, patients and seeds.

    Mean difference with its interval, Wilcoxon's p, Holm's p, and on how many patients the method
    is better, equal or worse ("wins", "ties", "losses"). A positive difference means a higher value
    of the metric. Holm's correction counts every row of the table, with ``by_class`` those of every
    class. Where all runs of either failed, the numbers are NaN. Raises ConfigError when the
    baseline was not run, or for an unknown metric.
    """
    baseline = baseline or baseline_of(rows["method"])
    tests = partial(_uncorrected, metric=metric, baseline=baseline)
    table = each_class(rows, tests) if by_class else tests(rows)
    return table.assign(**{"p Holm": holm(table["p"])}) if len(table) else table


def _uncorrected(rows: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """The rows of ``paired`` before Holm's correction."""
    from scipy.stats import wilcoxon

    sign = 1.0 if HIGHER_IS_BETTER.get(metric) else -1.0
    table = []
    for budget, part in rows.groupby("budget"):
        if baseline not in set(part["method"]):
            problem = f"the baseline {baseline!r} has no results with {budget} labelled scans"
            fix = f"use one of {', '.join(order_of(part['method'])) or 'the methods that ran'}"
            raise ConfigError(problem, fix=fix)
        for name, values in differences(part, metric, baseline).items():
            difference = values.dropna().to_numpy()
            low, high = bootstrap_interval(difference)
            row = {
                "method": name,
                "title": title_of(name),
                "budget": budget,
                "metric": metric,
                "difference": difference.mean() if len(difference) else float("nan"),
                "low95": low,
                "high95": high,
                "p": float(wilcoxon(difference).pvalue) if np.any(difference) else float("nan"),
                "wins": int((sign * difference > 0).sum()),
                "ties": int((difference == 0).sum()),
                "losses": int((sign * difference < 0).sum()),
            }
            table.append(row)
    return pd.DataFrame(table)


def verdict(table: pd.DataFrame, level: float = 0.05) -> str:
    """What a paired table says in words: which differences hold after correction, or that none."""
    if table.empty:
        return "Only the baseline was run: there is nothing to compare it with."
    if table["difference"].isna().all():
        return "The runs failed: there is nothing to compare."
    significant = table[table["p Holm"] < level]
    if significant.empty:
        none = f"No difference to the baseline holds at p < {level} after Holm's correction"
        return f"{none}: on these patients the methods cannot be told apart."
    higher_is_better = HIGHER_IS_BETTER[table["metric"].iloc[0]]
    words = []
    for row in significant.itertuples():
        change = "better" if (row.difference > 0) == higher_is_better else "worse"
        size = f"{abs(row.difference):.3g}"
        words.append(f"{row.title} is {change} by {size} ({row.budget} labelled)")
    rest = " The other differences do not hold." if len(significant) < len(table) else ""
    return f"After Holm's correction: {'; '.join(words)}.{rest}"


def report(rows: pd.DataFrame, metric: str, baseline: str | None = None) -> str:
    """The tables of a comparison as text, with the verdict. Raises ConfigError as ``paired``."""
    baseline = baseline or baseline_of(rows["method"])
    against = paired(rows, metric, baseline)
    direction = "higher" if HIGHER_IS_BETTER[metric] else "lower"
    whole = f"{metric}, {direction} is better; mean over classes, 95 % intervals over patients"
    by_class = summary(rows, metric, by_class=True)
    tables = {
        whole: summary(rows, metric),
        "class by class": by_class.drop(columns=["sd over seeds", "patients", "failed"]),
        f"minus {title_of(baseline)}, same patients and seeds": against,
    }
    text = []
    for title, table in tables.items():
        if len(table):
            shown = table.drop(columns=["method", "metric"]).round(4)
            text.append(f"{title}\n{shown.to_string(index=False)}\n")
    text.append(verdict(against))
    if absent := [name for name in (LOWER_BOUND, UPPER_BOUND) if name not in set(rows["method"])]:
        lack = f"The table lacks {' and '.join(absent)}"
        text.append(f"{lack}: without both bounds nobody sees how much room there is.")
    return "\n".join(text)
