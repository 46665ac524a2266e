"""Tables of a comparison: class by class, and in words."""

import numpy as np
import pandas as pd
import pytest
from toy_rows import by_patient, table

from ssltut.evaluation.statistics import order_of, paired, report, summary, verdict


def test_a_method_that_always_failed_is_in_the_table():
    failed = pd.DataFrame([{"method": "ua_mt", "budget": 4, "seed": 0, "status": "failed"}])
    found = summary(pd.concat([by_patient({"labels_only": [0.5]}), failed]), "dice").set_index(
        "method"
    )
    assert found.loc["ua_mt", "failed"] == 1
    assert np.isnan(found.loc["ua_mt", "mean"])
    assert found.loc["labels_only", "failed"] == 0


def draws_of(gains, n=6, metric="dice"):
    """Rows of ``n`` draws from {method: gain over the baseline in each of them}."""
    gains = {"labels_only": [0.0] * n} | gains
    cells = {
        method: {
            (f"p{i}", seed, "bone"): 0.5 + 0.1 * i + gain
            for seed, gain in enumerate(of_draws)
            for i in range(3)
        }
        for method, of_draws in gains.items()
    }
    return table(cells, metric=metric)


def test_verdicts():
    some = {"mean_teacher": [0.1, -0.1, 0.1, -0.1, 0.1, -0.1]}
    text = verdict(paired(draws_of(some), "dice"))
    assert text.startswith("No difference to the baseline holds")
    assert "show no difference of methods" in text
    better = verdict(paired(draws_of(some | {"ua_mt": [0.15] * 8}, n=8), "dice"))
    assert "UA-MT is better by 0.15 (4 labelled)" in better
    assert "The other differences do not hold." in better
    assert "mean teacher" not in better
    worse = verdict(paired(draws_of({"ua_mt": [0.15] * 8}, n=8, metric="assd"), "assd"))
    assert "UA-MT is worse" in worse
    assert "other differences" not in worse
    assert "nothing to compare" in verdict(paired(by_patient({"labels_only": [0.5]}), "dice"))


def test_a_verdict_says_when_there_are_too_few_draws_for_a_small_p():
    clear = {"ua_mt": [0.2] * 5}
    text = verdict(paired(draws_of(clear, n=5), "dice"))
    assert "and none can: with 5 draws p is at least 0.062, 0.062 after the correction" in text
    text = verdict(paired(draws_of({"ua_mt": [0.2] * 6, "medl": [0.1] * 6}), "dice"))
    assert "with 6 draws p is at least 0.031, 0.062 after the correction for 2 tests" in text
    one = verdict(paired(draws_of({"ua_mt": [0.2]}, n=1), "dice"))
    assert one.startswith("There is one label draw")


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
    missed = values.assign(
        status=np.where((values["class"] == "femur") & (values["case"] == "p0"), "missed", "ok")
    )
    assert summary(missed, "dice", by_class=True).groupby("class")["missed"].sum().to_dict() == {
        "hip bone": 0,
        "femur": 2,
    }


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
    assert found["draws"] == found["draws better"] == 0
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
