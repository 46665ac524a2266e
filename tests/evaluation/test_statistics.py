"""Statistics of comparisons against values computed by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from toy_rows import by_patient, table

from ssltut.errors import ConfigError
from ssltut.evaluation.statistics import (
    bootstrap_interval,
    differences,
    holm,
    order_of,
    paired,
    patient_values,
    summary,
)


def test_a_patient_is_the_unit():
    rows = table(
        {
            "labels_only": {
                ("p", 0, "a"): 0.2,
                ("p", 0, "b"): 0.4,
                ("p", 1, "a"): 0.8,
                ("p", 1, "b"): 1.0,
                ("q", 0, "a"): 0.5,
            }
        }
    )
    assert patient_values(rows, "dice")["labels_only"].to_dict() == pytest.approx(
        {"p": (0.3 + 0.9) / 2, "q": 0.5}
    )
    with pytest.raises(ConfigError, match="no metric 'dise'"):
        patient_values(rows, "dise")


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
    assert row["low95"] == pytest.approx(0.5)
    assert row["high95"] == pytest.approx(0.9)
    assert np.isnan(row["sd over seeds"])
    seeds = {("p", 0, "a"): 0.5, ("q", 0, "a"): 0.7, ("p", 1, "a"): 0.7, ("q", 1, "a"): 0.9}
    assert summary(table({"ua_mt": seeds}), "dice")["sd over seeds"].iloc[0] == pytest.approx(
        np.sqrt(0.02)
    )


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


def test_bootstrap_interval_is_exact_for_two_values():
    # of the 4 equally likely resamples of (0, 1) one has mean 0, two 0.5, one 1: a quarter on
    # either side
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.4) == (0.5, 0.5)
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.6) == (0.0, 1.0)
    assert bootstrap_interval(np.array([3.0, 3.0, np.nan])) == (3.0, 3.0)
    assert np.isnan(bootstrap_interval(np.array([3.0, np.nan]))).all()


def test_bootstrap_interval_of_normal_values():
    values = np.random.default_rng(0).normal(10.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * values.std() / 20, values.mean() + 1.96 * values.std() / 20),
        abs=0.03,
    )
    assert (low, high) == bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 -> x4 = .02, x3 = .03, x2 = .06, x1 = .04 raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, np.nan, 0.9]) == pytest.approx([0.04, np.nan, 0.9], nan_ok=True)
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def signed_rank_p(difference):
    """The exact two-sided Wilcoxon p by counting all signs."""
    ranks = np.abs(difference).argsort().argsort() + 1
    center = ranks.sum() / 2
    seen = abs(ranks[difference > 0].sum() - center)
    sums = [
        abs(sum(r for r, s in zip(ranks, signs, strict=True) if s) - center)
        for signs in product([0, 1], repeat=len(ranks))
    ]
    return np.mean([s >= seen - 1e-9 for s in sums])


def test_paired_by_hand():
    baseline = np.array([0.50, 0.60, 0.70, 0.40, 0.55, 0.65])
    gains = {
        "mean_teacher": [0.01, 0.02, 0.03, 0.04, 0.05, 0.06],
        "ua_mt": [0.01, -0.02, 0.03, -0.04, 0.05, -0.06],
        "all_labels": [0.0] * 6,
    }
    found = paired(
        by_patient({"labels_only": baseline} | {m: baseline + g for m, g in gains.items()}), "dice"
    ).set_index("method")
    assert list(found.index) == ["mean_teacher", "ua_mt", "all_labels"]
    assert found["difference"].to_list() == pytest.approx([0.035, -0.005, 0.0])
    assert (
        found.loc["mean_teacher", "p"]
        == pytest.approx(2 / 64)
        == signed_rank_p(np.array(gains["mean_teacher"]))
    )
    assert found.loc["ua_mt", "p"] == pytest.approx(signed_rank_p(np.array(gains["ua_mt"])))
    assert np.isnan(found.loc["all_labels", "p"])
    assert found["p Holm"].iloc[0] == pytest.approx(4 / 64)
    assert found[["wins", "ties", "losses"]].to_numpy().tolist() == [
        [6, 0, 0],
        [3, 0, 3],
        [0, 6, 0],
    ]
    distance = paired(
        by_patient({"labels_only": [9.0, 9.0, 9.0], "ua_mt": [4.0, 5.0, 10.0]}, metric="hd95"),
        "hd95",
    ).iloc[0]
    assert (distance["wins"], distance["losses"], distance["difference"]) == (
        2,
        1,
        pytest.approx(-8 / 3),
    )


def test_the_baseline_must_be_there():
    with pytest.raises(ConfigError, match="baseline 'ua_mt' has no results with 4"):
        paired(by_patient({"labels_only": [0.5]}), "dice", "ua_mt")
    assert paired(by_patient({"labels_only": [0.5]}), "dice").empty


def test_the_median_has_an_interval_of_its_own():
    row = summary(by_patient({"ua_mt": [0.1, 0.8, 0.8, 0.8, 0.9]}), "dice").iloc[0]
    assert (row["median"], row["median low95"], row["median high95"]) == (
        0.8,
        pytest.approx(0.1),
        pytest.approx(0.9),
    )
    # the median of 5 draws is the outlier with p = P(Binomial(5, 1/5) >= 3) = 0.05792, so it is
    # inside 95 % and outside 85 %
    assert bootstrap_interval(
        np.array([0.1, 0.8, 0.8, 0.8, 0.9]), center=np.median, level=0.85
    ) == (0.8, 0.8)


def test_what_is_paired_has_the_same_seed():
    values = table(
        {
            "labels_only": {
                ("p", 0, "a"): 0.5,
                ("q", 0, "a"): 0.7,
                ("p", 1, "a"): 0.9,
                ("q", 1, "a"): 0.9,
            },
            "ua_mt": {("p", 0, "a"): 0.6, ("q", 0, "a"): 0.7},
        }
    )  # its easy seed failed
    assert differences(values, "dice")["ua_mt"].to_dict() == pytest.approx({"p": 0.1, "q": 0.0})
    found = paired(values, "dice").iloc[0]
    assert (found["wins"], found["ties"], found["losses"], found["difference"]) == (
        1,
        1,
        0,
        pytest.approx(0.05),
    )
