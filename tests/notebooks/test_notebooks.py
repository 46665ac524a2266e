"""Copies follow their masters, and both kinds of copies run to their end."""

from pathlib import Path

import nbformat
import pages
import pytest
import rules
import tool
import tour

MASTERS = tool.masters()
each_master = pytest.mark.parametrize("master", MASTERS, ids=lambda master: master.stem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Where the notebooks of this session run; with one ``cache``, a model is trained once."""
    tour.environment()
    return tmp_path_factory.mktemp("notebooks")


def test_all_eleven_notebooks_exist() -> None:
    assert [master.name[:2] for master in MASTERS] == [f"{n:02}" for n in range(11)]


def test_copies_follow_their_masters() -> None:
    assert tool.drift() == []


@each_master
def test_master_keeps_the_house_rules(master: Path) -> None:
    assert rules.problems(tool.lesson(master)) == []


def test_tables_repeat_the_minutes_of_the_title_cells() -> None:
    assert tool.minutes_drift([tool.lesson(master) for master in MASTERS]) == []


def said(cell: nbformat.NotebookNode) -> str:
    """What a cell printed."""
    return "".join(output.get("text", "") for output in cell.get("outputs", []))


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
    assert [said(cell) for cell in book.cells if "Not yet" in said(cell)] == []
    page = pages.notebook_page(book)
    assert pages.loads(page) == []
    assert pages.NO_PICTURE not in page


@each_master
def test_student_copy_runs_to_its_end_and_says_not_yet(master: Path, folder: Path) -> None:
    card = tour.run(
        tool.HERE / f"{master.stem}.ipynb",
        folder / "student" / f"{master.stem}.ipynb",
        profile="smoke",
        out=folder / "student",
        cwd=folder / "work",
    )
    book = nbformat.read(card.notebook, as_version=4)
    checks = [said(cell) for cell in book.cells if "check" in tool.tags(cell)]
    assert len(checks) == (0 if tool.lesson(master).reference else 3)
    assert [text for text in checks if "Not yet:" not in text] == []
