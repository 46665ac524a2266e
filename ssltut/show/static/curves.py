"""Curves over training steps or any other x; they differ in dashes and markers too."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike

from ssltut.errors import ConfigError
from ssltut.show.static.pictures import Picture, line_style, picture, styled
from ssltut.show.static.slices import grid_of_axes

# Panels that collect columns of a history, by what the names of these columns end with.
ENDINGS = {"weight of the term": " weight", "share of voxels": " share"}
TITLES = {"validation dice": "validation Dice", "validation hd95": "validation HD95 (mm)"}

Groups = Mapping[str, Sequence[str]]  # {panel title: columns of the history}
Named = Mapping[str, ArrayLike]


def default_groups(columns: Sequence[str]) -> dict[str, list[str]]:
    """Panels of a history: losses, weights, shares, and one for each score or learning rate."""
    groups: dict[str, list[str]] = {"loss": []}
    for column in columns:
        panel = next((title for title, end in ENDINGS.items() if column.endswith(end)), "loss")
        if column.startswith("validation") or column in ("lr", "learning rate"):
            panel = column
        groups.setdefault(panel, []).append(column)
    return {title: names for title, names in groups.items() if names}


def panel_rows(groups: Groups) -> tuple[int, int]:
    """Rows and columns of the panels."""
    columns = min(3, len(groups))
    return -(-len(groups) // columns), columns


def add_line(ax: Axes, k: int, x: np.ndarray, y: np.ndarray, label: str) -> None:
    """The k-th line, with about eight markers."""
    ax.plot(x, y, label=label, markevery=max(1, len(x) // 8), **line_style(k))


def draw_panels(axes: Sequence[Axes], history: pd.DataFrame, groups: Groups) -> None:
    """The panels of ``curves``; of a long loss, which is noisy, the running mean and range."""
    for ax, (title, names) in zip(axes, groups.items(), strict=False):
        ending = ENDINGS.get(title, "")
        for k, name in enumerate(names):
            known = history[["step", name]].dropna()
            x, y = known["step"].to_numpy(float), known[name].astype(float)
            window = len(y) // 25
            if window > 1 and not ending:
                near = y.rolling(window, min_periods=1, center=True)
                colour = line_style(k)["color"]
                ax.fill_between(x, near.min(), near.max(), color=colour, alpha=0.2, lw=0)
                y = near.mean()
            add_line(ax, k, x, y.to_numpy(), name.removesuffix(ending))
        heading = TITLES.get(title, title)
        ax.set(title=heading, xlabel="step")
        if [TITLES.get(name, name) for name in names] != [heading]:  # below the panel, not over it
            ax.legend(loc="upper left", bbox_to_anchor=(-0.15, -0.18), ncols=2, fontsize=10)


def refuse_missing(history: pd.DataFrame, groups: Groups) -> None:
    """Raises ConfigError for a column that is not there."""
    if missing := {"step"}.union(*groups.values()) - set(history.columns):
        fix = f"it has {', '.join(map(str, history.columns))}"
        raise ConfigError(f"the history has no column {', '.join(sorted(missing))}", fix=fix)


@styled
def curves(history: pd.DataFrame | Named, *, alt: str, groups: Groups | None = None) -> Picture:
    """Training curves as small panels over "step".

    history   one row per step; columns like "total", "supervised", "supervised weight", "matching
              share", "validation dice"; gaps are NaN
    groups    {panel title: columns} (default: as in ``default_groups``)
    Raises ConfigError for a column that is not there.
    """
    history = pd.DataFrame(history)
    groups = groups or default_groups([c for c in history.columns if c != "step"])
    refuse_missing(history, groups)
    rows, columns = panel_rows(groups)
    fig = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    draw_panels(grid_of_axes(fig, len(groups), columns), history, groups)
    return picture(fig, alt)


@styled
def lines(
    x: ArrayLike | Named,
    series: Named,
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    title: str = "",
    labels: Mapping[str, tuple[float, float]] | None = None,
    log: bool = False,
) -> Picture:
    """Named lines over one x, or an x of their own ({name: x}), their key beside them.

    ``labels`` {name: (x, y)} says where the name of each line begins, in place of a legend; on a
    logarithmic y (``log``) a value of 0 is a gap.
    """
    has_key = len(series) > 1 and not labels
    fig = Figure(figsize=(10.5 if has_key else 8, 4.4), layout="constrained")
    ax = fig.subplots()
    for k, (name, y) in enumerate(series.items()):
        own_x = np.asarray(x[name] if isinstance(x, Mapping) else x, float)
        add_line(ax, k, own_x, np.asarray(y, float), name)
        if labels:
            ax.text(*labels[name], name, color=line_style(k)["color"], fontsize=15, weight="bold")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if log:
        ax.set_yscale("log", nonpositive="mask")
        low, high = ax.get_ylim()
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
    if has_key:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return picture(fig, alt)


def risk_coverage(
    coverage: ArrayLike, risk: ArrayLike | Named, *, alt: str, title: str = ""
) -> Picture:
    """Error rate (N,) or {name: (N,)} against the share of voxels kept (N,), most certain first."""
    risks = risk if isinstance(risk, Mapping) else {"risk": risk}
    xlabel, ylabel = "coverage: share of voxels kept, most certain first", "error rate among them"
    return lines(coverage, risks, xlabel=xlabel, ylabel=ylabel, alt=alt, title=title)
