"""Make and check the notebooks: ``python notebooks/tool.py build`` and ``python notebooks/tool.py
check``.

``masters/NN_name.py`` (percent format, read by jupytext) is the truth. From it come
``NN_name.ipynb`` for learners and ``solutions/NN_name.ipynb``, both without outputs and the same to
the byte on every machine. Cell tags: ``parameters``, ``solution`` (the lines between ``# >>>
solution: hint`` and ``# <<< solution`` become a stub, the tag ``exercise``), ``check`` and
``instructor`` (solutions only).
"""

import ast
import hashlib
import re
import sys
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from IPython.core.inputtransformer2 import TransformerManager

HERE = Path(__file__).resolve().parent
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MAX_WORDS, MAX_LINES = 1200, 15
OPENING, CLOSING = "you will be able to", "you can now"
BLOCK = re.compile(
    r"^([ \t]*)# >>> solution: (\S.*)\n((?:.*\n)*?)[ \t]*# <<< solution[ \t]*$", re.MULTILINE
)


def masters(here: Path = HERE) -> list[Path]:
    """The masters below ``here`` in reading order."""
    return sorted((here / "masters").glob("[0-9][0-9]_*.py"))


def read(master: Path) -> nbformat.NotebookNode:
    """The notebook a master describes, markers and all."""
    return jupytext.reads(master.read_text(encoding="utf-8"), fmt="py:percent")


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def copy(master: nbformat.NotebookNode, *, solution: bool) -> nbformat.NotebookNode:
    """The solution copy, or the student copy with a stub for every answer and without instructor
    cells.
    """
    book, seen = nbformat.v4.new_notebook(metadata=KERNEL), Counter()
    for cell in master.cells:
        if "instructor" in tags(cell) and not solution:
            continue
        code = cell.cell_type == "code"
        source = (
            BLOCK.sub((lambda block: block[3].rstrip("\n")) if solution else _stub, cell.source)
            if code
            else cell.source
        )
        new = (nbformat.v4.new_code_cell if code else nbformat.v4.new_markdown_cell)(source)
        if tags(cell):
            new.metadata["tags"] = [
                tag if solution or tag != "solution" else "exercise" for tag in tags(cell)
            ]
        key = hashlib.sha256(f"{cell.cell_type} {source}".encode()).hexdigest()[:12]
        new["id"] = (
            f"{key}-{seen[key]}" if seen[key] else key
        )  # from the content: an edit elsewhere leaves the id alone
        seen[key] += 1
        book.cells.append(new)
    return book


def _stub(block: re.Match) -> str:
    return f"{block[1]}raise NotImplementedError({'Your turn: ' + block[2].strip()!r})"


def problems(book: nbformat.NotebookNode) -> list[str]:
    """What breaks the house rules in a master, one line each; empty when it is sound."""
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    prose = [
        cell.source
        for cell in book.cells
        if cell.cell_type == "markdown" and "instructor" not in tags(cell)
    ]
    found = []
    if (count := sum("parameters" in tags(cell) for cell in code)) != 1:
        found.append(f"{count} cells tagged parameters instead of one")
    steps = [tag for cell in code for tag in tags(cell) if tag in ("solution", "check")]
    if steps != ["solution", "check"] * (len(steps) // 2) or len(steps) < 4:
        found.append(
            "needs at least two exercises, each a solution cell and then its check cell, has"
            f" {' '.join(steps) or 'none'}"
        )
    first, last = (
        [_bullets(text, mark) for text in part if mark in text.lower()]
        for part, mark in ((prose[:2], OPENING), (prose[-1:], CLOSING))
    )
    if not first or not first[0]:
        found.append(f"does not open with a list under '{OPENING}'")
    elif (
        not last
        or [end[: len(start)] for start, end in zip(first[0], last[0], strict=False)] != first[0]
        or len(last[0]) != len(first[0])
    ):
        found.append(
            f"does not close with the opening list under '{CLOSING}' (answers may follow each text)"
        )
    if (words := sum(len(text.split()) for text in prose)) > MAX_WORDS:
        found.append(f"{words} words of markdown, more than {MAX_WORDS}")
    return found + [
        f"code cell {n}: {problem}"
        for n, cell in enumerate(code, 1)
        for problem in _code_problems(cell)
    ]


def _bullets(text: str, mark: str) -> list[str]:
    """The bullets of the first list after ``mark``, wrapped lines joined."""
    items: list[str] = []
    for line in text[text.lower().index(mark) :].splitlines()[1:]:
        if line.startswith("- "):
            items.append(line[2:].strip())
        elif items and line.startswith("  "):
            items[-1] += " " + line.strip()
        elif items:
            break
    return items


def _code_problems(cell: nbformat.NotebookNode) -> list[str]:
    found, blocks = [], len(BLOCK.findall(cell.source))
    lines = [
        line
        for line in cell.source.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(lines) > MAX_LINES and "parameters" not in tags(cell):
        found.append(
            f"{len(lines)} lines, more than {MAX_LINES}: the package is the place for them"
        )
    if len(re.findall(r"(?:>>>|<<<) solution", cell.source)) != 2 * blocks:
        found.append(
            "a marker that is not one of a pair '# >>> solution: hint' and '# <<< solution'"
        )
    if ("solution" in tags(cell)) != (blocks > 0):
        found.append(
            "solution tag without markers" if not blocks else "solution markers without the tag"
        )
    tree = ast.parse(TransformerManager().transform_cell(cell.source))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        at = call.func
        if (
            isinstance(at, ast.Attribute)
            and isinstance(at.value, ast.Name)
            and at.value.id == "show"
        ):
            if at.attr not in ("frontend", "surface") and "alt" not in [
                keyword.arg for keyword in call.keywords
            ]:
                found.append(f"show.{at.attr} without alt=")
        elif isinstance(at, ast.Attribute) and at.attr == "show" and not call.args:
            found.append(f"{ast.unparse(at)}() draws a figure without alt text")
    return found + [
        "imports from ssltut.show: write show.name(...), so that alt= can be checked"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ssltut.show")
    ]


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


def main(arguments: list[str], here: Path = HERE) -> int:
    """``build`` writes the copies; both words name what is wrong. Returns the exit code."""
    if arguments not in (["build"], ["check"]):
        print("usage: python notebooks/tool.py build|check", file=sys.stderr)
        return 2
    if arguments == ["build"]:
        drift(here, write=True)
    found = drift(here) + [
        f"{master}: {problem}" for master in masters(here) for problem in problems(read(master))
    ]
    print(*found, f"{len(masters(here))} masters, {len(found)} problems", sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
