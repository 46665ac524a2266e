"""Curves, intervals and paired differences: lines and points that differ in style and marker, not
in colour alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from numpy.typing import ArrayLike

from ssltut.errors import ConfigError
from ssltut.show.static.pictures import DASHES, MARKERS, SERIES, Picture, described, picture, styled

ENDINGS = {
    "weight of the term": " weight",
    "share of voxels": " share",
}  # the columns of a history that these panels collect
SPELT = {"validation dice": "validation Dice", "validation hd95": "validation HD95 (mm)"}


def look(k: int) -> dict[str, object]:
    """Colour, dash and marker of the k-th line; no two of the first 49 look the same."""
    turn = k + k // len(SERIES)
    return {
        "color": SERIES[k % len(SERIES)],
        "ls": DASHES[turn % len(DASHES)],
        "marker": MARKERS[turn % len(MARKERS)],
    }


def add_line(ax: Axes, k: int, x: np.ndarray, y: np.ndarray, label: str) -> None:
    ax.plot(x, y, label=label, markevery=max(1, len(x) // 8), **look(k))


def default_groups(columns: Sequence[str]) -> dict[str, list[str]]:
    """Panels of a history: loss terms, their weights, shares of voxels, and one panel for each
    validation score or learning rate.
    """
    groups: dict[str, list[str]] = {"loss": []}
    for column in columns:
        panel = next((title for title, ending in ENDINGS.items() if column.endswith(ending)), None)
        alone = (
            column
            if column.startswith("validation") or column in ("lr", "learning rate")
            else "loss"
        )
        groups.setdefault(panel or alone, []).append(column)
    return {title: names for title, names in groups.items() if names}


def panel_rows(groups: Mapping[str, Sequence[str]]) -> tuple[int, int]:
    """Rows and columns of the panels."""
    columns = min(3, len(groups))
    return -(-len(groups) // columns), columns


def panel_axes(fig: FigureBase, groups: Mapping[str, Sequence[str]]) -> list[Axes]:
    """Empty axes for the panels of ``curves``, in an empty figure."""
    axes = fig.subplots(*panel_rows(groups), squeeze=False).ravel()
    for ax in axes[len(groups) :]:
        ax.axis("off")
    return list(axes[: len(groups)])


def paint(axes: Sequence[Axes], history: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> None:
    """The panels of ``curves``."""
    for ax, (title, names) in zip(axes, groups.items(), strict=False):
        ending = ENDINGS.get(title, "")
        for k, name in enumerate(names):
            line = history[["step", name]].dropna()
            x, y = line["step"].to_numpy(float), line[name].astype(float)
            window = len(y) // 25
            if (
                window > 1 and not ending
            ):  # single batches are noisy: the thick line is their running mean, the thin one the batches
                ax.plot(x, y, color=SERIES[k % len(SERIES)], lw=0.8, alpha=0.3)
                y = y.rolling(window, min_periods=1, center=True).mean()
            add_line(ax, k, x, y.to_numpy(), name.removesuffix(ending))
        ax.set(title=SPELT.get(title, title), xlabel="step")
        if list(names) != [title]:
            ax.legend()


@styled
def panels(history: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> Figure:
    """The figure behind ``curves``."""
    rows, columns = panel_rows(groups)
    fig = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    paint(panel_axes(fig, groups), history, groups)
    return fig


def refuse_missing(history: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> None:
    """Raises ConfigError for a column that is not there."""
    missing = {"step", *(c for names in groups.values() for c in names)} - set(history.columns)
    if missing:
        raise ConfigError(
            f"the history has no column {', '.join(sorted(missing))}",
            fix=f"it has {', '.join(map(str, history.columns))}",
        )


def curves(
    history: pd.DataFrame | Mapping[str, ArrayLike],
    *,
    alt: str,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Picture:
    """Training curves as small panels over "step".

    history   one row per step; columns like "total", "supervised", "supervised weight", "matching
              share", "validation dice"; gaps are NaN
    groups    {panel title: columns} (default: loss terms, weights, shares, and a panel for each
              validation score)
    Raises ConfigError for a column that is not there.
    """
    history = pd.DataFrame(history)
    groups = groups or default_groups([c for c in history.columns if c != "step"])
    refuse_missing(history, groups)
    return picture(panels(history, groups), described(alt))


@styled
def chart(
    x: ArrayLike | Mapping[str, ArrayLike],
    series: Mapping[str, ArrayLike],
    xlabel: str,
    ylabel: str,
    title: str | None,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]],
) -> Figure:
    """The figure behind ``lines``."""
    fig = Figure(figsize=(8, 4.6), layout="constrained")
    ax = fig.subplots()
    for k, (name, y) in enumerate(series.items()):
        at = np.asarray(x[name] if isinstance(x, Mapping) else x, float)
        add_line(ax, k, at, np.asarray(y, float), name)
        if name in bands:
            ax.fill_between(at, *bands[name], color=SERIES[k % len(SERIES)], alpha=0.2, lw=0)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title or "")
    if len(series) > 1:
        ax.legend()
    return fig


def lines(
    x: ArrayLike | Mapping[str, ArrayLike],
    series: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    title: str | None = None,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
) -> Picture:
    """Named lines over one x, or over an x of their own ({name: x}); ``bands`` {name: (low, high)}
    shades an interval.
    """
    return picture(chart(x, series, xlabel, ylabel, title, bands or {}), described(alt))


def risk_coverage(
    coverage: ArrayLike,
    risk: ArrayLike | Mapping[str, ArrayLike],
    *,
    alt: str,
    title: str | None = None,
) -> Picture:
    """Error rate among the voxels kept when only the most certain share ``coverage`` is kept;
    ``risk`` (N,) or {name: (N,)}.
    """
    series = risk if isinstance(risk, Mapping) else {"risk": risk}
    return lines(
        coverage,
        series,
        xlabel="coverage: share of voxels kept, most certain first",
        ylabel="error rate among them",
        alt=alt,
        title=title,
    )


@styled
def forest(table: pd.DataFrame, bounds: Sequence[str], titles: Mapping[str, str]) -> Figure:
    """The figure behind ``intervals``."""
    metrics, methods = (
        list(dict.fromkeys(table["metric"])),
        [m for m in dict.fromkeys(table["method"]) if m not in bounds],
    )
    fig = Figure(figsize=(5.5 * len(metrics) + 2, 0.5 * len(methods) + 2.1), layout="constrained")
    axes = fig.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for ax, metric in zip(axes, metrics, strict=False):
        rows = table[table["metric"] == metric].set_index("method")
        for k, bound in enumerate(b for b in bounds if b in rows.index):
            ax.axvline(
                rows.loc[bound, "mean"],
                color="#555555",
                ls=("--", "-.")[k % 2],
                lw=2.5,
                label=bound,
            )
        for y, method in enumerate(m for m in methods if m in rows.index):
            mean, low, high = rows.loc[method, ["mean", "low", "high"]]
            ax.errorbar(
                mean,
                y,
                xerr=[[mean - low], [high - mean]],
                fmt=MARKERS[y % len(MARKERS)],
                color=SERIES[y % len(SERIES)],
                lw=3,
                capsize=6,
                ms=10,
            )
            ax.annotate(
                f"{mean:.3g}",
                (mean, y),
                (0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=12,
            )
        ax.set(
            yticks=range(len(methods)),
            yticklabels=methods,
            ylim=(len(methods) - 0.4, -0.7),
            title=titles.get(metric, metric),
        )
    if axes[0].get_legend_handles_labels()[0]:
        fig.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=2,
            handlelength=3,
        )
    return fig


def intervals(
    table: pd.DataFrame,
    *,
    alt: str,
    bounds: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> Picture:
    """Mean and interval of every method, one panel per metric.

    table    columns method, metric, mean, low, high
    bounds   methods drawn as vertical lines instead: the two bounds, *labels only (n)* and *all
             labels (upper bound)*
    titles   {metric: panel title}, with unit and direction
    Raises ConfigError when a column is missing, or a method has two rows of one metric.
    """
    return picture(
        forest(
            with_columns(table, "method", "metric", "mean", "low", "high"), bounds, titles or {}
        ),
        described(alt),
    )


@styled
def strip(differences: Mapping[str, ArrayLike], xlabel: str) -> Figure:
    """The figure behind ``paired``."""
    fig = Figure(figsize=(9, 0.6 * len(differences) + 1.6), layout="constrained")
    ax = fig.subplots()
    ax.axvline(0, color="black", lw=2)
    for k, values in enumerate(np.asarray(v, float) for v in differences.values()):
        values = values[~np.isnan(values)]  # none where every run of a method failed
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(len(values))
        ax.plot(
            values,
            k + spread,
            ls="",
            marker=MARKERS[k % len(MARKERS)],
            color=SERIES[k % len(SERIES)],
            alpha=0.55,
        )
        if len(values):
            ax.plot([values.mean()] * 2, [k - 0.33, k + 0.33], color=SERIES[k % len(SERIES)], lw=4)
    ax.set(
        yticks=range(len(differences)),
        yticklabels=list(differences),
        ylim=(len(differences) - 0.5, -0.5),
        xlabel=xlabel,
    )
    return fig


def paired(differences: Mapping[str, ArrayLike], *, xlabel: str, alt: str) -> Picture:
    """Per-patient differences to a baseline, one row per method: a point a patient, a bar at the
    mean, a line at no difference.
    """
    return picture(strip(differences, xlabel), described(alt))


@styled
def steps(
    table: pd.DataFrame,
    along: str,
    ticks: Mapping[object, str],
    xlabel: str,
    ylabel: str,
    bounds: Sequence[str],
) -> Figure:
    """The figure behind ``budget_curves`` and ``strata``: the values of ``along`` side by side, the
    methods next to each other at each.
    """
    drawn = [m for m in dict.fromkeys(table["method"]) if m not in bounds]
    columns = 2 if len(ticks) < 5 else 3
    height = (4.2 if len(drawn) < 7 else 5.2) + 0.3 * -(-(len(drawn) + len(bounds)) // columns)
    width = max(
        8.5, min(14.0, 2.0 + len(ticks) * max(1.5, 0.25 * len(drawn)))
    )  # wider, the letters shrink on a slide
    fig = Figure(figsize=(width, height), layout="constrained")
    ax, place = fig.subplots(), {value: i for i, value in enumerate(ticks)}
    for k, method in enumerate([*drawn, *bounds]):
        rows = table[table["method"] == method].sort_values(along)
        x, mean = rows[along].map(place).to_numpy(float), rows["mean"].to_numpy(float)
        if method in bounds:  # the room there is at each value, not a competitor
            ax.hlines(
                mean,
                x - 0.44,
                x + 0.44,
                color="#555555",
                ls=("--", "-.")[bounds.index(method) % 2],
                lw=2.5,
                label=method,
            )
            continue
        x = x + (0.6 if len(drawn) < 7 else 0.8) * ((k + 0.5) / len(drawn) - 0.5)
        if len(drawn) < 7:  # more lines are a cobweb
            ax.plot(x, mean, lw=1, alpha=0.5, **look(k) | {"marker": ""})
        ax.plot(x, mean, label=method, ms=10, zorder=3, **look(k) | {"ls": ""})
        ax.vlines(x, rows["low"], rows["high"], color=look(k)["color"], lw=3)
    ax.set(
        xticks=range(len(ticks)),
        xticklabels=list(ticks.values()),
        xlim=(-0.5, len(ticks) - 0.5),
        xlabel=xlabel,
        ylabel=ylabel,
    )
    ax.grid(axis="x", visible=False)
    fig.legend(loc="outside lower center", ncols=columns)
    return fig


def with_columns(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """``table`` itself. Raises ConfigError when a column is missing, or when the first two, what a
    point is known by, do not tell rows apart.
    """
    if missing := set(names) - set(table.columns):
        raise ConfigError(
            f"the table has no column {', '.join(sorted(missing))}",
            fix=f"it needs {', '.join(names)}",
        )
    if (twice := table[table.duplicated([*names[:2]])]).size:
        which = " and ".join(f"{name} {twice[name].iloc[0]}" for name in names[:2])
        raise ConfigError(
            f"the table has more than one row for {which}",
            fix="give the rows of one metric, and of one budget or part each",
        )
    return table


def budget_curves(
    table: pd.DataFrame, *, ylabel: str, alt: str, bounds: Sequence[str] = ()
) -> Picture:
    """Mean and interval of every method at each number of labelled scans.

    table    columns method, budget, mean, low, high; one metric
    bounds   methods drawn as grey bars at each value: the two bounds
    Raises ConfigError when a column is missing, or a method has two rows at one value.
    """
    with_columns(table, "method", "budget", "mean", "low", "high")
    ticks = {budget: str(budget) for budget in sorted(table["budget"].unique())}
    return picture(
        steps(
            table,
            "budget",
            ticks,
            "labelled scans",
            ylabel,
            [b for b in bounds if b in set(table["method"])],
        ),
        described(alt),
    )


def strata(table: pd.DataFrame, *, ylabel: str, alt: str, bounds: Sequence[str] = ()) -> Picture:
    """Mean and interval of every method on the easiest to the hardest cases, with the range of
    difficulty and the number of cases of each part.

    table    columns part, easiest, hardest, cases, method, mean, low, high
             (ssltut.evaluation.statistics.strata); one metric, one budget
    bounds   methods drawn as grey bars at each value: the two bounds
    Raises ConfigError when a column is missing, or a method has two rows at one value.
    """
    with_columns(table, "method", "part", "easiest", "hardest", "cases", "mean", "low", "high")
    parts = table.drop_duplicates("part").sort_values("part")
    ticks = {
        row.part: (
            f"{row.easiest:.2f} to {row.hardest:.2f}\n{row.cases} cases"
            if row.cases > 1
            else f"{row.easiest:.2f}\n1 case"
        )
        for row in parts.itertuples()
    }
    return picture(
        steps(
            table,
            "part",
            ticks,
            "difficulty, from the easiest cases to the hardest",
            ylabel,
            [b for b in bounds if b in set(table["method"])],
        ),
        described(alt),
    )
