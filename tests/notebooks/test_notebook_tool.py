"""The notebook tool on a toy master: what the copies hold; every rule fires and stays silent."""

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
    assert '"""Twice x."""' in text
    assert "assert double(4) == 8" in text
    assert "return 2 * x" not in text
    assert "y = x / 2" not in text
    assert "for the teacher" not in text
    assert ">>>" not in text


def test_solution_copy_has_the_answers_and_the_instructor_cell(here: Path) -> None:
    text = source(here / "solutions" / "00_toy.ipynb")
    assert "return 2 * x" in text
    assert "    y = x / 2\n\n    return y" in text
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
        assert sum(tag in tool.tags(cell) for cell in code) == 2
        assert sum("parameters" in tool.tags(cell) for cell in code) == 1
        assert len({cell.id for cell in book.cells}) == len(book.cells)


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


SECOND_EXERCISE = MASTER[
    MASTER.index('# %% tags=["solution"]\ndef halve') : MASTER.index("# %%\nfrom pathlib")
]
BROKEN = {
    "no parameters": ('# %% tags=["parameters"]', "# %%", "0 cells tagged parameters"),
    "two parameters": (
        "# %%\nimport sys",
        '# %% tags=["parameters"]\nimport sys',
        "2 cells tagged parameters",
    ),
    "one exercise": (SECOND_EXERCISE, "", "at least two exercises"),
    "no check": (
        '# %% tags=["check"]\nassert double',
        "# %%\nassert double",
        "at least two exercises",
    ),
    "no opening": ("you will be able to", "you may hope to", "does not open with a list"),
    "no opening list": (
        "# - double a number\n# - halve a number that is\n#   far too large\n",
        "",
        "does not open with a list",
    ),
    "other closing": (
        "# - halve a number that is far too large",
        "# - halve a number",
        "does not close with the opening list",
    ),
    "longer closing": ("is 8\n", "is 8\n# - fly\n", "does not close with the opening list"),
    "no closing": ("**You can now**", "**Done**", "does not close with the opening list"),
    "too many words": (
        "is code",
        "is code " + "word " * tool.MAX_WORDS,
        "words of markdown, more than 1200",
    ),
    "long cell": (
        "# %%\nimport sys",
        "# %%\n" + "x = 1\n" * 14 + "import sys",
        "17 lines, more than 15",
    ),
    "open marker": ("    # <<< solution\n", "", "a marker that is not one of a pair"),
    "marker without hint": (
        "solution: return half of x",
        "solution:",
        "a marker that is not one of a pair",
    ),
    "marker without tag": (
        '# %% tags=["solution"]\ndef double',
        "# %%\ndef double",
        "solution markers without the tag",
    ),
    "tag without marker": (
        "# %%\nimport sys",
        '# %% tags=["solution"]\nimport sys',
        "solution tag without markers",
    ),
    "no alt": (', alt="two points"', "", "show.picture without alt="),
    "bare figure": ("plt.close(fig)", "plt.show()", "plt.show() draws a figure without alt text"),
    "name import": (
        "from ssltut import show",
        "from ssltut.show import picture",
        "imports from ssltut.show",
    ),
}


def test_no_rule_fires_on_a_sound_master(tmp_path: Path) -> None:
    assert tool.problems(tool.read(write_master(tmp_path))) == []


def test_a_mesh_is_no_figure_and_needs_no_alt(tmp_path: Path) -> None:
    text = MASTER.replace(
        'show.picture(fig, alt="two points")', "show.surface(label, 1, spacing=(1, 1, 1))"
    )
    assert text != MASTER
    assert tool.problems(tool.read(write_master(tmp_path, text))) == []


@pytest.mark.parametrize(("old", "new", "problem"), BROKEN.values(), ids=BROKEN)
def test_each_rule_fires(old: str, new: str, problem: str, tmp_path: Path) -> None:
    assert old in MASTER
    found = tool.problems(tool.read(write_master(tmp_path, MASTER.replace(old, new))))
    assert any(problem in line for line in found), found


def test_check_prints_a_broken_rule_with_its_master(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    master = write_master(tmp_path, MASTER.replace(', alt="two points"', ""))
    assert tool.main(["build"], tmp_path) == 1
    assert f"{master}: code cell 8: show.picture without alt=" in capsys.readouterr().out
