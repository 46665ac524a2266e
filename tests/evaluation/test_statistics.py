"""Statistics of comparisons against values computed by hand."""

import numpy as np
import pandas as pd
import pytest
from ratio import ratio
from toy_rows import by_patient, table

from ssltut.errors import ConfigError
from ssltut.evaluation.draws import bootstrap_interval, mean_interval
from ssltut.evaluation.statistics import holm, order_of, paired, run_values, summary

COUNTS = ["draws", "draws better", "wins", "ties", "losses"]


def drawn(values, patients=None, metric="dice"):
    """Rows from {method: [[value of each patient] of each draw]}; patients have the same names."""
    cells = {}
    for method, draws in values.items():
        cells[method] = {}
        for seed, row in enumerate(draws):
            names = patients[seed] if patients else [f"p{i}" for i in range(len(row))]
            for name, value in zip(names, row, strict=True):
                if value is not None:
                    cells[method][name, seed, "bone"] = value
    return table(cells, metric=metric)


def test_classes_are_averaged_in_each_draw():
    cells = {("p", 0, "a"): 0.2, ("p", 0, "b"): 0.4, ("p", 1, "a"): 0.8, ("p", 1, "b"): 1.0}
    rows = table({"labels_only": cells | {("q", 0, "a"): 0.5}})
    assert run_values(rows, "dice")["labels_only"].to_dict() == pytest.approx(
        {(0, "p"): 0.3, (1, "p"): 0.9, (0, "q"): 0.5}
    )
    with pytest.raises(ConfigError, match="no metric 'dise'"):
        run_values(rows, "dise")


def test_summary_by_hand():
    row = summary(by_patient({"labels_only": [0.5, 0.7, 0.9]}), "dice").iloc[0]
    assert (
        row["mean"],
        row["median"],
        row["patients"],
        row["scored"],
        row["missed"],
        row["failed"],
    ) == (pytest.approx(0.7), 0.7, 3, 3, 0, 0)
    assert np.isnan(row["sd over seeds"])
    row = summary(drawn({"ua_mt": [[0.5, 0.7], [0.7, 0.9]]}), "dice").iloc[0]
    assert row["sd over seeds"] == pytest.approx(np.sqrt(0.02))


@pytest.mark.parametrize(
    ("values", "patients", "over", "counts"),
    [
        ([[0.2, 0.5, 0.6], [0.3, 0.5, 0.7]], None, "draws and patients", (2, 3)),
        ([[0.2, 0.5, 0.6], [0.3, None, 0.7]], None, "draws and patients", (2, 2)),
        ([[0.2, 0.5], [0.3, 0.7]], ["ab", "cd"], "draws", (2, 4)),
        ([[0.2, 0.5, 0.6]], None, "patients of one draw", (1, 3)),
    ],
)
def test_what_an_interval_is_over(values, patients, over, counts):
    row = summary(drawn({"ua_mt": values}, patients), "dice").iloc[0]
    assert (row["over"], row["draws"], row["patients"]) == (over, *counts)


def test_means_and_differences_have_the_interval_of_the_model():
    ours = np.array([[0.6, 0.7, 0.9], [0.5, 0.8, 0.8]])
    control = np.array([[0.55, 0.72, 0.8], [0.46, 0.75, 0.71]])
    rows = drawn({"same_batch": control, "ua_mt": ours})
    row = summary(rows, "dice").set_index("method").loc["ua_mt"]
    expected = mean_interval(ours)
    assert expected[2] > 1 > expected[1] > 0  # no Dice is above 1
    assert row[["mean", "low95", "high95"]].tolist() == pytest.approx([*expected[:2], 1.0])
    row = paired(rows, "dice").iloc[0]
    expected = mean_interval(ours - control)
    assert row[["difference", "low95", "high95"]].tolist() == pytest.approx(list(expected))
    far = summary(drawn({"ua_mt": [[1.0, 2.0], [9.0, 11.0]]}, metric="hd95"), "hd95").iloc[0]
    assert far["low95"] == 0 < far["mean"] < 11 < far["high95"]  # no distance is below 0


def test_missed_structures_are_scored_and_counted():
    rows = pd.concat(
        [
            by_patient({"ua_mt": [0.8, 0.6]}),
            by_patient({"ua_mt": [0.0]}, status="missed").assign(patient="p9"),
        ]
    )
    row = summary(rows, "dice").iloc[0]
    assert row["mean"] == pytest.approx(1.4 / 3)
    assert (row["patients"], row["scored"], row["missed"]) == (3, 3, 1)


def test_empty_structures_are_left_out_of_the_mean():
    rows = pd.concat(
        [
            by_patient({"ua_mt": [0.8, 0.6]}),
            by_patient({"ua_mt": [np.nan]}, status="both_empty").assign(patient="p9"),
        ]
    )
    row = summary(rows, "dice").iloc[0]
    assert row["mean"] == pytest.approx(0.7)
    assert (row["patients"], row["scored"]) == (2, 2)


def test_budgets_are_not_mixed():
    rows = pd.concat(
        [
            by_patient({"ua_mt": [0.5, 0.5], "labels_only": [0.4, 0.4]}),
            by_patient({"ua_mt": [0.9], "labels_only": [0.9]}, budget=8),
        ]
    )
    assert summary(rows, "dice").set_index(["budget", "method"])["mean"].to_dict() == pytest.approx(
        {(4, "labels_only"): 0.4, (4, "ua_mt"): 0.5, (8, "labels_only"): 0.9, (8, "ua_mt"): 0.9}
    )
    assert paired(rows, "dice")["difference"].tolist() == pytest.approx([0.1, 0.0])


def test_bounds_come_first_and_last():
    assert order_of(["all_labels", "embedding_matching", "labels_only", "ua_mt"]) == [
        "labels_only",
        "ua_mt",
        "embedding_matching",
        "all_labels",
    ]


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 -> x4 = .02, x3 = .03, x2 = .06, x1 = .04 raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, np.nan, 0.9]) == pytest.approx([0.04, np.nan, 0.9], nan_ok=True)
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_paired_by_hand():
    control = [[0.5, 0.6], [0.4, 0.6], [0.3, 0.6]]
    found = paired(
        drawn(
            {
                "same_batch": control,
                "labels_only": [[0.6, 0.6], [0.5, 0.6], [0.4, 0.7]],
                "ua_mt": [[0.6, 0.8], [0.4, 0.8], [0.2, 0.6]],
                "mean_teacher": control,
            }
        ),
        "dice",
    ).set_index("method")
    assert list(found.index) == ["labels_only", "mean_teacher", "ua_mt"]
    # means of the draws: .05, .05, .1; 0, 0, 0; .15, .1, -.05
    assert found["difference"].to_list() == pytest.approx([0.2 / 3, 0, 0.2 / 3])
    assert found["p"].to_list() == pytest.approx([2 / 8, 1, 4 / 8])
    assert found["p Holm"].to_list() == pytest.approx([6 / 8, 1, 1])
    assert found[COUNTS].to_numpy().tolist() == pytest.approx(
        np.array([[3, 3, 4 / 6, 2 / 6, 0], [3, 0, 0, 1, 0], [3, 2, 3 / 6, 2 / 6, 1 / 6]])
    )


def test_a_smaller_distance_is_better():
    rows = drawn({"labels_only": [[9, 9], [9, 9]], "ua_mt": [[4, 5], [10, 7]]}, metric="hd95")
    found = paired(rows, "hd95").iloc[0]
    assert found[["difference", *COUNTS]].tolist() == [-2.5, 2, 2, 0.75, 0, 0.25]


def test_the_baseline_must_be_there():
    with pytest.raises(ConfigError, match="baseline 'ua_mt' has no results with 4"):
        paired(by_patient({"labels_only": [0.5]}), "dice", "ua_mt")
    assert paired(by_patient({"labels_only": [0.5]}), "dice").empty


def test_what_is_paired_has_the_same_draw():
    values = {"labels_only": [[0.5, 0.7], [0.9, 0.9]], "ua_mt": [[0.6, 0.7]]}
    found = paired(drawn(values), "dice").iloc[0]  # its easy draw failed
    low, high = bootstrap_interval(np.array([0.1, 0.0]))
    expected = [0.05, low, high, 1, 1, 0.5, 0.5, 0]
    assert found[["difference", "low95", "high95", *COUNTS]].tolist() == pytest.approx(expected)
    assert np.isnan(found["p"])


def test_a_ratio_whose_interval_is_known():
    halved = drawn({"ua_mt": [[1, 2, 3], [2, 4, 5]], "medl": [[2, 4, 6], [4, 8, 10]]})
    assert ratio(halved, "dice", "ua_mt", "medl") == pytest.approx((0.5, 0.5, 0.5))
    # Of the four equally likely pairs of two draws a quarter has 1 / 4, a quarter 3 / 4.
    draws = drawn({"ua_mt": [[1, 1], [3, 3]], "medl": [[4, 4], [4, 4]]})
    assert ratio(draws, "dice", "ua_mt", "medl") == pytest.approx((0.5, 0.25, 0.75))
    patients = drawn({"ua_mt": [[1, 3], [1, 3]], "medl": [[4, 4], [4, 4]]})
    assert ratio(patients, "dice", "ua_mt", "medl") == pytest.approx((0.5, 0.25, 0.75))


def test_a_ratio_compares_what_both_have():
    folds = drawn({"ua_mt": [[1, 1], [3, 3]], "medl": [[4, 4], [4, 4]]}, ["ab", "cd"])
    assert ratio(folds, "dice", "ua_mt", "medl") == pytest.approx((0.5, 0.25, 0.75))
    failed = drawn({"ua_mt": [[1, 3]], "medl": [[4, 4], [9, 9]]})
    assert ratio(failed, "dice", "ua_mt", "medl") == pytest.approx((0.5, 0.25, 0.75))


def test_a_ratio_needs_two_methods_and_one_budget():
    rows = drawn({"ua_mt": [[1, 3]], "medl": [[4, 4]]})
    with pytest.raises(ConfigError, match="'cps' have no result for the same draw"):
        ratio(rows, "dice", "ua_mt", "cps")
    with pytest.raises(ConfigError, match="several numbers of labelled scans"):
        ratio(pd.concat([rows, rows.assign(budget=8)]), "dice", "ua_mt", "medl")
