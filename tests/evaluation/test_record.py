"""Records: read with the settings of each run, written once for each run, and made in parts."""

import json
import warnings
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from record import OF_A_RUN, without_folders, write_record

from ssltut.errors import DataWarning
from ssltut.evaluation.record import COLUMNS, COSTS, RECORDS, read_rows, recorded

ORDER = ["labels_only", "ua_mt"]


@pytest.fixture
def rows() -> pd.DataFrame:
    """Rows of two methods and two seeds, as a comparison gives them; ``ua_mt`` comes first."""
    made = []
    for method, seed, case, metric in product(reversed(ORDER), (0, 1), "ab", ("dice", "hd95")):
        settings = json.dumps({"steps": 4, "seed": seed})
        of_run = dict.fromkeys(OF_A_RUN, f"{method} {seed}")
        of_run |= {"seconds": 1.5, "settings": settings}
        row = of_run | {"method": method, "seed": seed, "case": case, "metric": metric}
        row |= {"budget": 4, "config": f"c{method}{seed}", "value": 0.25 * seed, "patient": case}
        made.append(row | {"difficulty": 1.0, "class": "femur", "status": "ok"})
    return pd.DataFrame(made)[COLUMNS]


def test_a_record_of_the_project_is_read_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = recorded("synthetic_class")
    assert len(found) == 2100
    assert set(found["method"]) >= {"labels_only", "all_labels"}
    assert isinstance(found["case"].iloc[0], str)
    assert set(COSTS) < set(recorded("costs"))


def test_a_record_that_is_not_there_gives_no_rows_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(DataWarning) as caught:
        none = recorded("nowhere", tmp_path)
    assert none.empty
    assert list(none.columns) == COLUMNS
    assert caught[0].message.where == tmp_path / "nowhere.csv"
    assert "clone" in caught[0].message.fix


@pytest.mark.parametrize("tag", ["052673293222", "15707295e803", "4c2446e69022"])
def test_the_name_of_a_run_stays_text_also_where_it_looks_like_a_number(
    rows: pd.DataFrame, tmp_path: Path, tag: str
) -> None:
    rows = rows[rows["config"] == rows["config"].iloc[0]].assign(config=tag)
    write_record(rows, "toy", ORDER, tmp_path)
    assert set(read_rows(tmp_path / "toy.csv")["config"]) == {tag}
    assert set(recorded("toy", tmp_path)["config"]) == {tag}


def test_a_record_says_once_what_is_the_same_for_a_run_and_is_read_whole(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    written = write_record(rows, "toy", ORDER, tmp_path)
    pd.testing.assert_frame_equal(recorded("toy", tmp_path), written)
    columns = ["method", "budget", "seed", "case", "class", "metric"]
    pd.testing.assert_frame_equal(
        written.sort_values(columns, ignore_index=True),
        rows.sort_values(columns, ignore_index=True),
    )
    values, runs = (pd.read_csv(tmp_path / name) for name in ("toy.csv", "toy_runs.csv"))
    assert "settings" not in values
    assert len(values) == len(rows)
    assert len(runs) == 4


def test_a_record_made_in_parts_keeps_what_was_not_done_again_in_the_order_of_the_methods(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    of_bound = rows["method"] == "labels_only"
    write_record(rows[of_bound], "toy", ORDER, tmp_path)
    whole = write_record(rows[~of_bound], "toy", ORDER, tmp_path)
    assert len(whole) == len(rows)
    assert whole["method"].iloc[0] == "labels_only"
    changed = rows[of_bound].assign(value=0.5, config=rows["config"] + "0")
    again = write_record(changed, "toy", ORDER, tmp_path)
    assert len(again) == len(rows)
    assert set(again["config"]) == set(rows["config"].where(~of_bound, rows["config"] + "0"))
    found = recorded("toy", tmp_path)
    assert found.loc[found["method"] == "labels_only", "value"].eq(0.5).all()


def test_runs_with_other_settings_leave_a_record_and_a_line_says_so(
    rows: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    of_bound = rows["method"] == "labels_only"
    write_record(rows[of_bound], "toy", ORDER, tmp_path)
    write_record(rows[~of_bound], "toy", ORDER, tmp_path)
    assert capsys.readouterr().out == ""
    other = rows[~of_bound].assign(settings=json.dumps({"steps": 8, "seed": 0}))
    whole = write_record(other, "toy", ORDER, tmp_path)
    assert set(whole["method"]) == {"ua_mt"}
    assert capsys.readouterr().out == "2 runs with other settings leave the record toy\n"


def test_commands_of_a_record_name_no_folder_of_a_machine() -> None:
    said = pd.Series(["studies.py bone --folder /home/me/runs --draws 0", "a.py --to out/x 1/2"])
    assert without_folders(said).tolist() == ["studies.py bone --folder runs --draws 0", said[1]]
    for file in RECORDS.rglob("*.csv"):
        table = pd.read_csv(file, dtype=str)
        if "command" in table:
            commands = table["command"].dropna()
            assert without_folders(commands).equals(commands), file.name
