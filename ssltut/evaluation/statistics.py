"""Statistics of a comparison: label draws and patients vary, a miss counts, all is paired.

Every function takes the rows of ``ssltut.evaluation.compare.compare`` (or of ``read_rows``) and one
metric of ssltut.metrics. A label draw is a seed; ssltut.evaluation.draws has intervals and tests.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ssltut.errors import ConfigError
from ssltut.evaluation.draws import MOST_SIGNS, mean_interval, sign_flip_p, without_holes
from ssltut.methods.registry import METHODS, fidelity_of, title_of
from ssltut.metrics import HIGHER_IS_BETTER, METRICS

LOWER_BOUND, UPPER_BOUND = "labels_only", "all_labels"
CONTROL = "same_batch"  # what a gain is measured from: all of the step but the unlabelled loss


def run_values(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """(Draw, patient) x methods: the mean over scans and classes of one metric in one run."""
    if metric not in HIGHER_IS_BETTER:
        raise ConfigError(f"there is no metric {metric!r}", fix=f"use one of {', '.join(METRICS)}")
    values = rows[(rows["metric"] == metric) & (rows["status"] != "failed")]
    return values.groupby(["seed", "patient", "method"])["value"].mean().unstack("method")


def order_of(methods: Iterable[str]) -> list[str]:
    """Names in the order of the method list, lower bound first; others, as of variants, follow."""
    names = list(dict.fromkeys(methods))
    known = [name for name in METHODS if name in names]
    return known + [name for name in names if name not in METHODS]


def summary(rows: pd.DataFrame, metric: str, *, by_class: bool = False) -> pd.DataFrame:
    """One row a budget and method: mean with its 95 % interval, median over patients, and counts.

    "over" says what the interval is over. Counts are of draws, patients, scored and missed
    structures, and failed runs; "sd over seeds" is that of the means of the runs. ``by_class``
    gives a row for every class, with the column "class", instead of their mean. A miss is in the
    mean and in "missed"; a structure that is neither there nor found is in neither. Raises
    ConfigError for an unknown metric.
    """
    if by_class:
        names, failed = rows["class"].dropna().unique(), rows["status"] == "failed"
        parts = {name: summary(rows[(rows["class"] == name) | failed], metric) for name in names}
        return pd.concat(parts or {"": summary(rows, metric)}, names=["class"]).reset_index(0)
    table = []
    for budget, part in rows.groupby("budget"):
        values = run_values(part, metric).reindex(columns=order_of(part["method"]))
        for name, column in values.items():
            of_method = part[part["method"] == name]
            of_metric = of_method[of_method["metric"] == metric]
            own = column.dropna()
            of_draws = without_holes(own.unstack("patient"))
            n_draws, n_patients = of_draws.shape
            over = "draws and patients" if n_patients > 1 else "draws"
            mean, low, high = mean_interval(of_draws)
            row = {
                "method": name,
                "title": title_of(name),
                "fidelity": fidelity_of(name),
                "budget": budget,
                "metric": metric,
                "mean": mean,
                "low95": max(low, 0.0),
                "high95": min(high, 1.0) if HIGHER_IS_BETTER[metric] else high,
                "over": over if n_draws > 1 else "patients of one draw",
                "median": own.groupby("patient").mean().median(),
                "sd over seeds": of_metric.groupby("seed")["value"].mean().std(ddof=1),
                "draws": n_draws,
                "patients": n_patients if n_patients > 1 else own.index.unique("patient").size,
                "scored": int(of_metric["status"].isin(["ok", "missed", "invented"]).sum()),
                "missed": int((of_metric["status"] == "missed").sum()),
                "failed": int((of_method["status"] == "failed").sum()),
            }
            table.append(row)
    return pd.DataFrame(table)


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


def paired(rows: pd.DataFrame, metric: str, baseline: str | None = None) -> pd.DataFrame:
    """Every other method against ``baseline``, same budget, draws and patients.

    Mean difference with its interval, p of the sign-flip test over draws, Holm's p over all rows,
    on how many draws the method is better, and the shares of all (draw, patient) pairs on which it
    is better, exactly equal or worse ("wins", "ties", "losses"). A positive difference is a higher
    value of the metric. A draw that failed for one of the two is left out for both, as it may be an
    easy one; where all did, the numbers are NaN. Raises ConfigError when the baseline was not run,
    or for an unknown metric.
    """
    baseline = baseline or baseline_of(rows["method"])
    sign = 1.0 if HIGHER_IS_BETTER.get(metric) else -1.0
    table = []
    for budget, part in rows.groupby("budget"):
        if baseline not in set(part["method"]):
            problem = f"the baseline {baseline!r} has no results with {budget} labelled scans"
            fix = f"use one of {', '.join(order_of(part['method'])) or 'the methods that ran'}"
            raise ConfigError(problem, fix=fix)
        values = run_values(part, metric).reindex(columns=order_of(part["method"]))
        for name, column in values.drop(columns=baseline).items():
            pairs = (column - values[baseline]).dropna()
            of_draws = without_holes(pairs.unstack("patient"))
            mean, low, high = mean_interval(of_draws)
            means = of_draws.mean(axis=1)
            row = {
                "method": name,
                "title": title_of(name),
                "budget": budget,
                "metric": metric,
                "difference": mean,
                "low95": low,
                "high95": high,
                "p": sign_flip_p(means),
                "p Holm": float("nan"),
                "draws": len(means),
                "draws better": int((sign * means > 0).sum()),
                "wins": (sign * pairs > 0).mean(),
                "ties": (pairs == 0).mean(),
                "losses": (sign * pairs < 0).mean(),
            }
            table.append(row)
    found = pd.DataFrame(table)
    return found.assign(**{"p Holm": holm(found["p"])}) if table else found


def verdict(table: pd.DataFrame, level: float = 0.05) -> str:
    """What a paired table says in words: which differences hold after correction, or why none."""
    if table.empty:
        return "Only the baseline was run: there is nothing to compare it with."
    if table["difference"].isna().all():
        return "The runs failed: there is nothing to compare."
    draws, tests = int(table["draws"].max()), table["p"].count()
    if draws < 2:
        return "There is one label draw: its intervals hold for it alone, and no test is possible."
    significant = table[table["p Holm"] < level]
    if significant.empty:
        none = f"No difference to the baseline holds at p < {level} after Holm's correction"
        smallest = max(2 / 2**draws, 2 / MOST_SIGNS)
        if smallest * tests < level:
            return f"{none}: these draws and patients show no difference of methods."
        after = f"{min(1.0, smallest * tests):.2g} after the correction for {tests} tests"
        return f"{none}, and none can: with {draws} draws p is at least {smallest:.2g}, {after}."
    words = []
    for row in significant.itertuples():
        change = "better" if (row.difference > 0) == HIGHER_IS_BETTER[row.metric] else "worse"
        size = f"{abs(row.difference):.3g} ({row.budget} labelled)"
        words.append(f"{row.title} is {change} by {size}")
    rest = " The other differences do not hold." if len(significant) < len(table) else ""
    return f"After Holm's correction: {'; '.join(words)}.{rest}"


def report(rows: pd.DataFrame, metric: str, baseline: str | None = None) -> str:
    """The tables of a comparison as text, with the verdict. Raises ConfigError as ``paired``."""
    baseline = baseline or baseline_of(rows["method"])
    against = paired(rows, metric, baseline)
    names = [name for name in METRICS if name in set(rows["metric"])]
    means = {name: summary(rows, name).set_index(["title", "budget"])["mean"] for name in names}
    by_class = summary(rows, metric, by_class=True)
    better = f"{'higher' if HIGHER_IS_BETTER[metric] else 'lower'} is better"
    tables = {
        f"{metric}, {better}; mean over classes, 95 % intervals": summary(rows, metric),
        "class by class": by_class.drop(columns=["sd over seeds", "draws", "patients", "failed"]),
        f"minus {title_of(baseline)}, same draws and patients": against,
        "means of every metric": pd.DataFrame(means).reset_index(),
    }
    text = []
    for title, table in tables.items():
        if len(table):
            shown = table.drop(columns=["method", "metric"], errors="ignore").round(4)
            text.append(f"{title}\n{shown.to_string(index=False)}\n")
    text.append(verdict(against))
    if absent := [name for name in (LOWER_BOUND, UPPER_BOUND) if name not in set(rows["method"])]:
        lack = f"The table lacks {' and '.join(absent)}"
        text.append(f"{lack}: without both bounds nobody knows how much can be gained.")
    return "\n".join(text)
