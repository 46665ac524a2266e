"""Live views under papermill: no output of a notebook is lost, and none is large."""

from pathlib import Path

import nbformat
import pytest
import tour
from toy_notebook import run_solution


@pytest.mark.parametrize(
    "name", ["03_uncertainty_maps", "04_embedding_correspondences"], ids=["03", "04"]
)
def test_papermill_keeps_every_output_of_the_live_views(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tour.environment()
    # The viewers are imported, as in Lab: they must not swallow what comes after them.
    monkeypatch.setenv("SSLTUT_FRONTEND", "lab")
    book = run_solution(name, tmp_path)
    # papermill keeps the state of every widget, which nobody reads: JupyterLab does not.
    book.metadata.pop("widgets", None)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    speaks = [
        cell
        for cell in cells
        if "def " not in cell.source
        and ("print(" in cell.source or "\nshow." in f"\n{cell.source}")
    ]
    assert len(speaks) >= 9
    assert [cell.source for cell in speaks if not cell.outputs] == []
    assert len(nbformat.writes(book)) < 5_000_000
