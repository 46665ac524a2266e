"""A matrix of dots beside bars: what each of many things has, and what it costs."""

import pandas as pd
from matplotlib.figure import Figure

from ssltut.errors import ConfigError
from ssltut.show.static.pictures import SERIES, Picture, described, picture, styled


def dot_matrix(has: pd.DataFrame, costs: pd.DataFrame, *, alt: str) -> Picture:
    """One line for each row of ``has`` (True or False in every column: dots) and of ``costs``
    (numbers: bars with their values).

    Raises ConfigError when the two have not the same rows.
    """
    if list(has.index) != list(costs.index):
        raise ConfigError(
            f"{len(has)} rows of dots and {len(costs)} of costs that are not the same",
            fix="give both tables the same rows, in one order",
        )
    return picture(matrix(has, costs), described(alt))


@styled
def matrix(has: pd.DataFrame, costs: pd.DataFrame) -> Figure:
    """The figure behind ``dot_matrix``."""
    fig = Figure(figsize=(12, 0.36 * len(has) + 1.9), layout="constrained")
    ax, *panels = fig.subplots(
        1,
        1 + len(costs.columns),
        sharey=True,
        squeeze=False,
        width_ratios=(0.42 * len(has.columns), *[1] * len(costs.columns)),
    )[0]
    for row in range(0, len(has), 2):  # stripes lead the eye from a name to its bars
        for each in (ax, *panels):
            each.axhspan(row - 0.5, row + 0.5, color="#eeeeee", lw=0, zorder=0)
    for column, name in enumerate(has.columns):
        rows = [i for i, true in enumerate(has[name]) if true]
        ax.plot([column] * len(rows), rows, ls="", marker="o", ms=11, color=SERIES[0])
    ax.set(
        yticks=range(len(has)),
        yticklabels=has.index,
        ylim=(len(has) - 0.5, -0.5),
        xlim=(-0.6, len(has.columns) - 0.4),
    )
    ax.set_xticks(range(len(has.columns)), has.columns, rotation=45, ha="left")
    ax.xaxis.tick_top()
    ax.grid(axis="y", visible=False)
    for panel, name in zip(panels, costs.columns, strict=True):
        values = costs[name].astype(float)
        panel.barh(range(len(values)), values, color=SERIES[1], height=0.65)
        for row, value in enumerate(values):
            panel.text(value + 0.02 * values.max(), row, f"{value:.2g}", va="center", fontsize=11)
        panel.set(title=name.replace(" ", "\n", 1), xlim=(0, 1.35 * values.max()), xticks=())
        panel.grid(visible=False)
    return fig
