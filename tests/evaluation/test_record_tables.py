"""The Markdown tables of records and studies: what stands in which column."""

import sys

import numpy as np
import pandas as pd
import pytest
from studies import Arm
from tables import across_budgets, beside_costs, fidelities, main, markdown, study
from toy_rows import table

from ssltut.evaluation.record import COSTS

METRICS = {"dice": 0.5, "assd": 2.0, "hd95": 4.0}
ARMS = {
    "same_batch": Arm("same_batch"),
    "UA-MT, vote by looks": Arm("vote_beside", {"host": "ua_mt", "by": "looks"}),
    "our_ua_mt": Arm("ua_mt", {"passes": 2}),
    "ua_mt": Arm("ua_mt"),
    "not run yet": Arm("medl"),
}


def rows_of(draws=2, metrics=METRICS, **gains):
    """Rows of the arms with ``gains`` over the control, 0.1 more on the second draw."""
    parts = []
    for metric, level in metrics.items():
        cells = {}
        for method, gain in ({"same_batch": 0.0} | gains).items():
            cells[method] = {
                (f"p{i}", seed, "bone"): level + 0.1 * (i + seed) + gain
                for seed in range(draws)
                for i in range(3)
            }
        parts.append(table(cells, metric=metric))
    return pd.concat(parts)


def cells_of(text):
    """{title: cells} of a Markdown table."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line for line in lines[2:]}


def test_a_record_shows_misses_and_ties_beside_the_mean():
    rows = rows_of(ua_mt=0.1)
    missed = (rows["metric"] == "hd95") & (rows["method"] == "ua_mt") & (rows["patient"] == "p1")
    rows["status"] = np.where(missed, "missed", "ok")
    text = markdown(rows, "hd95")
    assert "| missed | minus labels only, same batch |" in text
    assert "Intervals are over draws and patients." in text
    assert "with 2 draws p is at least 0.5" in text
    ours = cells_of(text)["UA-MT"]
    assert ours[2] == "4.2"
    assert ours[5:] == ["2", "+0.1", "+0.1 to +0.1", "0.5", "0 of 2", "0 / 0 / 100"]
    assert cells_of(text)["labels only, same batch"][5] == "0"


def test_a_record_of_one_draw_has_no_p():
    text = markdown(rows_of(draws=1, ua_mt=0.1), "dice")
    assert "Intervals are over patients of one draw. There is one label draw" in text
    assert cells_of(text)["UA-MT"][8:] == ["", "1 of 1", "100 / 0 / 0"]


def test_a_study_has_its_arms_in_its_order():
    rows = rows_of(**{"ua_mt": 0.1, "UA-MT, vote by looks": 0.0, "our_ua_mt": -0.1})
    text = study(rows, fidelities(ARMS))
    lines = cells_of(text)
    assert list(lines) == [
        *("labels only, same batch", "UA-MT, vote by looks", "our_ua_mt", "UA-MT"),
    ]
    assert [line[1] for line in lines.values()] == ["adapted", "adapted", "adapted", "published"]
    assert "| Dice | ASSD, mm | HD95, mm | missed | Dice, minus labels only, same batch |" in text
    assert lines["UA-MT"][2].startswith("0.750 (")
    assert lines["UA-MT"][5:] == ["0", "+0.100 (+0.100 to +0.100)", "1", "2 of 2"]
    assert "Intervals are over draws and patients. No difference" in text


def test_the_difference_of_a_study_can_be_of_another_metric_and_baseline():
    rows = rows_of(ua_mt=0.1)
    text = study(rows, fidelities(ARMS), "hd95", "ua_mt")
    assert "HD95, mm, minus UA-MT" in text
    line = cells_of(text)["labels only, same batch"]
    assert line[6:] == ["-0.1 (-0.1 to -0.1)", "0.5", "2 of 2"]


def test_a_study_of_bounds_alone_has_no_difference():
    rows = rows_of(ua_mt=0.1)
    text = study(rows[rows["method"] == "ua_mt"], fidelities(ARMS))
    assert "minus" not in text
    assert list(cells_of(text)) == ["UA-MT"]


def test_only_a_study_has_the_table_of_one(tmp_path, monkeypatch, capsys):
    file = tmp_path / "bone.csv"
    rows_of(ua_mt=0.1).to_csv(file, index=False)
    monkeypatch.setattr(sys, "argv", ["tables.py", str(file), "--study"])
    main()
    assert capsys.readouterr().out.startswith("4 labelled\n\n|  | fidelity | Dice")
    other = file.rename(tmp_path / "record.csv")
    monkeypatch.setattr(sys, "argv", ["tables.py", str(other), "--study"])
    with pytest.raises(SystemExit):
        main()
    assert "there is no study record" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["tables.py", str(other)])
    main()
    assert "surface" not in capsys.readouterr().out


def test_misses_stand_in_the_wide_tables_too():
    rows = rows_of(ua_mt=0.1)
    rows["status"] = np.where(rows["method"] == "ua_mt", "missed", "ok")
    costs = pd.DataFrame([{"method": m} | dict.fromkeys(COSTS, 1.0) for m in set(rows["method"])])
    assert cells_of(beside_costs(rows, costs))["UA-MT"][8] == "6"
    text = across_budgets(pd.concat([rows, rows.assign(budget=8)]))
    assert cells_of(text)["UA-MT"][2:] == [
        *("0.750 (6 missed)", "0.750 (6 missed)", "4.2 (6 missed)", "4.2 (6 missed)"),
    ]
    assert "missed" not in cells_of(text)["labels only, same batch"][2]
