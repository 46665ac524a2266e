"""Charts of a comparison and curves: what is drawn is what was given."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from palette import contrast_on_white
from toy import STEPS, TABLE

from ssltut import show
from ssltut.errors import ConfigError
from ssltut.show.static.charts import BOUND, usual_range
from ssltut.show.static.pictures import SERIES, line_style
from ssltut.show.static.scene3d import MATCHES


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures behind the charts, as they come."""
    figures: list[Figure] = []
    monkeypatch.setattr(
        "ssltut.show.static.charts.picture", lambda figure, alt: figures.append(figure)
    )
    return figures


def tick_labels(axis_labels: list) -> list[str]:
    return [label.get_text() for label in axis_labels]


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_forest_with_two_rows_for_one_point_or_without_a_column_is_refused():
    with pytest.raises(ConfigError, match="more than one row for method low and metric dice"):
        show.intervals(STEPS, alt="three budgets")
    with pytest.raises(ConfigError, match="no column high"):
        show.intervals(TABLE.drop(columns="high"), alt="a table")


def test_no_two_lines_look_the_same_and_all_stand_out_from_white():
    looks = [tuple(line_style(k).values()) for k in range(35)]
    assert len(set(looks)) == 35
    for colour in (*SERIES, BOUND, *(style["color"] for style in MATCHES)):
        assert contrast_on_white(colour) >= 3, colour


@pytest.mark.parametrize(
    ("metric", "order"),
    [("dice", ["high", "b", "c", "a", "low"]), ("hd95", ["high", "a", "c", "b", "low"])],
)
def test_the_forest_is_sorted_from_the_best_to_the_worst_between_the_bounds(drawn, metric, order):
    means = {"a": 0.6, "low": 0.5, "b": 0.8, "c": 0.7, "high": 0.9}
    rows = [(name, metric, mean, mean - 0.1, mean + 0.2) for name, mean in means.items()]
    table = pd.DataFrame(rows, columns=["method", "metric", "mean", "low", "high"])
    show.intervals(table, alt="a forest", bounds=("low", "high"), titles={metric: "a title"})
    ax = drawn[0].axes[0]
    assert tick_labels(ax.get_yticklabels()) == order
    assert texts(ax)[1:] == [
        f"{means[name]:.3f} [{means[name] - 0.1:.3f}, {means[name] + 0.2:.3f}]" for name in order
    ]
    assert ax.get_title(loc="left") == "a title"
    ends = {round(float(x), 3) for line in ax.lines for x in np.atleast_1d(line.get_xdata())}
    assert {0.4, 0.5, 0.6, 0.8, 0.9, 1.0, 1.1} <= ends


def test_a_mean_that_is_far_out_is_an_arrow_with_its_number(drawn):
    means = [60.0, 9.0, 10.0, 11.0, 12.0, np.nan, 20.0]
    table = pd.DataFrame({"method": list("abcdefg"), "metric": "hd95", "mean": means})
    table["low"], table["high"] = table["mean"] - 1, table["mean"] + 1
    show.intervals(table, alt="a failure", bounds=("g", "b"))
    ax = drawn[0].axes[0]
    assert "60.0" in texts(ax)
    assert "60.0 [59.0, 61.0]" in texts(ax)
    assert "no value" in texts(ax)
    assert ax.get_xlim()[1] < 23


@pytest.mark.parametrize(
    ("means", "margin"),
    [([0.5, 0.6], ["0.500", "0.600"]), ([np.nan, np.nan], ["no value", "no value"])],
)
def test_a_forest_without_intervals_or_without_any_value(drawn, means, margin):
    table = pd.DataFrame({"method": ["b", "a"], "metric": "hd95", "mean": means})
    show.intervals(table.assign(low=np.nan, high=np.nan), alt="one patient", bounds=("a",))
    assert texts(drawn[0].axes[0])[1:] == margin


@pytest.mark.parametrize(
    ("values", "anchors", "expected"),
    [
        ([1, 2, 3, 4, 5], [], (1, 5)),
        ([1, 2, 3, 4, 50], [], (1, 4)),
        ([1, 2, 3, 4, 50], [0, 46], (1, 50)),
        ([3, 3, 3, 3], [], (3, 3)),
        ([np.nan, 2], [0], (2, 2)),
        ([np.nan], [], (0, 1)),
    ],
)
def test_what_is_far_out_does_not_set_the_scale(values, anchors, expected):
    assert usual_range(values, anchors) == expected


def test_a_method_without_values_keeps_its_row_and_says_nothing(drawn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {"ours": [0.1, np.nan, 0.3], "failed": [np.nan, np.nan]}
        show.paired_strip(values, xlabel="Dice", alt="differences")
        ax = drawn[0].axes[0]
        ax.figure.canvas.draw()
    assert tick_labels(ax.get_yticklabels()) == ["ours", "failed"]
    assert texts(ax) == ["mean", "+0.200", "no value"]
    assert sorted(ax.collections[0].get_offsets()[:, 0]) == pytest.approx([0.1, 0.3])
    means = next(line for line in ax.lines if line.get_marker() == "|")
    assert means.get_xdata()[0] == pytest.approx(0.2)


def test_more_points_than_have_room_beside_each_other_are_ticks(drawn):
    many = np.linspace(-1, 1, 70)
    show.paired_strip({"few": many[:9], "many": many}, xlabel="mm", alt="79 patients")
    points = drawn[0].axes[0].collections[:2]
    assert [len(row.get_offsets()) for row in points] == [70, 9]  # the greater mean first
    assert set(points[0].get_offsets()[:, 1]) == {0.0}


def test_differences_that_are_far_out_are_an_arrow_with_their_number(drawn):
    usual = np.linspace(-1, 1, 20)
    values = {"ours": usual, "one": [*usual, -9], "all": [70.0, 60.0, 65.0]}
    show.paired_strip(values, xlabel="mm", alt="differences")
    ax = drawn[0].axes[0]
    assert {"-9.0", "3 points, to 70.0"} <= set(texts(ax))
    assert ax.get_xlim() == pytest.approx((-1.1, 1.1), abs=0.01)


def test_dots_and_bars_have_the_same_rows(drawn):
    has = pd.DataFrame({"teacher": [True, False], "pairs": [True, True]}, index=["a", "b"])
    cost = pd.DataFrame({"step time": [1.0, 2.0]}, index=["a", "b"])
    show.dot_matrix(has, cost, alt="two rows")
    dots, bars = drawn[0].axes
    assert dots.lines[0].get_xydata().tolist() == [[0, 0], [1, 0], [1, 1]]
    assert [bar.get_width() for bar in bars.patches if bar.get_height() < 1] == [1.0, 2.0]
    assert texts(bars) == ["1", "2"]
    show.dot_matrix(has, cost[[]], alt="no costs are known")
    assert len(drawn[1].axes) == 1
    with pytest.raises(ConfigError, match="2 rows of dots and 2 of costs that are not the same"):
        show.dot_matrix(has, cost.loc[["b", "a"]], alt="another order")
