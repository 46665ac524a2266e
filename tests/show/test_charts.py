"""Budget curves, difficulty strata, keys: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from toy import STEPS, TABLE

from ssltut import show
from ssltut.data.labels import HIP, LabelTable
from ssltut.errors import ConfigError
from ssltut.show.live.planes import framed
from ssltut.show.static.charts import steps, strip
from ssltut.show.static.slices import Scene, draw, key


@pytest.mark.parametrize(("view", "along"), [(show.budget_curves, "budget"), (show.strata, "part")])
def test_a_table_with_two_rows_for_one_point_is_refused(view, along):
    with pytest.raises(ConfigError, match=f"more than one row for method low and {along} "):
        view(
            pd.concat([STEPS, TABLE.assign(budget=2, part=1, easiest=0, hardest=1, cases=1)]),
            ylabel="Dice",
            alt="twice",
        )
    with pytest.raises(
        ConfigError, match="no column cases" if along == "part" else "no column budget"
    ):
        view(STEPS.drop(columns=["budget", "cases"]), ylabel="Dice", alt="no column")
    assert view(STEPS, ylabel="Dice", alt="once").png
    with pytest.raises(ConfigError, match="more than one row for method low and metric dice"):
        show.intervals(STEPS, alt="three budgets")


def test_points_stand_at_their_budget_and_bounds_are_bars():
    ticks = {8: "eight", 2: "two", 4: "four"}
    ax = steps(STEPS, "budget", ticks, "x", "y", ["low", "high"]).axes[0]
    points = next(line for line in ax.lines if line.get_label() == "ours")
    assert points.get_xdata().tolist() == [1.0, 2.0, 0.0]
    assert points.get_ydata() == pytest.approx([0.72, 0.74, 0.78])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["eight", "two", "four"]
    bars = {c.get_label(): c.get_segments() for c in ax.collections}
    assert [segment[0, 1] for segment in bars["high"]] == pytest.approx([0.92, 0.94, 0.98])
    assert set(bars) >= {"low", "high"}
    many = pd.concat([STEPS[STEPS["method"] == "ours"].assign(method=f"m{k}") for k in range(12)])
    ax = steps(many, "budget", ticks, "x", "y", []).axes[0]
    assert len(ax.lines) == 12
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 12


def test_a_part_of_one_case_is_said_to_be_one(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "ssltut.show.static.charts.picture", lambda figure, alt: seen.append(figure)
    )
    show.strata(STEPS.assign(cases=STEPS["part"]), ylabel="Dice", alt="parts")
    assert [t.get_text() for t in seen[0].axes[0].get_xticklabels()] == [
        "2.00\n1 case",
        "4.00 to 5.50\n2 cases",
        "8.00 to 9.50\n4 cases",
    ]


def test_the_key_names_the_classes_of_every_table_that_is_shown():
    image = np.zeros((4, 4, 4), np.int16)
    bones, source = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    bones[0], source[1], source[2] = 2, 1, 2
    origin = LabelTable("origin", ("teacher", "match", "none"), ("#000000", "#D55E00", "#F0E442"))
    scenes = [
        Scene(image, (1, 1, 1), overlay=bones, table=HIP),
        Scene(image, (1, 1, 1), overlay=source, table=origin),
        Scene(image, (1, 1, 1), overlay=bones, table=HIP),
    ]
    for shown, names in ((scenes, ["femur", "match", "none"]), (scenes[:1], ["femur"])):
        fig = Figure()
        key(fig, shown, fig.subplots(1, len(shown), squeeze=False)[0])
        assert [text.get_text() for text in fig.legends[0].get_texts()] == names


def test_sides_are_named_only_where_they_are_known():
    image = np.zeros((6, 6, 6), np.int16)
    for letters, named in ((True, ["R", "L", "S", "I"]), (False, [])):
        fig = Figure()
        ax = fig.subplots()
        draw(ax, Scene(image, (1, 1, 1), letters=letters), "coronal", bar=False)
        assert [text.get_text() for text in ax.texts] == named
    with_letters, without = (
        np.asarray(framed(Scene(image, (9, 9, 9), letters=letters), "axial", (3, 3, 3), 0.5))
        for letters in (True, False)
    )
    assert (with_letters != without).any()


def test_a_method_without_values_keeps_its_row_and_says_nothing(recwarn):
    axes = strip({"ours": [0.1, np.nan, 0.3], "failed": [np.nan, np.nan]}, "Dice").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ours", "failed"]
    assert not recwarn.list
    assert [np.mean(line.get_xdata()) for line in axes.lines[1:3]] == pytest.approx([0.2, 0.2])
    assert len(axes.lines) == 4
