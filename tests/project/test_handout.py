"""Slides and handouts of a toy notebook, the cheat sheet, and the plans in docs/instructor.md."""

import base64
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cheat_sheet
import handout
import nbformat
import pages
import printing
import pytest
import tool

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTOR = (ROOT / "docs" / "instructor.md").read_text(encoding="utf-8")
PNG = base64.b64encode(b"a picture").decode()
TEXTS = """# 00 · Toy

About nothing.

*Minutes at class size on two cores: reading 1, computing 2, exercises 3.*

## You will be able to

- double a number

**New words:** [nat](../../docs/glossary.md#nat)
---
## 1. Points

**Why.** Two points of $H$.

**Look for.** A line.
---
**So.** There is one.

### Exercise 1 · write

Write it.
---
### Exercise 2 · predict

How many?

<details><summary>Hint</summary>two</details>

### Question 1

Which?

- A: this
- B: that

<details><summary>Answer</summary>B: that one.</details>

## You can now

- double a number
"""


def toy() -> nbformat.NotebookNode:
    """A notebook in the scaffold, executed: a picture in its section and one in an exercise."""
    texts = [nbformat.v4.new_markdown_cell(text) for text in TEXTS.split("\n---\n")]
    output = nbformat.v4.new_output(
        "display_data", {"image/png": PNG}, metadata={"image/png": {"alt": 'two "points"'}}
    )
    drawn = nbformat.v4.new_code_cell("show()", outputs=[output])
    return nbformat.v4.new_notebook(
        cells=[texts[0], texts[1], drawn, texts[2], drawn.copy(), texts[3]]
    )


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setattr(printing, "chromium", lambda: None)
    nbformat.write(toy(), tmp_path / "00_toy.ipynb")
    made = handout.write([tmp_path / "00_toy.ipynb"], tmp_path / "print")
    assert [path.name for path in made] == ["slides.html", "handout.html", "cheat-sheet.html"]
    slides, paper = (path.read_text(encoding="utf-8") for path in made[:2])
    assert pages.loads(slides) == pages.loads(paper) == []
    assert "<script" not in slides + paper
    return slides, paper


def test_a_slide_has_one_picture_or_one_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides, _ = written(tmp_path, monkeypatch)
    title, picture, predict, question = re.findall(r"<section.*?</section>", slides, re.DOTALL)
    assert "double a number" in title
    assert "Minutes" not in title
    assert "New words" not in title
    assert (
        f'<img class="picture" alt="two &quot;points&quot;" src="data:image/png;base64,{PNG}">'
        in picture
    )
    assert "A line." in picture
    assert "There is one." in picture.partition("<details>")[2]
    assert "How many?" in predict
    assert "two" not in predict
    assert "that one" in question.partition("<details>")[2]
    assert "Write it" not in slides


def test_a_handout_keeps_the_order_and_has_the_answers_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, paper = written(tmp_path, monkeypatch)
    order = ["00 · Toy", "1. Points", "A line.", "two &quot;points", "There is one.", "How many?"]
    order += ["this", "Answers", "that one"]
    places = [paper.index(text) for text in order]
    assert places == sorted(places)
    assert paper.count('<img class="picture"') == 1
    assert 'class="formula"' in paper
    assert "You can now" not in paper


def test_what_follows_an_exercise_belongs_to_its_section_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = toy()
    check = nbformat.v4.new_code_cell("check", metadata={"tags": ["check"]})
    drawn = nbformat.v4.new_code_cell("show()", outputs=book.cells[2].outputs)
    book.cells[5:5] = [check, nbformat.v4.new_markdown_cell("**Look for.** Six tiles."), drawn]
    monkeypatch.setattr(f"{__name__}.toy", lambda: book)
    slides, paper = written(tmp_path, monkeypatch)
    pictures = re.findall(r'<section class="">.*?</section>', slides, re.DOTALL)
    assert ["1. Points" in slide for slide in pictures] == [True, True]
    assert "Six tiles." in pictures[1]
    assert paper.count('<img class="picture"') == 2  # that of the exercise's own cell is its answer
    assert paper.count("1. Points") == 1


def test_a_picture_that_is_missing_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    book = toy()
    book.cells[1].source += '\n\n<img alt="x" src="none.png">'
    nbformat.write(book, tmp_path / "00_toy.ipynb")
    with pytest.raises(handout.tour.TourError, match=r"would load <img src='none.png'>"):
        handout.write([tmp_path / "00_toy.ipynb"], tmp_path / "print")


def test_a_pdf_comes_from_a_chromium_and_a_browser_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "a.html"
    page.write_text("<p>a</p>")
    monkeypatch.setenv("SSLTUT_CHROMIUM", "/nowhere/chromium")
    assert printing.to_pdf(page) is None
    monkeypatch.setenv("SSLTUT_CHROMIUM", "false")
    with pytest.raises(RuntimeError, match=r"false made no PDF of .*a\.html"):
        printing.to_pdf(page)
    monkeypatch.delenv("SSLTUT_CHROMIUM")
    if printing.chromium() is None:
        pytest.skip("no Chromium found")
    made = printing.to_pdf(page)
    assert made == tmp_path / "a.pdf"
    assert made.read_bytes().startswith(b"%PDF")


def test_the_cheat_sheet_is_that_of_its_source_and_fits_on_one_page() -> None:
    html = cheat_sheet.TARGET.read_text(encoding="utf-8")
    assert without_drawings(html) == without_drawings(cheat_sheet.made()), (
        "docs/cheat-sheet.html is older than its source. Next: python docs/cheat_sheet.py"
    )
    assert pages.loads(html) == []
    pdf = cheat_sheet.TARGET.with_suffix(".pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 1
    width, height = map(float, re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)[0])
    assert (round(width), round(height)) == (595, 842)  # A4, in points


def without_drawings(html: str) -> str:
    """Another version of matplotlib draws a formula with other numbers."""
    return re.sub(r'<img class="formula" alt="([^"]*)"[^>]*>', r"\1", html)


def test_the_code_on_the_cheat_sheet_runs(cache: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", cheat_sheet.SOURCE.read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    exec(code.replace('"class"', '"smoke"'), scope)
    assert scope["wrong"].shape == scope["z"].shape[1:]


def commands(text: str) -> set[str]:
    """The commands of make and of ssltut that a page names."""
    return set(re.findall(r"`(?:\w+=\S+ )?(?:\.venv/bin/)?((?:make|ssltut) [a-z][\w-]*)", text))


def known() -> set[str]:
    """What can be called."""
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    run = subprocess.run(
        [sys.executable, "-m", "ssltut.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = re.findall(r"^    ([a-z]+)\b", run.stdout, re.MULTILINE)
    return {f"make {name}" for name in targets} | {f"ssltut {name}" for name in names}


@pytest.mark.parametrize("page", ["instructor.md", "cheat-sheet.md", "install.md", "../README.md"])
def test_every_command_that_a_page_names_exists(page: str) -> None:
    named = commands((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert named, "no command was read"
    assert named <= known(), f"{page} names {sorted(named - known())}"


def minutes_of(text: str) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+)-(\d+) \|", text, re.MULTILINE)]


def test_the_ninety_minutes_have_no_gap_and_each_block_is_explained() -> None:
    blocks = minutes_of(INSTRUCTOR)
    assert blocks[0][0] == 0
    assert blocks[-1][1] == 90
    assert all(end == start for (_, end), (start, _) in pairwise(blocks))
    explained = re.findall(r"^### (\d+)-(\d+) ", INSTRUCTOR, re.MULTILINE)
    assert [(int(a), int(b)) for a, b in explained] == blocks


def test_the_day_has_no_gap() -> None:
    found = re.findall(r"^\| (\d\d:\d\d)-(\d\d:\d\d) \|", INSTRUCTOR, re.MULTILINE)
    assert (found[0][0], found[-1][1]) == ("09:00", "17:00")
    assert all(end == start for (_, end), (start, _) in pairwise(found))


def test_every_notebook_has_a_row_and_the_minutes_of_its_title_cell() -> None:
    rows = {row[2]: row.groups()[2:] for row in tool.ROW.finditer(INSTRUCTOR)}
    for master in tool.masters():
        number = master.stem[:2]
        assert number in rows, f"docs/instructor.md has no row of minutes for {master.stem}"
        if found := tool.minutes(tool.lesson(master)):
            given = tuple(int(text) if text else None for text in rows[number])
            assert given == found, f"{number}: next: python notebooks/tool.py build"
