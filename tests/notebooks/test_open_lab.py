"""Working copies of the notebooks: no answer is overwritten, and an update says what is new."""

import json
import sys
from pathlib import Path

import nbformat
import open_lab
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ssltut.copies import RECORD

NAME = "01_loading.ipynb"


def write(path: Path, *cells: str, output: str = "") -> None:
    """A notebook with these code cells, the last one with an output."""
    book = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    if output:
        book.cells[-1].outputs = [new_output("stream", text=output)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(book, path)


def said(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The notebooks of the project and the learner's folder, copied once."""
    notebooks, mine = tmp_path / "notebooks", tmp_path / "my"
    write(notebooks / NAME, "stub")
    assert open_lab.update(notebooks, mine) == [f"{NAME} is new"]
    return notebooks, mine


def test_a_fresh_folder_gets_every_notebook_and_nothing_else(
    folders: tuple[Path, Path],
) -> None:
    notebooks, mine = folders
    (notebooks / "tool.py").write_text("pass")
    write(notebooks / "02_training.ipynb", "stub")
    assert open_lab.update(notebooks, mine) == ["02_training.ipynb is new"]
    shown = [path.name for path in sorted(mine.iterdir()) if not path.name.startswith(".")]
    assert shown == [NAME, "02_training.ipynb"]


def test_nothing_happens_where_nothing_changed(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    before = (mine / NAME).read_bytes()
    assert open_lab.update(notebooks, mine) == []
    assert (mine / NAME).read_bytes() == before


def test_answers_stay_where_the_project_has_nothing_new(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    write(mine / NAME, "my answer", output="42")
    assert open_lab.update(notebooks, mine) == []
    assert said(mine / NAME) == ["my answer"]


def test_an_update_replaces_what_was_only_run(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    write(mine / NAME, "stub", output="42")
    write(notebooks / NAME, "better stub")
    assert open_lab.update(notebooks, mine) == [f"{NAME} is updated; you had not changed it"]
    assert said(mine / NAME) == ["better stub"]
    assert open_lab.update(notebooks, mine) == []


def test_an_update_of_what_has_answers_lies_beside_them(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    write(mine / NAME, "my answer")
    write(notebooks / NAME, "better stub")
    (line,) = open_lab.update(notebooks, mine)
    assert line.startswith(f"{NAME} has an update: it is in 01_loading.new.ipynb, and your {NAME}")
    assert said(mine / NAME) == ["my answer"]
    assert said(mine / "01_loading.new.ipynb") == ["better stub"]
    assert open_lab.update(notebooks, mine) == []


def test_answers_in_an_update_stay_too(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    write(mine / NAME, "my answer")
    write(notebooks / NAME, "better stub")
    open_lab.update(notebooks, mine)
    write(notebooks / NAME, "even better stub")
    open_lab.update(notebooks, mine)
    assert said(mine / "01_loading.new.ipynb") == ["even better stub"]  # it was untouched
    write(mine / "01_loading.new.ipynb", "my second answer")
    write(notebooks / NAME, "best stub")
    open_lab.update(notebooks, mine)
    assert said(mine / NAME) == ["my answer"]
    assert said(mine / "01_loading.new.ipynb") == ["my second answer"]
    assert said(mine / "01_loading.new2.ipynb") == ["best stub"]


def test_a_deleted_notebook_comes_back_as_it_was(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    write(mine / NAME, "my answer")
    (mine / NAME).unlink()
    assert open_lab.update(notebooks, mine) == [f"{NAME} is new"]
    assert said(mine / NAME) == ["stub"]


def test_a_file_of_unknown_origin_counts_as_an_answer(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    (mine / RECORD).unlink()
    (mine / NAME).write_text("no notebook any more")
    (line,) = open_lab.update(notebooks, mine)
    assert "01_loading.new.ipynb" in line
    assert (mine / NAME).read_text() == "no notebook any more"


def test_pictures_are_found_from_the_copy(folders: tuple[Path, Path]) -> None:
    notebooks, mine = folders
    book = new_notebook(cells=[new_markdown_cell('![a](figures/a.png) <img src="figures/b.png">')])
    nbformat.write(book, notebooks / "02_more.ipynb")
    open_lab.update(notebooks, mine)
    assert said(mine / "02_more.ipynb") == [
        '![a](../notebooks/figures/a.png) <img src="../notebooks/figures/b.png">'
    ]


def test_jupyterlab_starts_on_the_copies_with_the_settings_of_the_project() -> None:
    command = open_lab.command("my/00_demo.ipynb", simple=True, more=["--no-browser"])
    assert command[:4] == [sys.executable, "-m", "jupyter", "lab"]
    assert "--LabApp.default_url=/doc/tree/my/00_demo.ipynb" in command
    assert command[-1] == "--no-browser"
    plain = open_lab.command("my/00_demo.ipynb", simple=False, more=[])
    assert "--LabApp.default_url=/lab/tree/my/00_demo.ipynb" in plain
    settings = json.loads((open_lab.NOTEBOOKS / "settings/overrides.json").read_text())
    news = settings["@jupyterlab/apputils-extension:notification"]
    assert news == {"checkForUpdates": False, "fetchNews": "false"}


def test_the_command_line_copies_and_opens(
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notebooks, mine = folders
    write(notebooks / "00_demo.ipynb", "stub")
    monkeypatch.setattr(open_lab, "MINE", mine)
    monkeypatch.setattr(open_lab, "update", lambda: ["00_demo.ipynb is new"])
    ran: list[list[str]] = []

    def run(command: list[str], *, check: bool, env: dict[str, str]) -> object:
        ran.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(open_lab.subprocess, "run", run)
    assert open_lab.main(["--copy"]) == 0
    assert ran == []
    (mine / "00_demo.ipynb").write_text("")
    assert open_lab.main(["--demo", "--port=9999"]) == 0
    assert "/doc/tree/my/00_demo.ipynb" in " ".join(ran[0])
    assert ran[0][-1] == "--port=9999"
    assert "my/: 00_demo.ipynb is new" in capsys.readouterr().out
