"""The notebook tool on a toy master: what the copies hold, and the tables of minutes."""

from pathlib import Path

import nbformat
import pytest
import tool
from toy_notebook import MASTER, write_master


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_master(tmp_path)
    assert tool.main(["build"], tmp_path) == 0
    return tmp_path


def source(path: Path) -> str:
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def test_student_copy_has_stubs_in_place_of_answers(here: Path) -> None:
    text = source(here / "00_toy.ipynb")
    assert "    raise NotImplementedError('Your turn: return two times x')\n" in text + "\n"
    assert '"Twice x."' in text
    assert "assert double(4) == 8" in text
    assert '# Your turn: "2" or "3"\nlarger = ...\n' in text
    assert 'larger = "3"' not in text
    assert "return 2 * x" not in text
    assert "    # Your turn: divide by the right number\n    y = x / 4\n\n    return y" in text
    assert "y = x / 2" not in text
    assert "for the teacher" not in text
    assert ">>>" not in text


def test_solution_copy_has_the_answers_and_the_instructor_cell(here: Path) -> None:
    text = source(here / "solutions" / "00_toy.ipynb")
    assert "return 2 * x" in text
    assert "    y = x / 2\n\n    return y" in text
    assert "x / 4" not in text
    assert 'larger = "3"' in text
    assert "for the teacher" in text
    assert "NotImplementedError" not in text
    assert ">>>" not in text
    assert "<<<" not in text


def test_copies_are_valid_bare_and_tagged(here: Path) -> None:
    for path, tag in (
        (here / "00_toy.ipynb", "exercise"),
        (here / "solutions" / "00_toy.ipynb", "solution"),
    ):
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        assert book.metadata == tool.KERNEL
        assert not any(cell.outputs or cell.execution_count for cell in code)
        assert sum(tag in tool.tags(cell) for cell in code) == 3
        assert sum("parameters" in tool.tags(cell) for cell in code) == 1
        assert len({cell.id for cell in book.cells}) == len(book.cells)


def test_only_the_check_of_a_choice_is_folded_and_only_for_students(here: Path) -> None:
    for path, wanted in (
        ("00_toy.ipynb", [False, True, False]),
        ("solutions/00_toy.ipynb", [False] * 3),
    ):
        cells = nbformat.read(here / path, as_version=4).cells
        checks = [cell for cell in cells if "check" in tool.tags(cell)]
        assert [
            cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in checks
        ] == wanted


def test_building_twice_gives_the_same_bytes(here: Path) -> None:
    first = {path: path.read_bytes() for path in here.rglob("*.ipynb")}
    for path in first:
        path.unlink()
    tool.main(["build"], here)
    assert {path: path.read_bytes() for path in here.rglob("*.ipynb")} == first
    assert b"\r" not in b"".join(first.values())


def test_ids_stay_when_another_cell_is_edited_and_same_cells_get_their_own(tmp_path: Path) -> None:
    twice = MASTER.replace(
        "# %%\nimport sys", "# %%\nprint(1)\n\n# %%\nprint(1)\n\n# %%\nimport sys"
    )
    one, two = (
        tool.copy(tool.read(write_master(tmp_path, text)), solution=False)
        for text in (MASTER, twice)
    )
    ids, more = [cell.id for cell in one.cells], [cell.id for cell in two.cells]
    assert set(ids) < set(more)
    assert len(set(more)) == len(more) == len(ids) + 2


def test_check_is_silent_on_fresh_copies_and_names_a_drifted_one(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert tool.drift(here) == []
    assert tool.main(["check"], here) == 0
    copy = here / "solutions" / "00_toy.ipynb"
    copy.write_text(copy.read_text(encoding="utf-8").replace("2 * x", "3 * x"), encoding="utf-8")
    assert tool.main(["check"], here) == 1
    assert (
        f"{copy}: differs from its master. Next: python notebooks/tool.py build"
        in capsys.readouterr().out
    )
    assert tool.main(["build"], here) == 0
    assert tool.drift(here) == []


def test_check_names_a_missing_copy_and_one_without_master(here: Path) -> None:
    (here / "00_toy.ipynb").rename(here / "09_stray.ipynb")
    (here / "my_notes.ipynb").write_text("{}")  # a learner's own file is nobody's business
    assert [Path(line.partition(": ")[0]).name for line in tool.drift(here)] == [
        "00_toy.ipynb",
        "09_stray.ipynb",
    ]
    assert "has no master. Next: delete it" in tool.drift(here)[1]


def test_an_unknown_word_on_the_command_line_prints_the_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert tool.main(["buidl"], tmp_path) == 2
    assert "usage" in capsys.readouterr().err


def test_links_and_pictures_of_a_solution_start_one_folder_deeper(tmp_path: Path) -> None:
    text = MASTER.replace("Two functions", "![two](figures/two.png) Two functions")
    book = tool.read(write_master(tmp_path, text))
    for solution, folder in ((False, ""), (True, "../")):
        prose = "\n".join(cell.source for cell in tool.copy(book, solution=solution).cells)
        assert f"]({folder}../docs/glossary.md#entropy)" in prose
        assert f"]({folder}../ssltut/methods/schedules.py)" in prose
        assert f"]({folder}figures/two.png)" in prose


def test_check_prints_a_broken_rule_with_its_master(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    master = write_master(tmp_path, MASTER.replace(', alt="two points"', ""))
    assert tool.main(["build"], tmp_path) == 1
    assert f"{master}: code cell 4: show.picture without alt=" in capsys.readouterr().out


def test_the_table_counts_words_cells_lines_exercises_questions_and_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    master = write_master(tmp_path)
    n_words = tool.words(tool.lesson(master).prose)
    assert tool.main(["table"], tmp_path) == 0
    header, _, row = capsys.readouterr().out.splitlines()
    assert header.startswith("| notebook | words | code cells | longest cell |")
    assert row == f"| 00 · First toy | {n_words} | 11 | 6 | 3 | 2 | 1 | 2 | 3 |"


def test_words_of_html_and_of_addresses_do_not_count() -> None:
    assert tool.words("<details><summary>Two words</summary> and [a third](https://x.org)") == 5


ROWS = """| notebook | reading | computing | exercises |
|---|---|---|---|
| [00 · First](00_toy.ipynb) | 1 | 2 | 3 |
| 07 gallery | 9 | 9 | 9 |
"""


def test_a_table_with_other_minutes_than_the_title_cell_is_named_and_corrected(
    tmp_path: Path,
) -> None:
    lessons = [tool.lesson(write_master(tmp_path))]
    readme, missing = tmp_path / "README.md", tmp_path / "none.md"
    readme.write_text(ROWS, encoding="utf-8")
    assert tool.minutes_drift(lessons, (readme, missing)) == []
    other = ROWS.replace("| 1 | 2 | 3 |", "| 1 | 20 | 3 |")
    readme.write_text(other, encoding="utf-8")
    (problem,) = tool.minutes_drift(lessons, (readme,))
    assert problem.startswith(f"{readme}: the minutes of 00 are not (1, 2, 3)")
    assert readme.read_text(encoding="utf-8") == other
    tool.minutes_drift(lessons, (readme,), write=True)
    assert readme.read_text(encoding="utf-8") == ROWS
