"""The cases of a comparison by difficulty."""

import numpy as np
import pandas as pd
import pytest
from strata import strata, strata_curves
from toy import STEPS, TABLE
from toy_rows import with_difficulty

from ssltut.errors import ConfigError


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


def test_a_part_of_one_case_is_said_to_be_one(monkeypatch):
    figures = []
    monkeypatch.setattr("strata.picture", lambda figure, alt: figures.append(figure))
    strata_curves(STEPS.assign(cases=STEPS["part"]), ylabel="Dice", alt="parts")
    assert [label.get_text() for label in figures[0].axes[0].get_xticklabels()] == [
        "2.00\n1 case",
        "4.00 to 5.50\n2 cases",
        "8.00 to 9.50\n4 cases",
    ]


def test_a_part_with_two_rows_of_one_method_is_refused():
    again = TABLE.assign(part=1, easiest=0, hardest=1, cases=1)
    with pytest.raises(ConfigError, match="more than one row for method low and part "):
        strata_curves(pd.concat([STEPS, again]), ylabel="Dice", alt="twice")
    with pytest.raises(ConfigError, match="no column cases"):
        strata_curves(STEPS.drop(columns="cases"), ylabel="Dice", alt="no column")
    assert strata_curves(STEPS, ylabel="Dice", alt="once", bounds=("low", "not there")).png
