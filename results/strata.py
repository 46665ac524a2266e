"""Charts of the bench over budgets and over difficulty, and the strata behind the second."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from ssltut.errors import ConfigError
from ssltut.evaluation.statistics import summary
from ssltut.show.static.charts import BOUND, BOUND_DASHES, Names, check_table, draw_points
from ssltut.show.static.pictures import Picture, line_style, picture, styled

FEWEST = 5  # cases of a part that is drawn


def strata(rows: pd.DataFrame, metric: str, bins: int | None = None) -> pd.DataFrame:
    """The cases in ``bins`` parts of equal size by difficulty: a row a part, budget and method.

    As the six test parts of Xie et al. 2024, or (``bins`` None) as many of them as leave FEWEST
    cases to each. The columns are those of ``summary`` with part (1 the
    easiest), easiest and hardest (its range of difficulty) and cases. Difficulty is what the cohort
    says, in its own scale; the paper's is the HD95 in mm between a shape model and the truth.
    Raises ConfigError when there are fewer cases with a known difficulty than parts.
    """
    of_case = rows.dropna(subset=["difficulty"]).groupby("case")["difficulty"].first()
    difficulty = of_case.sort_values(kind="stable")
    if bins is None:
        bins = min(6, max(1, len(difficulty) // FEWEST))
    if not 1 <= bins <= len(difficulty):
        problem = f"{len(difficulty)} cases have a known difficulty, for {bins} parts"
        raise ConfigError(problem, fix="choose fewer parts, or compare on more cases")
    tables = []
    for part, cases in enumerate(np.array_split(difficulty.index.to_numpy(), bins), start=1):
        table = summary(rows[rows["case"].isin(cases) | (rows["status"] == "failed")], metric)
        easiest, hardest = difficulty[cases].min(), difficulty[cases].max()
        tables.append(table.assign(part=part, easiest=easiest, hardest=hardest, cases=len(cases)))
    return pd.concat(tables, ignore_index=True)


def draw_groups(ax: Axes, table: DataFrame, along: str, order: list[Any], bounds: Names) -> None:
    """The methods next to each other at each value of ``along``; bounds as bars."""
    methods = [name for name in table["method"].unique() if name not in bounds]
    styles = [line_style(k) for k in range(len(methods))]
    joined = len(methods) * len(order) < 25  # more lines cannot be followed
    axes = {"x": along, "y": "value", "order": order, "hue": "method", "hue_order": methods}
    looks: dict[str, Any] = {
        "palette": [style["color"] for style in styles],
        "markers": [style["marker"] for style in styles],
        "linestyles": [style["ls"] if joined else "none" for style in styles],
    }
    if len(methods) > 1:
        looks["dodge"] = 0.6 if len(methods) < 7 else 0.8
    rows = table[table["method"].isin(methods)]
    draw_points(ax, rows, ["method", along], linewidth=1.2, markersize=10, **axes, **looks)
    for bound, dashes in zip(bounds, BOUND_DASHES, strict=False):
        rows = table[table["method"] == bound]
        x = rows[along].map(order.index)
        ax.hlines(rows["mean"], x - 0.44, x + 0.44, color=BOUND, ls=dashes, lw=2.5, label=bound)


@styled
def side_by_side(
    table: DataFrame, along: str, ticks: Mapping[Any, str], xlabel: str, ylabel: str, bounds: Names
) -> Figure:
    """The figure behind the next two; ``ticks`` {value of ``along``: label}."""
    bounds = [bound for bound in bounds if bound in set(table["method"])]
    entries, columns = table["method"].nunique(), 2 if len(ticks) < 5 else 3
    # wider than 14 inches, the letters shrink on a slide
    width = np.clip(2 + len(ticks) * max(1.5, 0.25 * (entries - len(bounds))), 8.5, 14)
    height = 4.4 + 0.3 * -(-entries // columns)
    fig = Figure(figsize=(width, height), layout="constrained")
    ax = fig.subplots()
    draw_groups(ax, table, along, list(ticks), bounds)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.5, len(ticks) - 0.5))
    ax.set_xticks(range(len(ticks)), list(ticks.values()))
    ax.grid(axis="x", visible=False)
    handles, labels = ax.get_legend_handles_labels()
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    fig.legend(handles, labels, loc="outside lower center", ncols=columns)
    return fig


def budget_curves(table: DataFrame, *, ylabel: str, alt: str, bounds: Names = ()) -> Picture:
    """Mean and interval of every method at each number of labelled scans.

    table    columns method, budget, mean, low, high; one metric
    bounds   methods drawn as grey bars at each value: the two bounds
    Raises ConfigError when a column is missing, or a method has two rows at one value.
    """
    check_table(table, "method", "budget", "mean", "low", "high")
    ticks = {budget: str(budget) for budget in sorted(table["budget"].unique())}
    return picture(side_by_side(table, "budget", ticks, "labelled scans", ylabel, bounds), alt)


def strata_curves(table: DataFrame, *, ylabel: str, alt: str, bounds: Names = ()) -> Picture:
    """The same on the easiest to the hardest cases, of one metric and one budget.

    table    columns part, easiest, hardest, cases, method, mean, low, high, as from ``strata``
    Raises ConfigError for a part of fewer than FEWEST cases too: its mean is that of an accident.
    """
    check_table(table, "method", "part", "easiest", "hardest", "cases", "mean", "low", "high")
    if (fewest := table["cases"].min()) < FEWEST:
        parts = table.drop_duplicates("part")
        fix = f"draw at most {max(1, parts['cases'].sum() // FEWEST)} parts: strata(..., bins=)"
        problem = f"{len(parts)} parts, the smallest of {fewest} cases; {FEWEST} are the least"
        raise ConfigError(problem, fix=fix)
    ticks = {}
    for row in table.drop_duplicates("part").sort_values("part").itertuples():
        ticks[row.part] = f"{row.easiest:.2f} to {row.hardest:.2f}\n{row.cases} cases"
    xlabel = "difficulty, from the easiest cases to the hardest"
    return picture(side_by_side(table, "part", ticks, xlabel, ylabel, bounds), alt)
