"""What every notebook keeps to. ``problems(lesson)`` names what a master breaks, one line each.

The scaffold is described in CONTRIBUTING.md; each rule below is a function from a ``Lesson`` to
its problems, and RULES lists them. Links that start with ``../`` are read from the project's
folder, all others from the folder of the notebooks.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = "../docs/glossary.md"
MAX_WORDS, MAX_CELLS, MAX_LINES, MAX_WIDTH = 1000, 25, 15, 88
KINDS = (("write",), ("predict", "choose"), ("repair", "explain"))
HINT, EXPECTED = "Hint", "What it should look like"
LABELS = ("Why.", "Look for.", "So.")
MARKED = ("New words:", "In the code:", "Sources:")
REFERENCE = "*A reference page.*"
OPENING, CLOSING = "## You will be able to", "## You can now"
# Words that a reader cannot guess: their first use, or a place before it, links to what they mean.
LINKED = ("HD95", "nats", "EMA", "AUROC")

MINUTES = re.compile(
    r"^\*Minutes at class size on two cores: reading (\d+), computing (\d+), exercises (\d+)\.\*$",
    re.MULTILINE,
)
BLOCK = re.compile(
    r"^([ \t]*)# >>> solution: (\S.*)\n((?:.*\n)*?)[ \t]*# <<< solution[ \t]*$", re.MULTILINE
)
WRONG = re.compile(r"^\s*#\| ?(.*)$")  # a line that a learner is to repair
DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@dataclass
class Part:
    """A heading with the text and the code cells below it, down to the next heading."""

    heading: str
    text: str = ""
    code: list[NotebookNode] = field(default_factory=list)


@dataclass(frozen=True)
class Lesson:
    """A master: its name (``03_uncertainty``), its cells, and the folder of the notebooks."""

    name: str
    folder: Path
    book: NotebookNode

    @property
    def cells(self) -> list[NotebookNode]:
        """The cells that a learner sees."""
        return [cell for cell in self.book.cells if "instructor" not in tags(cell)]

    @property
    def reference(self) -> bool:
        """Whether it is a page to look things up in, without exercises and questions."""
        return REFERENCE in self.parts[0].text

    @property
    def code(self) -> list[NotebookNode]:
        """All code cells."""
        return [cell for cell in self.book.cells if cell.cell_type == "code"]

    @property
    def prose(self) -> str:
        """All text that a learner reads, folded parts included."""
        return "\n\n".join(cell.source for cell in self.cells if cell.cell_type == "markdown")

    @property
    def parts(self) -> list[Part]:
        """The notebook cut at its headings."""
        found = [Part("")]
        for cell in self.cells:
            if cell.cell_type == "code":
                found[-1].code.append(cell)
                continue
            for text in re.split(r"^(?=#{1,4} )", FENCE.sub("", cell.source), flags=re.MULTILINE):
                heading, _, below = text.partition("\n")
                if heading.startswith("#"):
                    found.append(Part(heading.strip(), below))
                else:
                    found[-1].text += "\n" + text
        return found[1:] if not (found[0].text.strip() or found[0].code) else found

    def part(self, heading: str) -> Part | None:
        """The part under this heading."""
        return next((part for part in self.parts if part.heading == heading), None)


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def words(text: str) -> int:
    """Words to read: neither HTML nor the addresses of links count."""
    shown = LINK.sub(r"\2", re.sub(r"<[^>]+>", " ", text)).split()
    return sum(bool(re.search(r"\w", word)) for word in shown)


def minutes(lesson: Lesson) -> tuple[int, int, int] | None:
    """Minutes of reading, computing and exercises, as the title cell gives them."""
    found = MINUTES.search(lesson.parts[0].text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def lines_of(cell: NotebookNode) -> int:
    """Lines of code in a cell; empty lines and comments do not count."""
    lines = [line.strip() for line in cell.source.splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def anchors(text: str) -> set[str]:
    """The anchors of the glossary's words, which are its headings."""
    headings = re.findall(r"^#{2,4} (.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", word.lower()).replace(" ", "-") for word in headings}


def title(lesson: Lesson) -> Iterator[str]:
    number = lesson.name[:2]
    if not re.fullmatch(rf"# {number} · \S.*", lesson.parts[0].heading):
        yield f"does not open with '# {number} · Title'"
    if minutes(lesson) is None:
        yield (
            "the title cell has no line '*Minutes at class size on two cores: reading 10,"
            " computing 3, exercises 15.*'"
        )


def bullets(text: str) -> list[str]:
    """The bullets of the first list in ``text``, wrapped lines joined."""
    items: list[str] = []
    for line in text.splitlines():
        if line.startswith("- "):
            items.append(line[2:].strip())
        elif items and line.startswith("  "):
            items[-1] += " " + line.strip()
        elif items:
            break
    return items


def promises(lesson: Lesson) -> Iterator[str]:
    first, last = lesson.part(OPENING), lesson.part(CLOSING)
    opened = bullets(first.text) if first else []
    closed = bullets(last.text) if last else []
    if not opened:
        yield f"has no list under '{OPENING}'"
    elif [end[: len(start)] for start, end in zip(opened, closed, strict=False)] != opened or len(
        opened
    ) != len(closed):
        yield f"the list under '{CLOSING}' is not the opening one (answers may follow each text)"
    if last and lesson.parts[-1].heading != CLOSING:
        yield f"'{lesson.parts[-1].heading}' comes after '{CLOSING}'"


def glossary(lesson: Lesson) -> Iterator[str]:
    opening = lesson.part(OPENING)
    line = re.search(
        r"^\*\*New words:\*\*(.*(?:\n.+)*)", opening.text if opening else "", re.MULTILINE
    )
    if line is None or GLOSSARY not in line[1]:
        yield f"no line '**New words:**' with links to {GLOSSARY} under '{OPENING}'"
    known = anchors((ROOT / GLOSSARY.removeprefix("../")).read_text(encoding="utf-8"))
    for _, text, address in LINK.findall(lesson.prose):
        file, _, anchor = address.partition("#")
        if file == GLOSSARY and anchor not in known:
            yield f"[{text}] leads to '#{anchor}', which the glossary does not have"
    linked = ""
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            linked += " ".join(text for _, text, _ in LINK.findall(cell.source)) + " "
        for word in LINKED:
            pattern = rf"\b{word}\b"
            if re.search(pattern, cell.source) and not re.search(pattern, linked):
                linked += word  # named once
                yield f"'{word}' is used before a link says what it means"


def sections(lesson: Lesson) -> Iterator[str]:
    numbered = []
    for part in lesson.parts[1:]:
        if not part.heading.startswith("## ") or part.heading in (OPENING, CLOSING):
            continue
        if found := re.match(r"## (\d+)\. \S", part.heading):
            numbered.append(int(found[1]))
        else:
            yield f"'{part.heading}': sections are '## 1. Name'"
    if not numbered or numbered != list(range(1, len(numbered) + 1)):
        yield f"sections are numbered {numbered}, not from 1 on without a gap"


def labels(lesson: Lesson) -> Iterator[str]:
    text = MINUTES.sub("", lesson.prose).replace(REFERENCE, "")
    found = re.findall(r"(?<![*\w])(\*{1,2})([A-Z][^*\n]{1,24}[.:?])\1(?!\*)", text)
    for stars, label in found:
        if stars != "**" or label not in (*LABELS, *MARKED):
            yield f"the label '{stars}{label}{stars}': only {', '.join(LABELS)} are used"


def exercises(lesson: Lesson) -> Iterator[str]:
    parts = [part for part in lesson.parts if re.match(r"#+ exercise", part.heading.lower())]
    wanted = [f"### Exercise {n} · {' or '.join(kind)}" for n, kind in enumerate(KINDS, 1)]
    allowed = [[f"### Exercise {n} · {name}" for name in kind] for n, kind in enumerate(KINDS, 1)]
    headings = [part.heading for part in parts]
    if len(headings) != 3 or any(
        found not in names for found, names in zip(headings, allowed, strict=True)
    ):
        yield f"exercises are {headings or 'missing'}, not {wanted}"
    for n, part in enumerate(parts, 1):
        yield from (f"exercise {n}: {problem}" for problem in _exercise(n, part))


def _exercise(n: int, part: Part) -> Iterator[str]:
    folded = dict(DETAILS.findall(part.text))
    if list(folded) != [HINT, EXPECTED]:
        yield f"its folded parts are {list(folded)}, not '{HINT}' and '{EXPECTED}'"
    steps = [tag for cell in part.code for tag in tags(cell) if tag in ("solution", "check")]
    if steps != ["solution", "check"]:
        yield f"needs a solution cell and then its check cell, has {' '.join(steps) or 'none'}"
    for cell in part.code:
        if "check" in tags(cell) and not re.search(
            rf"^with check\([\"']{n}[\"']\):", cell.source, re.MULTILINE
        ):
            yield f"its check cell has no 'with check(\"{n}\"):'"
        for _, _, answer in BLOCK.findall(cell.source):
            lines = [line.strip() for line in answer.splitlines()]
            given = [line for line in lines if len(line) >= 10 and line in folded.get(HINT, "")]
            yield from (f"its hint holds the solution: {line}" for line in given)


def questions(lesson: Lesson) -> Iterator[str]:
    parts = [part for part in lesson.parts if re.match(r"#+ question", part.heading.lower())]
    if [part.heading for part in parts] != ["### Question 1", "### Question 2"]:
        yield "needs '### Question 1' and '### Question 2'"
    for part in parts:
        options = re.findall(r"^- \**([A-Z])\b", DETAILS.sub("", part.text), re.MULTILINE)
        if options != ["A", "B", "C", "D"]:
            yield f"{part.heading[4:]}: its options are {options}, not A, B, C and D"
        folded = " ".join(f"{name} {text}" for name, text in DETAILS.findall(part.text))
        if missing := [name for name in "ABCD" if not re.search(rf"\b{name}\b", folded)]:
            yield f"{part.heading[4:]}: no folded answer says anything of {', '.join(missing)}"


def closing(lesson: Lesson) -> Iterator[str]:
    last = lesson.part(CLOSING)
    text = last.text if last else ""
    for mark, pattern in {
        "In the code:": r"\]\(\.\./ssltut/",
        "Sources:": r"\]\(https://(?:doi\.org|arxiv\.org)/",
    }.items():
        line = re.search(rf"^\*\*{mark}\*\*(.*(?:\n.+)*)", text, re.MULTILINE)
        if line is None or not re.search(pattern, line[1]):
            yield f"no line '**{mark}**' with links {pattern.replace(chr(92), '')} at the end"


def links(lesson: Lesson) -> Iterator[str]:
    for picture, text, address in LINK.findall(lesson.prose):
        file = address.partition("#")[0]
        if picture and not text.strip():
            yield f"the picture {address} has no alternative text"
        if not file or re.match(r"\w+:", file):
            continue
        inside = file.removeprefix("../")
        path = (ROOT / inside) if file.startswith("../") else (lesson.folder / file)
        master = lesson.folder / "masters" / Path(file).with_suffix(".py")
        if not path.exists() and not (file.endswith(".ipynb") and master.exists()):
            yield f"[{text}] leads to {address}, which does not exist"
    for summary, text in DETAILS.findall(lesson.prose):
        if re.search(r"[`*$]|\]\(", text) and not re.match(r"\n\s*\n", text):
            yield f"under '{summary}' Markdown needs an empty line after </summary>"


def limits(lesson: Lesson) -> Iterator[str]:
    if (count := words(lesson.prose)) > MAX_WORDS:
        yield f"{count} words of text, more than {MAX_WORDS}"
    if len(lesson.code) > MAX_CELLS:
        yield f"{len(lesson.code)} code cells, more than {MAX_CELLS}"
    for n, cell in enumerate(lesson.code, 1):
        if (count := lines_of(cell)) > MAX_LINES:
            yield f"code cell {n}: {count} lines, more than {MAX_LINES}; write it in the package"
        if (width := max(map(len, cell.source.splitlines()), default=0)) > MAX_WIDTH:
            yield f"code cell {n}: a line of {width} characters, more than {MAX_WIDTH}"


def parameters(lesson: Lesson) -> Iterator[str]:
    if (count := sum("parameters" in tags(cell) for cell in lesson.code)) != 1:
        yield f"{count} cells tagged parameters instead of one"
    for cell in lesson.code:
        if "parameters" in tags(cell) and not assigned(cell.source, literals=True):
            yield "the cell tagged parameters does more than give names a text, a number or a bool"


def answers(lesson: Lesson) -> Iterator[str]:
    for n, cell in enumerate(lesson.code, 1):
        blocks = BLOCK.findall(cell.source)
        if len(re.findall(r"(?:>>>|<<<) solution", cell.source)) != 2 * len(blocks):
            yield (
                f"code cell {n}: a marker that is not one of a pair '# >>> solution: what to do'"
                " and '# <<< solution'"
            )
        if ("solution" in tags(cell)) != bool(blocks):
            found = "markers without the tag" if blocks else "tag without markers"
            yield f"code cell {n}: solution {found}"
        for indent, _, answer in blocks:
            wrong = any(map(WRONG.match, answer.splitlines()))
            if not indent and not wrong and not assigned(answer):
                yield (
                    f"code cell {n}: an answer outside a function is made of assignments to names,"
                    " so that its stub can be 'name = ...'"
                )


def assigned(answer: str, *, literals: bool = False) -> list[str]:
    """The names that an answer outside a function assigns; empty when it does anything else.

    ``literals``: empty also when a value is no text, number or bool.
    """
    names = []
    for statement in ast.parse(answer).body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            return []
        if not isinstance(target := statement.targets[0], ast.Name):
            return []
        if literals and not isinstance(statement.value, ast.Constant):
            return []
        names.append(target.id)
    return names


def pictures(lesson: Lesson) -> Iterator[str]:
    for n, cell in enumerate(lesson.code, 1):
        tree = ast.parse(TransformerManager().transform_cell(cell.source))
        yield from (f"code cell {n}: {problem}" for problem in _pictures(tree))


def _pictures(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ssltut.show"):
            yield "imports from ssltut.show: write show.name(...), so that alt= can be checked"
        if not isinstance(node, ast.Call) or not isinstance(at := node.func, ast.Attribute):
            continue
        if isinstance(at.value, ast.Name) and at.value.id == "show":
            named = [keyword.arg for keyword in node.keywords]
            if at.attr not in ("frontend", "surface", "densest") and "alt" not in named:
                yield f"show.{at.attr} without alt="
        elif at.attr == "show" and not node.args:
            yield f"{ast.unparse(at)}() draws a figure without alt text"


RULES: tuple[Callable[[Lesson], Iterator[str]], ...] = (
    title,
    promises,
    glossary,
    sections,
    labels,
    exercises,
    questions,
    closing,
    links,
    limits,
    parameters,
    answers,
    pictures,
)


def problems(lesson: Lesson) -> list[str]:
    """What breaks the rules in a master, one line each; empty when it is sound."""
    left_out = (exercises, questions) if lesson.reference else ()
    return [problem for rule in RULES if rule not in left_out for problem in rule(lesson)]
