"""Words that readers of another mother tongue stumble over do not come back.

The list is short and holds what reviewers of the notebooks named. It is for prose: notebooks,
pages, and what ssltut prints. A word in code or in a link is not read.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tool
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).resolve().parents[2]
# What must not stand there: what to write instead.
INSTEAD = {
    r"told(?! apart)": "reported, or: you are warned",
    r"vouch\w*": "agree with, or: support",
    r"outshin\w*": "is brighter than",
    r"(?:the|a|our|this|that|each|project's|first|second|old|new|no) records?": "the results table",
    r"(?:table|number|row)s? of record": "the results table",
    r"held against": "compared with",
    r"who believes": "anyone who trusts",
    r"carry(?:ing)? names along": "without patient identities",
    r"to its grave": "lost when its process died",
    r"doubt that was": "unsure and wrong (good warning), or: unsure but right (false alarm)",
    r"lets? through": "misses",
    r"(?:cut|lie) alike|like places?": "cropped in the same way, or: in the same place",
    r"loudly": "how much it weighs",
    r"lotter(?:y|ies)": "close to chance",
    r"portraits?": "picture",
    r"phantoms?": "synthetic scans",
    r"amid|lest|whereof|wherein|thereby|for want of": "among, so that not, in which",
    r"the like": "anything like it",
    r"but for": "except for",
    r"hardly an?": "almost no",
    r"shuts? out": "leaves out",
    r"on a switch": "can be switched off",
    r"nor can it": "and none can",
    r"is no (?:scan|list|volume|table|proof|rival|medical)": "is not a ...",
}
FORBIDDEN = {
    re.compile(rf"\b(?:{word})\b", re.IGNORECASE): instead for word, instead in INSTEAD.items()
}
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|https?://\S+|<a id=[^>]*>", re.DOTALL)
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
WRITTEN = tool.masters()


def findings(text: str) -> list[str]:
    """Words of ``text`` that must not stand there, with what to write instead."""
    prose = " ".join(NOT_PROSE.sub(" ", text).split())
    return [
        f"'{found[0]}' in '...{prose[max(0, found.start() - 40) : found.end() + 20]}...': {instead}"
        for pattern, instead in FORBIDDEN.items()
        for found in pattern.finditer(prose)
    ]


def strings(source: str) -> Iterator[str]:
    """What Python code may print: its strings of three words and more, without docstrings."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) and id(node) not in alone else ""
        if isinstance(value, str) and len(value.split()) > 2:
            yield value


def text_of(master: Path) -> str:
    """What a notebook says: its prose and the strings of its code."""
    parts = []
    for cell in tool.read(master).cells:
        code = cell.cell_type == "code"
        transformed = TransformerManager().transform_cell(cell.source) if code else ""
        parts += strings(transformed) if code else [cell.source]
    return "\n\n".join(parts)


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_in_plain_words(page: str) -> None:
    found = findings((ROOT / page).read_text(encoding="utf-8"))
    assert not found, "\n".join([page, *found])


@pytest.mark.parametrize("master", WRITTEN, ids=[path.stem for path in WRITTEN])
def test_notebooks_are_in_plain_words(master: Path) -> None:
    found = findings(text_of(master))
    assert not found, "\n".join([master.name, *found])


def test_messages_are_in_plain_words() -> None:
    files = sorted((ROOT / "ssltut").rglob("*.py"))
    found = {
        str(file.relative_to(ROOT)): problems
        for file in files
        if (problems := findings("\n\n".join(strings(file.read_text(encoding="utf-8")))))
    }
    assert not found, found


def test_a_word_is_found_in_prose_and_not_in_code() -> None:
    (found,) = findings("A class whose volume moved is told.")
    assert "'told'" in found
    assert found.endswith("you are warned")
    assert findings("`told` and [here](told.md) and ```\ntold\n```") == []
    assert findings("Retold, we record what records say.") == []
    assert len(findings("the record, and a table of record")) == 2
    assert list(strings('"""is told here so"""\nx = "it is told"\ny = "told"')) == ["it is told"]
