"""docs/results.md has the tables that its results give, and the curves of runs are means."""

import curves
import pytest
import report
from toy_run import run_of


def test_the_page_has_the_tables_of_the_results():
    text = report.PAGE.read_text(encoding="utf-8")
    assert report.page(text) == text, "run: python results/report.py"


def test_a_study_without_results_is_said():
    assert report.block("toy", "dice") == report.NOTHING_YET
    assert report.forest("toy", "Toy") is None


def test_every_block_of_the_page_is_closed():
    text = report.PAGE.read_text(encoding="utf-8")
    n_blocks = len(report.BLOCK.findall(text))
    assert n_blocks == text.count("<!-- study:") == text.count("<!-- end -->") > 0


def test_curves_are_means_of_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "STEPS", 2)
    history = run_of(folder=tmp_path).history
    found = curves.curves_of(tmp_path)
    assert len(found) == 2
    assert found["total"].iloc[1] == pytest.approx(history["total"].iloc[2:].mean())
    assert not [name for name in found if name.startswith("validation")]
