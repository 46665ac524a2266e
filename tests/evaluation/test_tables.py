"""Tables of a comparison: class by class, case by case, by difficulty, and in words."""

import numpy as np
import pandas as pd
import pytest
from toy_rows import by_patient, table, with_difficulty

from ssltut.errors import ConfigError
from ssltut.evaluation.statistics import order_of, paired, report, strata, summary, verdict


def test_a_method_that_always_failed_is_in_the_table():
    failed = pd.DataFrame([{"method": "ua_mt", "budget": 4, "seed": 0, "status": "failed"}])
    found = summary(pd.concat([by_patient({"labels_only": [0.5]}), failed]), "dice").set_index(
        "method"
    )
    assert found.loc["ua_mt", "failed"] == 1
    assert np.isnan(found.loc["ua_mt", "mean"])
    assert found.loc["labels_only", "failed"] == 0


def test_verdicts():
    same = paired(by_patient({"labels_only": [0.5, 0.6, 0.7], "ua_mt": [0.6, 0.5, 0.7]}), "dice")
    assert verdict(same).startswith("No difference to the baseline holds")
    values = np.linspace(0.3, 0.6, 12)
    rows = {
        "labels_only": values,
        "ua_mt": values + np.linspace(0.1, 0.2, 12),
        "mean_teacher": values - 0.01 * (-1.0) ** np.arange(12),
    }
    better = verdict(paired(by_patient(rows), "dice"))
    assert "UA-MT is better by 0.15 (4 labelled)" in better
    assert "The other differences do not hold." in better
    assert "mean teacher" not in better
    assert "UA-MT is worse" in verdict(
        paired(by_patient({m: rows[m] for m in ("labels_only", "ua_mt")}, metric="assd"), "assd")
    )
    assert "nothing to compare" in verdict(paired(by_patient({"labels_only": [0.5]}), "dice"))


def test_class_by_class():
    values = table(
        {
            m: {
                (f"p{i}", 0, c): v + shift * (i + 1)
                for i in range(6)
                for c, v, shift in (("hip bone", 0.9, 0.0), ("femur", 0.5, gain))
            }
            for m, gain in (("labels_only", 0.0), ("ua_mt", 0.01))
        }
    )
    found = summary(values, "dice", by_class=True)
    assert found.columns[0] == "class"
    assert len(found) == 4
    means = found.set_index(["class", "method"])["mean"]
    assert means["femur", "ua_mt"] == pytest.approx(0.535)
    assert means["hip bone", "ua_mt"] == pytest.approx(0.9)
    tests = paired(values, "dice", by_class=True).set_index("class")
    assert (
        tests.loc["femur", "p"] == tests.loc["femur", "p Holm"] == pytest.approx(2 / 64)
    )  # no p for equal values: one test, not two
    assert tests.loc["hip bone", "ties"] == 6
    assert tests.loc["femur", "wins"] == 6
    missed = values.assign(
        status=np.where((values["class"] == "femur") & (values["case"] == "p0"), "missed", "ok")
    )
    assert summary(missed, "dice", by_class=True).groupby("class")["missed"].sum().to_dict() == {
        "hip bone": 0,
        "femur": 2,
    }


def test_six_parts_from_the_easiest_to_the_hardest():
    values = [0.3, 0.9, 0.5, 0.6, 0.4, 0.8, 0.2, 0.1]
    failed = pd.DataFrame([{"method": "ua_mt", "budget": 4, "seed": 0, "status": "failed"}])
    found = strata(pd.concat([with_difficulty({"labels_only": values}), failed]), "dice")
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


def test_the_report_names_the_bounds_it_lacks():
    values = {"ua_mt": [0.5, 0.6, 0.7], "mean_teacher": [0.4, 0.5, 0.6]}
    text = report(by_patient(values), "dice", "mean_teacher")
    assert "lacks labels_only and all_labels" in text
    assert "higher is better" in text
    assert "minus mean teacher" in text
    text = report(
        by_patient(
            values | {"labels_only": [0.1, 0.2, 0.3], "all_labels": [0.8, 0.9, 0.9]}, metric="hd95"
        ),
        "hd95",
    )
    assert "lacks" not in text
    assert "lower is better" in text
    assert all(word in text for word in ("wins", "p Holm", "missed", "bone"))


def test_a_baseline_whose_runs_failed_leaves_a_table():
    failed = pd.DataFrame([{"method": "labels_only", "budget": 4, "seed": 0, "status": "failed"}])
    rows = pd.concat([by_patient({"ua_mt": [0.5, 0.6]}), failed])
    found = paired(rows, "dice").iloc[0]
    assert np.isnan(found["difference"])
    assert found["wins"] == found["losses"] == 0
    assert "runs failed" in verdict(paired(rows, "dice"))


def test_a_name_that_is_no_method_is_its_own_title_and_stands_at_the_end():
    rows = by_patient(
        {"a variant": [0.5, 0.8], "all_labels": [0.9, 0.9], "labels_only": [0.4, 0.5]}
    )
    assert order_of(rows["method"]) == ["labels_only", "all_labels", "a variant"]
    assert summary(rows, "dice")["title"].tolist() == [
        "labels only",
        "all labels (upper bound)",
        "a variant",
    ]
    assert paired(rows, "dice", "a variant")["title"].tolist() == [
        "labels only",
        "all labels (upper bound)",
    ]
    assert "minus a variant" in report(rows, "dice", "a variant")
