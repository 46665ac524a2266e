"""Copies follow their masters, solutions run to the end, a learner's only error is "your turn"."""

from pathlib import Path

import nbformat
import pages
import pytest
import tool
import tour
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

MASTERS = tool.masters()
each_master = pytest.mark.parametrize("master", MASTERS, ids=lambda master: master.stem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Where the notebooks of this session run; with one ``cache``, a model is trained once."""
    tour.environment()
    return tmp_path_factory.mktemp("notebooks")


def test_all_eight_notebooks_exist() -> None:
    assert [master.name[:2] for master in MASTERS][:8] == [f"{n:02}" for n in range(8)]


def test_copies_follow_their_masters() -> None:
    assert tool.drift() == []


@each_master
def test_master_keeps_the_house_rules(master: Path) -> None:
    assert tool.problems(tool.read(master)) == []


@each_master
def test_solution_runs_and_every_picture_speaks(master: Path, folder: Path) -> None:
    card = tour.run(
        tool.HERE / "solutions" / f"{master.stem}.ipynb",
        folder / f"{master.stem}.ipynb",
        profile="smoke",
        out=folder / "results",
        cwd=folder / "work",
    )
    book = nbformat.read(card.notebook, as_version=4)
    outputs = [
        output for cell in book.cells for output in cell.get("outputs", []) if output.get("data")
    ]
    assert all(
        output.metadata.get("image/png", {}).get("alt")
        for output in outputs
        if "image/png" in output.data
    )
    page = pages.notebook_page(book)
    assert pages.loads(page) == []
    assert pages.NO_PICTURE not in page


@each_master
def test_student_copy_stops_only_at_its_exercises(master: Path, folder: Path) -> None:
    book = load_notebook_node(str(tool.HERE / f"{master.stem}.ipynb"))
    values = {"profile": "smoke", "seed": 0, "out": str(folder / "student")}
    book = parameterize_notebook(book, values, kernel_name="python3", language="python")
    (folder / "work").mkdir(exist_ok=True)
    NotebookClient(
        book,
        allow_errors=True,
        timeout=tour.TIMEOUT_S["smoke"],
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder / "work")}},
    ).execute()
    errors = {
        n: output
        for n, cell in enumerate(book.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    }
    others = [
        f"cell {n + 1}: {error.ename}: {error.evalue}"
        for n, error in errors.items()
        if error.ename != "NotImplementedError"
    ]
    assert others == []
    checks = [n for n, cell in enumerate(book.cells) if "check" in tool.tags(cell)]
    assert set(checks) <= set(errors), "a check cell passes although its exercise is not solved"
