"""Make, check and count the notebooks: ``python notebooks/tool.py build``, ``check`` or ``table``.

``masters/NN_name.py`` (percent format, read by jupytext) is the truth. From it come
``NN_name.ipynb`` for learners and ``solutions/NN_name.ipynb``, both without outputs and the same to
the byte on every machine. Cell tags: ``parameters``, ``solution`` (the lines between ``# >>>
solution: what to do`` and ``# <<< solution`` become a stub, the tag ``exercise``), ``check`` and
``instructor`` (solutions only). Where a learner is to repair code, the wrong lines stand between
the markers too, each after ``#| ``: they are the stub.

After the cell of the parameters every copy gets the set-up cell, SET_UP, which no master has. It
installs ssltut where it is missing, from the address ``Wheel`` in ``project.urls`` of
pyproject.toml and from nowhere else: a free name on an index may be anybody's.

The rules that ``check`` applies are in ``rules.py``. The minutes of a notebook stand in its title
cell, and ``build`` copies them to the tables that repeat them.
"""

import ast
import hashlib
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from rules import BLOCK, ROOT, WRONG, Lesson, assigned, lines_of, minutes, problems, tags, words

HERE = Path(__file__).resolve().parent
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SET_UP = """\
# @title Set-up: takes ssltut as it is installed, else from its release; checks the parameters
from importlib import invalidate_caches, util

RELEASE = "{address}"

def is_here():
    invalidate_caches()
    return getattr(util.find_spec("ssltut"), "origin", None)  # a mere folder has none

if RELEASE and not is_here():
    %pip install -q "{{RELEASE}}"
if not is_here():
    why = f"pip could not get {{RELEASE}}" if RELEASE else "no release has an address yet"
    fix = "install its wheel or a clone (docs/install.md), never the bare name 'ssltut'"
    raise ModuleNotFoundError(f"ssltut is not installed: {{why}}. Next: {{fix}}")
from ssltut.options import check_parameters

check_parameters(globals(), {kinds})"""
# Tables that repeat the minutes: a row begins with a notebook's number and ends with its minutes.
REPEATED = (
    ROOT / "README.md",
    ROOT / "docs" / "instructor.md",
    HERE / "masters" / "00_start_here.py",
)
ROW = re.compile(
    r"^((?:# )?\| \[?(\d\d)(?=[ \]]).*\|) *(\d*) *\| *(\d*) *\| *(\d*) *\|$", re.MULTILINE
)


def masters(here: Path = HERE) -> list[Path]:
    """The masters below ``here`` in reading order."""
    return sorted((here / "masters").glob("[0-9][0-9]_*.py"))


def read(master: Path) -> nbformat.NotebookNode:
    """The notebook a master describes, markers and all."""
    return jupytext.reads(master.read_text(encoding="utf-8"), fmt="py:percent")


def lesson(master: Path) -> Lesson:
    """A master with its name and folder, as the rules read it."""
    return Lesson(master.stem, master.parents[1], read(master))


def address() -> str:
    """Where the wheel of the release lies; "" as long as there is none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Wheel", "")


def set_up(parameters: str, release: str) -> str:
    """The set-up cell for these parameters, whose kinds are those of their defaults."""
    kinds = [
        f"{node.targets[0].id}={type(ast.literal_eval(node.value)).__name__}"
        for node in ast.parse(parameters).body
    ]
    return SET_UP.format(address=release, kinds=", ".join(kinds))


def copy(master: nbformat.NotebookNode, *, solution: bool) -> nbformat.NotebookNode:
    """The solution copy, or the student copy with a stub for every answer and without instructor
    cells; each with the set-up cell. The check of a choice names the answer, so it is folded there:
    a click opens it.
    """
    book, seen = nbformat.v4.new_notebook(metadata=KERNEL), Counter()
    chosen = False
    for cell in with_set_up(master):
        if "instructor" in tags(cell) and not solution:
            continue
        source = _source(cell, solution=solution)
        make = (
            nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        )
        new = make(source)
        if tags(cell):
            new.metadata["tags"] = [
                tag if solution or tag != "solution" else "exercise" for tag in tags(cell)
            ]
        if "solution" in tags(cell):
            chosen = any(not indent for indent, _, _ in BLOCK.findall(cell.source))
        if "check" in tags(cell) and chosen and not solution:
            new.metadata["jupyter"] = {"source_hidden": True}
        if "set-up" in tags(cell):  # folded in JupyterLab and in Colab: its first line is seen
            new.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
        key = hashlib.sha256(f"{cell.cell_type} {source}".encode()).hexdigest()[:12]
        # From the content: an edit elsewhere leaves the id alone.
        new["id"] = f"{key}-{seen[key]}" if seen[key] else key
        seen[key] += 1
        book.cells.append(new)
    return book


def with_set_up(master: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """The cells of a master with the set-up cell after that of the parameters."""
    for cell in master.cells:
        yield cell
        if "parameters" in tags(cell):
            source = set_up(cell.source, address())
            yield nbformat.v4.new_code_cell(source, metadata={"tags": ["set-up"]})


def _source(cell: nbformat.NotebookNode, *, solution: bool) -> str:
    """The text of a cell in a copy. Solutions lie one folder deeper, so their links start there."""
    if cell.cell_type == "code":
        return BLOCK.sub(_answer if solution else _stub, cell.source)
    if not solution:
        return cell.source
    deeper = cell.source.replace("](../", "](../../")
    return deeper.replace("](figures/", "](../figures/")


def _answer(block: re.Match) -> str:
    kept = [line for line in block[3].splitlines() if not WRONG.match(line)]
    return "\n".join(kept)


def _stub(block: re.Match) -> str:
    """What stands in the place of an answer: the lines to repair where there are some; else in a
    function an error, and elsewhere ``name = ...``.
    """
    indent, task, answer = block.groups()
    given = [found[1] for line in answer.splitlines() if (found := WRONG.match(line))]
    wrong = [f"{indent}{line}".rstrip() for line in given]
    if indent and not wrong:
        return f"{indent}raise NotImplementedError({'Your turn: ' + task.strip()!r})"
    lines = wrong or [f"{name} = ..." for name in assigned(answer)]
    return "\n".join([f"{indent}# Your turn: {task.strip()}", *lines])


def drift(here: Path = HERE, *, write: bool = False) -> list[str]:
    """Copies below ``here`` that differ from their masters, are missing or have no master;
    ``write`` makes the first two right.
    """
    wanted = {}
    for master in masters(here):
        book = read(master)
        wanted[here / f"{master.stem}.ipynb"] = copy(book, solution=False)
        wanted[here / "solutions" / f"{master.stem}.ipynb"] = copy(book, solution=True)
    found = []
    for path, book in wanted.items():
        text = nbformat.writes(book) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(f"{path}: differs from its master. Next: python notebooks/tool.py build")
            if write:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
    present = [*here.glob("[0-9][0-9]_*.ipynb"), *(here / "solutions").glob("*.ipynb")]
    return found + [
        f"{path}: has no master. Next: delete it" for path in sorted(present) if path not in wanted
    ]


def minutes_drift(
    found: list[Lesson], files: tuple[Path, ...] = REPEATED, *, write: bool = False
) -> list[str]:
    """Rows of ``files`` whose minutes differ from the title cell; ``write`` corrects them."""
    given = {lesson.name[:2]: minutes(lesson) for lesson in found}
    wrong = []
    for path in filter(Path.exists, files):
        text = right = path.read_text(encoding="utf-8")
        for row in ROW.finditer(text):
            if (numbers := given.get(row[2])) is None:
                continue
            line = f"{row[1]} {numbers[0]} | {numbers[1]} | {numbers[2]} |"
            if line != row[0]:
                wrong.append(
                    f"{path}: the minutes of {row[2]} are not {numbers}, those of its title cell."
                    " Next: python notebooks/tool.py build"
                )
                right = right.replace(row[0], line)
        if write and right != text:
            path.write_text(right, encoding="utf-8", newline="\n")
    return wrong


def table(found: list[Lesson]) -> str:
    """The notebooks in numbers, as a table in Markdown."""
    lines = [
        "| notebook | words | code cells | longest cell | exercises | questions | reading |"
        " computing | exercises |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        headings = [part.heading for part in one.parts]
        counts = (
            words(one.prose),
            len(one.code),
            max(map(lines_of, one.code), default=0),
            sum(heading.startswith("### Exercise") for heading in headings),
            sum(heading.startswith("### Question") for heading in headings),
            *(minutes(one) or ("", "", "")),
        )
        name = headings[0].removeprefix("# ")
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main(arguments: list[str], here: Path = HERE) -> int:
    """``build`` writes the copies; ``build`` and ``check`` name what is wrong; ``table`` counts.
    Returns the exit code.
    """
    if arguments not in (["build"], ["check"], ["table"]):
        print("usage: python notebooks/tool.py build|check|table", file=sys.stderr)
        return 2
    found = [lesson(master) for master in masters(here)]
    if arguments == ["table"]:
        print(table(found))
        return 0
    repeated = REPEATED if here == HERE else ()
    if arguments == ["build"]:
        minutes_drift(found, repeated, write=True)
        drift(here, write=True)
    wrong = [*minutes_drift(found, repeated), *drift(here)]
    wrong += [
        f"{here / 'masters' / one.name}.py: {problem}" for one in found for problem in problems(one)
    ]
    print(*wrong, f"{len(found)} masters, {len(wrong)} problems", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
