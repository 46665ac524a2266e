"""Parts by difficulty and numbers of labels: what is computed is what is drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from strata import budget_curves, side_by_side, strata, strata_curves
from toy import STEPS, TABLE
from toy_rows import by_patient, with_difficulty

from ssltut.errors import ConfigError

TICKS = {8: "eight", 2: "two", 4: "four"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures behind the charts, as they come."""
    figures: list[Figure] = []
    monkeypatch.setattr("strata.picture", lambda figure, alt: figures.append(figure))
    return figures


def tick_labels(axis_labels: list) -> list[str]:
    return [label.get_text() for label in axis_labels]


def test_six_parts_from_the_easiest_to_the_hardest():
    values = [0.3, 0.9, 0.5, 0.6, 0.4, 0.8, 0.2, 0.1]
    failed = pd.DataFrame([{"method": "ua_mt", "budget": 4, "seed": 0, "status": "failed"}])
    found = strata(pd.concat([with_difficulty({"labels_only": values}), failed]), "dice", 6)
    own = found[found["method"] == "labels_only"]
    assert own["cases"].tolist() == [2, 2, 1, 1, 1, 1]
    assert own["part"].tolist() == [1, 2, 3, 4, 5, 6]
    assert own["easiest"].tolist() == [0, 2, 4, 5, 6, 7]
    assert own["hardest"].tolist() == [1, 3, 4, 5, 6, 7]
    assert own["mean"].tolist() == pytest.approx([0.85, 0.55, 0.4, 0.3, 0.2, 0.1])
    assert own["failed"].eq(0).all()
    assert found[found["method"] == "ua_mt"]["failed"].tolist() == [1] * 6


def test_more_parts_than_cases():
    rows = with_difficulty({"labels_only": [0.5, 0.6]})
    for bins, cases in ((3, 2), (0, 2)):
        with pytest.raises(
            ConfigError, match=f"{cases} cases have a known difficulty, for {bins} parts"
        ):
            strata(rows, "dice", bins)
    with pytest.raises(ConfigError, match="0 cases"):
        strata(rows.assign(difficulty=np.nan), "dice")
    assert len(strata(rows, "dice", 2)) == 2


@pytest.mark.parametrize(("view", "along"), [(budget_curves, "budget"), (strata_curves, "part")])
def test_a_table_with_two_rows_for_one_point_is_refused(view, along):
    again = TABLE.assign(budget=2, part=1, easiest=0, hardest=1, cases=9)
    with pytest.raises(ConfigError, match=f"more than one row for method low and {along} "):
        view(pd.concat([STEPS.assign(cases=9), again]), ylabel="Dice", alt="twice")
    absent = "cases" if along == "part" else "budget"
    with pytest.raises(ConfigError, match=f"no column {absent}"):
        view(STEPS.drop(columns=["budget", "cases"]), ylabel="Dice", alt="no column")
    assert view(STEPS.assign(cases=9), ylabel="Dice", alt="once").png


def test_points_stand_at_their_budget_and_bounds_are_bars():
    ax = side_by_side(STEPS, "budget", TICKS, "x", "y", ["low", "high", "not there"]).axes[0]
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 2]
    assert ax.lines[0].get_ydata() == pytest.approx([0.78, 0.72, 0.74])
    assert ax.lines[1].get_ydata() == pytest.approx([0.6, 0.8])
    assert tick_labels(ax.get_xticklabels()) == ["eight", "two", "four"]
    bars = {c.get_label(): c.get_segments() for c in ax.collections}
    assert set(bars) == {"low", "high"}
    assert [segment[0, 1] for segment in bars["high"]] == pytest.approx([0.92, 0.94, 0.98])


@pytest.mark.parametrize(("n", "joined"), [(2, True), (12, False)])
def test_methods_stand_side_by_side_and_many_are_not_joined(n, joined):
    ours = STEPS[STEPS["method"] == "ours"]
    many = pd.concat([ours.assign(method=f"m{k}") for k in range(n)])
    ax = side_by_side(many, "budget", TICKS, "x", "y", []).axes[0]
    points = [line for line in ax.lines if line.get_marker() != "None" and len(line.get_xdata())]
    assert len({(line.get_color(), line.get_marker()) for line in points}) == n
    assert len({line.get_xdata()[0] for line in points}) == n
    assert [line.get_linestyle() != "None" for line in points] == [joined] * n


def test_a_part_of_too_few_cases_is_not_drawn(drawn):
    with pytest.raises(
        ConfigError, match=r"3 parts, the smallest of 3 cases; 5 are the least.*at most 2"
    ):
        strata_curves(STEPS.assign(cases=2 + STEPS["part"]), ylabel="Dice", alt="parts")
    strata_curves(STEPS.assign(cases=5 + STEPS["part"]), ylabel="Dice", alt="parts")
    assert tick_labels(drawn[0].axes[0].get_xticklabels())[0] == "2.00 to 3.50\n6 cases"


def test_few_cases_make_few_parts():
    for n, parts in ((4, 1), (11, 2), (18, 3), (40, 6)):
        rows = by_patient({"labels_only": np.linspace(0, 1, n)})
        rows["difficulty"] = rows["case"].str[1:].astype(float)
        assert strata(rows, "dice")["part"].max() == parts
