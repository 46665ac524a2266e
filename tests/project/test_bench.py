"""The benchmarks: turns are fair, ratios are right, and a peer that is missing is named."""

import ast
import json
from pathlib import Path

import bench
import pytest
import turns

ROOT = Path(__file__).parents[2]


def test_contestants_take_turns_and_the_first_round_is_not_counted() -> None:
    order = []
    works = {name: (lambda name=name: order.append(name)) for name in ("ours", "theirs")}
    found = turns.in_turns(works, rounds=3)
    assert order == ["ours", "theirs"] * 4
    assert all(times["rounds"] == 3 for times in found.values())
    assert found["ours"]["cpu_least"] <= found["ours"]["cpu"] <= found["ours"]["cpu_most"]


def test_a_row_says_its_ratios_and_who_is_missing() -> None:
    times = {"wall": 9.0, "cpu_least": 1.0, "cpu_most": 3.0}
    timings = {"ours": times | {"cpu": 2.0}, "a peer": times | {"cpu": 8.0}}
    row = turns.Row("some work", "0.5", timings, ["another"], {"the same": True})
    assert row.ratios() == {"a peer": 0.25}
    text = "\n".join(bench.lines(row))
    assert "some work" in text
    assert "0.25 of a peer" in text
    assert "another is not installed: skipped" in text
    assert turns.peer("no_such_module_at_all") is None
    assert turns.peer("json") is json


def test_every_row_is_a_module_with_rows_and_every_record_is_of_a_row() -> None:
    for name in bench.ROWS:
        tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
        assert any(isinstance(n, ast.FunctionDef) and n.name == "rows" for n in tree.body), name
    for file in turns.RESULTS.glob("bench-*.json"):
        assert file.stem.removeprefix("bench-") in bench.ROWS
        content = json.loads(file.read_text(encoding="utf-8"))
        assert content["machine"]["versions"]["torch"]
        for row in content["rows"]:
            turns.Row(**row).ratios()


def test_a_row_that_is_not_there_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["bench.py", "nonsense"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "there is no row nonsense" in capsys.readouterr().err
