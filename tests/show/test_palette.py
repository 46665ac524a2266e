"""Every line on white is dark enough to be seen: a contrast of at least 3 to 1."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from palette import contrast_on_white
from toy import TABLE
from toy_views import embedding_view, uncertainty_view

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.show.static import pictures

X = np.linspace(0, 1, 60)
HISTORY = {"step": np.arange(60), "total": X, "supervised": X**2, "match share": X}
SERIES = {f"series {k}": X**k for k in range(7)}
MANY = {"few": X[:9], "many": np.r_[X, X]}
LESS = {"method": [*"abcd"], "metric": "hd95", "mean": [1.0, 2.0, 3.0, 90.0]}
FOREST = pd.DataFrame(LESS).assign(low=lambda t: t["mean"] - 1, high=lambda t: t["mean"] + 1)
LABELS = {"xlabel": "x", "ylabel": "y"}
VIEWS = {
    "curves": lambda ball: show.curves(HISTORY, alt="a"),
    "lines": lambda ball: show.lines(X, SERIES, **LABELS, alt="a"),
    "lines with names": lambda ball: show.lines(
        X, SERIES, **LABELS, alt="a", labels=dict.fromkeys(SERIES, (0.5, 0.5))
    ),
    "risk_coverage": lambda ball: show.risk_coverage(X, X**2, alt="a"),
    "intervals": lambda ball: show.intervals(TABLE, alt="a", bounds=("low", "high")),
    "a far-out forest": lambda ball: show.intervals(FOREST, alt="a"),
    "paired_strip": lambda ball: show.paired_strip(MANY, xlabel="x", alt="a"),
    "dot_matrix": lambda ball: show.dot_matrix(
        pd.DataFrame({"a": [True, False]}), pd.DataFrame({"b": [1.0, 2.0]}), alt="a"
    ),
    "explore_uncertainty": lambda ball: uncertainty_view(),
    "explore_embeddings": lambda ball: embedding_view(),
    "correspondences": lambda ball: show.correspondences(
        *[show.surface(ball.label, 1, spacing=ball.spacing)] * 2,
        np.ones((4, 3)),
        np.zeros((4, 3)),
        [1, 0, 1, 0],
        alt="a",
    ),
    "explore_surface": lambda ball: show.explore_surface(
        ball.label, ball.label, ball.heat, class_id=1, spacing=ball.spacing, table=HIP, alt="a"
    ),
    "volume": lambda ball: show.volume(
        ball.image, spacing=ball.spacing, label_image=ball.label, point_set=[(9, 9, 9)], alt="a"
    ),
}


def colours_of(ax: Axes) -> Iterator[tuple[object, float | None]]:
    """Colours of lines and of the edges of marks, with their opacity."""
    for line in ax.lines:
        drawn = line.get_linestyle() != "None" and line.get_linewidth() > 0
        if drawn:
            yield line.get_color(), line.get_alpha()
        if line.get_marker() not in ("None", "", " ") and not drawn:
            yield line.get_markeredgecolor(), line.get_alpha()
    for marks in ax.collections:
        if isinstance(marks, LineCollection | PathCollection):
            edges = marks.get_edgecolor()
            for colour in edges if len(edges) else marks.get_facecolor():
                yield colour, None


def too_pale(fig: Figure) -> list[object]:
    on_white = [ax for ax in fig.findobj(Axes) if not ax.images]
    shown = [look for ax in on_white for look in colours_of(ax)]
    return [look for look in shown if contrast_on_white(*look) < 3]


@pytest.mark.parametrize("name", VIEWS)
def test_lines_stand_out_from_white(ball, monkeypatch, name):
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    figures: list[Figure] = []
    rendered = pictures.rendered
    monkeypatch.setattr(pictures, "rendered", lambda fig: figures.append(fig) or rendered(fig))
    VIEWS[name](ball)
    assert figures
    assert [look for fig in figures for look in too_pale(fig)] == []


@pytest.mark.parametrize(
    ("colour", "contrast"),
    [("#000000", 21.0), ("#FFFFFF", 1.0), ("#56B4E9", 2.3), ("#F0E442", 1.3), ("#777777", 4.48)],
)
def test_contrast_is_that_of_the_guidelines(colour, contrast):
    assert contrast_on_white(colour) == pytest.approx(contrast, abs=0.06)


def test_a_pale_line_is_seen():
    fig = Figure()
    ax = fig.subplots()
    ax.plot(X, X, color="#56B4E9")
    ax.plot(X, X, color="#0072B2")
    ax.plot(X, X, color="#0072B2", alpha=0.3)
    assert len(too_pale(fig)) == 2
