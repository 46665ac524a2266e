"""Charts of a comparison, drawn by seaborn: intervals and paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from pandas import DataFrame

from ssltut.errors import ConfigError
from ssltut.metrics import HIGHER_IS_BETTER
from ssltut.show.static.pictures import SERIES, Picture, picture, styled

Names = Sequence[str]
BOUND = "#555555"  # the two bounds are grey lines, dashed and dash-dotted
BOUND_DASHES = ("--", "-.")
NO_VALUE = "no value"
MOST_POINTS = 60  # of one row


def check_table(table: DataFrame, *names: str) -> None:
    """Raises ConfigError for a missing column, or for two rows that agree in the first two."""
    if missing := set(names) - set(table.columns):
        fix = f"it needs {', '.join(names)}"
        raise ConfigError(f"the table has no column {', '.join(sorted(missing))}", fix=fix)
    twice = table[table.duplicated([*names[:2]])]
    if len(twice):
        which = " and ".join(f"{name} {twice[name].iloc[0]}" for name in names[:2])
        fix = "give the rows of one metric, and of one budget or part each"
        raise ConfigError(f"the table has more than one row for {which}", fix=fix)


def usual_range(values: ArrayLike, anchors: Sequence[float] = ()) -> tuple[float, float]:
    """Least and greatest of the ``values`` that are not far out (Tukey 1977)."""
    # Far out: more than three interquartile ranges, or the span of the anchors, beyond both.
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if not len(known):
        return 0.0, 1.0
    first, third = np.quantile(known, (0.25, 0.75))
    low, high = min(first, *anchors, third), max(first, *anchors, third)
    reach = max(3 * (third - first), np.ptp(anchors) if len(anchors) else 0.0) or np.inf
    usual = known[(known >= low - reach) & (known <= high + reach)]
    return float(usual.min()), float(usual.max())


def written(values: ArrayLike, sign: str = "") -> list[str]:
    """Numbers with the digits that their size calls for: three below 2, as of a Dice, else one."""
    known = pd.Series(np.asarray(values, float))
    digits = 3 if known.abs().max() < 2 else 1
    return [NO_VALUE if np.isnan(v) else f"{v:{sign}.{digits}f}" for v in known]


def set_limits(ax: Axes, low: float, high: float) -> None:
    """Limits of x with a little room beside ``low`` and ``high``."""
    room = 0.05 * (high - low) or 0.05
    if not np.isnan(room):  # where every run failed there are no values
        ax.set_xlim(low - room, high + room)


def mark_beyond(ax: Axes, row: int, values: np.ndarray) -> None:
    """An arrow at the edge of ``row`` for ``values`` outside: their number and the farthest."""
    low, high = ax.get_xlim()
    below, above = np.sort(values[values < low]), np.sort(values[values > high])[::-1]
    for edge, start, align, outside in ((0, 0.07, "left", below), (1, 0.93, "right", above)):
        if not len(outside):
            continue
        farthest = written(outside)[0]
        text = farthest if len(outside) == 1 else f"{len(outside)} points, to {farthest}"
        arrow = {"arrowstyle": "-|>", "lw": 3, "color": SERIES[0]}
        across = ax.get_yaxis_transform()
        ax.annotate("", (edge, row), (start, row), across, arrowprops=arrow)
        # Above the line and the points of its row, which it would cross.
        ax.text(start, row - 0.22, text, transform=across, ha=align, va="bottom", fontsize=13)


def draw_points(ax: Axes, table: DataFrame, known_by: list[str], **looks: Any) -> None:
    """A point at each mean, with its interval."""
    # seaborn computes intervals from samples; ours are known. Of the three numbers low, mean, high
    # it draws the median (the mean) and the whole range (the interval).
    long = table.melt(known_by, ["low", "mean", "high"])
    interval = {"estimator": "median", "errorbar": ("pi", 100), "err_kws": {"linewidth": 3}}
    sns.pointplot(long, ax=ax, **interval, **looks)


def write_margin(ax: Axes, heading: str, words: Sequence[str]) -> None:
    """A column of ``words`` on the right of ``ax``, one a row."""
    ax.text(1.02, 1.01, heading, transform=ax.transAxes, fontsize=14, va="bottom")
    for row, text in enumerate(words):
        ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), fontsize=13, va="center")


def ranked(table: DataFrame, bounds: Names) -> list[str]:
    """Methods from the best to the worst in the first metric, between the two bounds."""
    first = table["metric"].iloc[0]
    rows = table[table["metric"] == first]
    ascending = not HIGHER_IS_BETTER.get(first, True)
    order = rows.sort_values("mean", ascending=ascending, kind="stable")["method"]
    methods = dict.fromkeys([*order, *table["method"]])
    here = [bound for bound in bounds if bound in methods]
    return [*here[1:], *(name for name in methods if name not in bounds), *here[:1]]


def draw_intervals(ax: Axes, rows: DataFrame, order: Names, bounds: Names) -> None:
    """One panel of ``intervals``."""
    marked = rows.assign(bound=rows["method"].isin(bounds))
    axes = {"x": "value", "y": "method", "order": order, "hue": "bound", "hue_order": [False, True]}
    points = {"palette": [SERIES[0], BOUND], "markers": ["o", "D"], "markersize": 9}
    looks = {"linestyles": "none", "capsize": 0.3, "legend": False}
    draw_points(ax, marked, ["method", "bound"], **axes, **points, **looks)
    known = rows.set_index("method").reindex(order)
    for bound, dashes in zip(bounds, BOUND_DASHES, strict=False):
        if bound in known.index:
            ax.axvline(known.loc[bound, "mean"], color=BOUND, ls=dashes, lw=2, zorder=1)
    least, most = usual_range(known["mean"], known["mean"].reindex(bounds).dropna().tolist())
    usual = known[known["mean"].between(least, most)]
    low, high = usual_range(usual[["low", "mean", "high"]])
    set_limits(ax, min(usual["mean"].min(), low), max(usual["mean"].max(), high))
    for row, mean in enumerate(known["mean"]):
        mark_beyond(ax, row, np.array([mean]))
    words = [
        mean if NO_VALUE in (mean, low) else f"{mean} [{low}, {high}]"
        for mean, low, high in map(written, known[["mean", "low", "high"]].to_numpy())
    ]
    write_margin(ax, "mean [interval]", words)


@styled
def intervals(
    table: DataFrame, *, alt: str, bounds: Names = (), titles: Mapping[str, str] | None = None
) -> Picture:
    """Mean and interval of every method, one panel per metric, the best on top.

    table    columns method, metric, mean, low, high
    bounds   the lower and the upper bound: the last and the first row, and a line through all rows
    titles   {metric: panel title}, with unit and direction
    A mean that is far out is an arrow at the edge with its value, and such an interval runs to the
    edge. Raises ConfigError for a missing column, or two rows of one method and metric.
    """
    check_table(table, "method", "metric", "mean", "low", "high")
    order, metrics = ranked(table, bounds), table["metric"].unique()
    fig = Figure(figsize=(6.4 * len(metrics) + 2, 0.42 * len(order) + 1.1), layout="constrained")
    axes = fig.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        draw_intervals(ax, table[table["metric"] == metric], order, bounds)
        ax.set(title=(titles or {}).get(metric, metric), xlabel="", ylabel="")
    return picture(fig, alt)


@styled
def paired_strip(differences: Mapping[str, ArrayLike], *, xlabel: str, alt: str) -> Picture:
    """Per-patient differences to a baseline: a point a patient, a bar at the mean.

    differences   {method: (patients,)}, one row each, the greatest mean on top
    Points that are far out are an arrow at the edge.
    """
    values = {name: pd.Series(np.asarray(v, float)) for name, v in differences.items()}
    means = pd.Series({name: one.mean() for name, one in values.items()})
    means = means.sort_values(ascending=False, kind="stable")
    values = {name: values[name] for name in means.index}
    long = pd.concat(values, names=["method", "patient"]).rename("value").dropna().reset_index()
    axes = {"x": "value", "y": "method", "order": list(values)}
    fig = Figure(figsize=(11, 0.55 * len(differences) + 1.2), layout="constrained")
    ax = fig.subplots()
    ax.axvline(0, color="black", lw=2, zorder=1)
    least, most = usual_range(long["value"], [0.0])
    set_limits(ax, min(least, 0), max(most, 0))
    if long["method"].value_counts().max() <= MOST_POINTS:
        sns.swarmplot(long, **axes, size=7, color=SERIES[0], warn_thresh=1, ax=ax)
    else:  # as ticks: so many points find no room beside each other
        ticks = {"marker": "|", "size": 18, "linewidth": 1, "alpha": 0.7, "jitter": False}
        sns.stripplot(long, **axes, **ticks, color=SERIES[0], ax=ax)
    bar = {"marker": "|", "markersize": 24, "markeredgewidth": 4, "color": SERIES[1]}
    sns.pointplot(long, **axes, errorbar=None, linestyles="none", ax=ax, **bar)
    for row, one in enumerate(values.values()):
        mark_beyond(ax, row, one.dropna().to_numpy())
    write_margin(ax, "mean", written(means, sign="+"))
    ax.set(xlabel=xlabel, ylabel="")
    return picture(fig, alt)


@styled
def dot_matrix(has: DataFrame, costs: DataFrame, *, alt: str) -> Picture:
    """A matrix of dots beside bars: what each row has, and what it costs.

    has     True or False in every column: dots
    costs   numbers of the same rows: bars with their values
    Raises ConfigError when the two have not the same rows.
    """
    if list(has.index) != list(costs.index):
        problem = f"{len(has)} rows of dots and {len(costs)} of costs that are not the same"
        raise ConfigError(problem, fix="give both tables the same rows, in one order")
    rows, widths = range(len(has)), [0.42 * len(has.columns), *[1] * len(costs.columns)]
    fig = Figure(figsize=(12, 0.36 * len(has) + 1.9), layout="constrained")
    ax, *panels = fig.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes in (ax, *panels):
        axes.grid(axis="y", visible=False)
        for row in rows[::2]:  # stripes lead the eye from a name to its bars
            axes.axhspan(row - 0.5, row + 0.5, color="#eeeeee", lw=0, zorder=0)
    row_at, column_at = np.nonzero(has.to_numpy(bool))
    ax.plot(column_at, row_at, ls="", marker="o", ms=11, color=SERIES[0])
    ax.set_yticks(rows, has.index)
    ax.set(ylim=(len(has) - 0.5, -0.5), xlim=(-0.6, len(has.columns) - 0.4))
    ax.set_xticks(range(len(has.columns)), has.columns, rotation=45, ha="left")
    ax.xaxis.tick_top()
    for panel, (name, values) in zip(panels, costs.items(), strict=True):
        bars = panel.barh(rows, values.astype(float), color=SERIES[1], height=0.65)
        panel.bar_label(bars, fmt="%.3g", padding=3, fontsize=11)
        panel.set(title=str(name).replace(" ", "\n", 1), xlim=(0, 1.35 * values.max()), xticks=())
    return picture(fig, alt)
