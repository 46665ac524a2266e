"""Curves over steps, and those that grow while a run trains."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssltut import show
from ssltut.errors import ConfigError

HISTORY = {
    "step": np.arange(100),
    "total": np.linspace(1, 0, 100) + 0.1 * (-1) ** np.arange(100),
    "total weight": np.ones(100),
    "match share": np.full(100, 0.2),
    "lr": np.full(100, 0.01),
    "validation dice": np.where(np.arange(100) == 99, 0.9, np.nan),
}


def test_curves_refuse_columns_that_are_not_there():
    with pytest.raises(ConfigError, match="no column matching"):
        show.curves(HISTORY, alt="curves", groups={"loss": ["total", "matching"]})


def test_each_kind_of_column_has_its_panel_and_a_long_loss_its_running_mean(monkeypatch):
    figures = []
    monkeypatch.setattr("ssltut.show.static.curves.picture", lambda fig, alt: figures.append(fig))
    show.curves(HISTORY, alt="curves")
    panels = {ax.get_title(loc="left"): ax for ax in figures[0].axes if ax.lines}
    titles = ["loss", "weight of the term", "share of voxels", "lr", "validation Dice"]
    assert list(panels) == titles
    mean, batches = panels["loss"].lines[0].get_ydata(), HISTORY["total"]
    assert np.ptp(np.diff(batches)) > 10 * np.ptp(np.diff(mean)[4:-4])
    band = panels["loss"].collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((batches.min(), batches.max()))
    assert len(panels["weight of the term"].lines) == len(panels["share of voxels"].lines) == 1
    assert [t.get_text() for t in panels["share of voxels"].get_legend().get_texts()] == ["match"]
    figures[0].canvas.draw()
    for ax in panels.values():  # a key stands below its panel, never over its curves
        if key := ax.get_legend():
            assert key.get_window_extent().y1 <= ax.get_window_extent().y0


def test_lines_have_a_legend_or_their_names_beside_them_and_a_log_axis_plain_numbers(monkeypatch):
    figures = []
    monkeypatch.setattr("ssltut.show.static.curves.picture", lambda fig, alt: figures.append(fig))
    given = {"x": [0, 1], "series": {"a": [100, 1], "b": [10, 0]}, "xlabel": "x", "ylabel": "y"}
    show.lines(**given, alt="with a legend")
    show.lines(**given, alt="with names", labels={"a": (0.5, 20), "b": (0.2, 2)}, log=True)
    plain, named = (figure.axes[0] for figure in figures)
    assert [text.get_text() for text in plain.get_legend().get_texts()] == ["a", "b"]
    figures[0].canvas.draw()
    assert plain.get_legend().get_window_extent().x0 >= plain.get_window_extent().x1
    assert not plain.texts
    assert named.get_legend() is None
    assert [text.get_text() for text in named.texts] == ["a", "b"]
    assert [text.get_color() for text in named.texts] == [line.get_color() for line in named.lines]
    assert named.yaxis.get_major_formatter()(0.01) == "0.01"
    figures[1].canvas.draw()


def test_live_curves_are_throttled_and_keep_the_last(monkeypatch, lab):
    shown = []
    handle = SimpleNamespace(update=shown.append)
    monkeypatch.setattr(
        "IPython.display.display", lambda picture, display_id: shown.append(picture) or handle
    )
    terms = {
        "supervised": SimpleNamespace(value=torch.tensor(1.0), weight=1.0, share=None),
        "match": SimpleNamespace(value=torch.tensor(0.5), weight=0.1, share=0.25),
    }
    with show.LiveCurves(alt="growing", every=60) as live:
        for step in range(5):
            live.on_step(step, {}, None, terms)
    assert len(shown) == 2  # the first step, and the end
    assert live.rows[-1] == pytest.approx(
        {
            "step": 4,
            "total": 1.05,
            "supervised": 1,
            "supervised weight": 1,
            "match": 0.5,
            "match weight": 0.1,
            "match share": 0.25,
        }
    )
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    with show.LiveCurves(alt="growing") as live:
        live.add({"step": 0, "total": 1.0})
        assert len(shown) == 2
    assert len(shown) == 3
    with pytest.raises(ConfigError, match="alt text is empty"):
        show.LiveCurves(alt="")
