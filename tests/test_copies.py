"""``ssltut notebooks DIR``. What is never overwritten is in notebooks/test_open_lab.py."""

import re
from pathlib import Path

import nbformat
import pytest

from ssltut.cli.main import main
from ssltut.copies import copy_notebooks, digest
from ssltut.files import PROJECT

LINK = re.compile(r"\]\(([^)#]+)")


def relative_links(book: Path) -> list[str]:
    """Where the Markdown of a notebook leads on this machine."""
    cells = nbformat.read(book, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    found = [*LINK.findall(text), *re.findall(r'src="([^"]+)"', text)]
    return [link for link in found if "://" not in link]


def test_copies_and_solutions_find_their_figures_and_the_glossary(tmp_path: Path) -> None:
    folder = tmp_path / "my course"
    said = copy_notebooks(folder, solutions=True)
    books = sorted(folder.rglob("*.ipynb"))
    assert len(said) == len(books) == 22
    assert said[0] == "00_start_here.ipynb is new"
    assert said[-1] == "solutions/10_scaling_out.ipynb is new"
    links = {(book, link) for book in books for link in relative_links(book)}
    assert len(links) > 30
    broken = [f"{book.name}: {link}" for book, link in links if not (book.parent / link).exists()]
    assert broken == []


def test_a_link_to_a_file_of_the_project_becomes_its_name(tmp_path: Path) -> None:
    copy_notebooks(tmp_path, solutions=True)
    for book in (tmp_path / "06_comparing_fairly.ipynb", *tmp_path.glob("solutions/06_*.ipynb")):
        assert "statistics (`ssltut/evaluation/statistics.py`)" in book.read_text(encoding="utf-8")


def test_what_was_brought_is_not_brought_again_and_changed_figures_stay(tmp_path: Path) -> None:
    copy_notebooks(tmp_path)
    figure = tmp_path / "figures" / "06_eight_signs.png"
    figure.write_bytes(b"mine")
    assert copy_notebooks(tmp_path) == []
    assert figure.read_bytes() == b"mine"
    assert not list(tmp_path.rglob("*.new*"))


def test_a_file_of_another_origin_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "glossary.md").write_text("my words")
    copy_notebooks(tmp_path)
    assert (tmp_path / "glossary.md").read_text() == "my words"
    assert "Dice" in (tmp_path / "glossary.new.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("data", [b"\xff", b"no JSON", b"[1]", b'{"cells": [{}]}', b'{"cells": 1}'])
def test_what_is_no_notebook_counts_with_all_its_bytes(data: bytes) -> None:
    assert digest(data) != digest(data + b" ")


def test_the_command_says_what_is_new_and_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my course"
    assert main(["notebooks", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "00_start_here.ipynb is new"
    assert lines[-1] == f"Next: jupyter lab --notebook-dir='{folder}'"
    assert not (folder / "solutions").exists()
    assert main(["notebooks", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "nothing is new"


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["notebooks", str(tmp_path / "file" / "course")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_in_a_clone_the_project_is_the_clone() -> None:
    assert (PROJECT / "pyproject.toml").is_file()
    assert (PROJECT / "results" / "costs.csv").is_file()
