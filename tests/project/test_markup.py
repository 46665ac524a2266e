"""Text from files becomes HTML, and reaches a terminal, only through the helper for it."""

import ast
import re

import pytest
from source import MODULES, ROOT, imported_names, listed, parse, short

from ssltut.errors import DataError
from ssltut.text import markup, plain

OWN = [*(ROOT / "notebooks").glob("*.py"), *(ROOT / "docs").glob("*.py")]
SOURCES = [*MODULES, *sorted(OWN)]
TAG = re.compile(r"<[a-zA-Z/!]|&\w+;")
NUMBER = re.compile(r"[bdefgx%]$")  # how a number is formatted
# The helper, a colour as #rrggbb, and the functions below whose value is HTML.
SAFE = re.compile(
    r"\bmarkup\b|^(widgets\.)?"
    r"(to_hex|announced|html_table|answers_html|legend|rendered|markdown2html)\("
)
# What stands in HTML as it is: HTML, numbers, and words of our own.
KNOWN: dict[str, list[str]] = {
    "ssltut/intake/report.py": ["frame.to_html(index=False, escape=False, border=0)", "name"],
    "ssltut/show/live/correspondence.py": ["self.at", "self.k.value"],
    "ssltut/show/live/planes.py": [
        "'&emsp;'.join(marks)",
        "ANGLES[(c - 1) % len(ANGLES)]",
        "low",
    ],
    "ssltut/show/live/slices.py": ["', '.join(map(str, at))", "where"],
    "ssltut/show/live/surface.py": ["at"],
    "ssltut/show/live/volume.py": ["front._repr_mimebundle_()[0]['text/html']"],
    "ssltut/show/live/widgets.py": ["'</tr><tr>'.join(cells)", "cell", "size", "text"],
    "ssltut/show/static/pictures.py": [
        "ONE_OF_TWO",
        "base64.b64encode(self.png).decode()",
        "self.page",
        "self.role",
    ],
    "docs/accessible.py": [  # HTML that Sphinx made
        "found[1]",
        "found[1].replace('<dd>', '<span class=\"sig-line\">').replace('</dd>', '</span>')",
        "found[2]",
        "found[3]",
        "re.sub('<[^>]*>', '', found[2])",
    ],
    "docs/live_views.py": [  # names of our own views, and classes of the synthetic hips
        "name",
        "names[case.label[at]]",
        "names[said]",
        "tuple(map(int, at))",
    ],
    "docs/method_pages.py": ["module.replace('.', '/')"],
    "docs/cheat_sheet.py": [
        "STYLE",
        "diagram.replace('<svg ', start, 1)",
        "re.sub('<a class=\"anchor-link\".*?</a>', '', '\\n'.join(parts))",
    ],
    "docs/handout.py": [
        "base64.b64encode(base64.b64decode(picture.png)).decode()",
        "body",
        "kind",
        "style",
    ],
    "notebooks/pages.py": [
        "STYLE",
        "_thumbnail(book, name)",
        "base64.b64encode((FIGURES / found[2]).read_bytes()).decode()",
        "base64.b64encode(buffer.getvalue()).decode()",
        "body",
        "card.notebook.with_suffix('.html').name",
        "len(cards)",
        "results.to_html(index=False, border=0)",
    ],
    "notebooks/rules.py": ["summary"],
}


def built_markup(tree: ast.Module) -> list[str]:
    """What is put into HTML as it is, in f-strings with tags, ``HTML(...)`` and tables."""
    found = []
    for scope in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))]:
        values = assigned(scope)
        for node in inside(scope):
            if isinstance(node, ast.JoinedStr):
                words = [part.value for part in node.values if isinstance(part, ast.Constant)]
                if TAG.search("".join(words)):
                    found += [raw(part, values) for part in node.values]
            elif isinstance(node, ast.Call):
                name, text = ast.unparse(node.func), ast.unparse(node)
                if name.endswith("HTML"):
                    found += [raw(argument, values) for argument in node.args]
                elif name.endswith(".to_html") and "escape=False" in text:
                    found.append(raw(node.func.value, values))
    return [text for text in found if text]


def inside(scope: ast.AST) -> list[ast.AST]:
    """The nodes of a function or module, without those of the functions in it."""
    nodes = []
    for child in ast.iter_child_nodes(scope):
        nodes.append(child)
        if not isinstance(child, ast.FunctionDef):
            nodes += inside(child)
    return nodes


def assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """Everything that each name of a function is given."""
    values: dict[str, list[ast.expr]] = {}
    for node in inside(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                for name, value in pairs:
                    values.setdefault(ast.unparse(name), []).append(value)
    return values


def raw(node: ast.expr, values: dict[str, list[ast.expr]]) -> str:
    """The expression, unless it is text of the source, a formatted number or made by ``markup``."""
    if isinstance(node, ast.FormattedValue):
        if node.format_spec is not None and NUMBER.search(ast.unparse(node.format_spec)[2:-1]):
            return ""
        node = node.value
    if isinstance(node, ast.IfExp):
        return raw(node.body, values) or raw(node.orelse, values)
    if isinstance(node, ast.Constant) or SAFE.search(ast.unparse(node)):
        return ""
    if isinstance(node, ast.JoinedStr):
        return next((name for part in node.values if (name := raw(part, values))), "")
    if isinstance(node, ast.Name) and node.id in values:
        return next((name for value in values[node.id] if (name := raw(value, values))), "")
    return ast.unparse(node)


@pytest.mark.parametrize("file", SOURCES, ids=short)
def test_no_text_becomes_html_as_it_is(file) -> None:
    found = set(built_markup(parse(file)))
    known = set(KNOWN.get(short(file), ()))
    assert found == known, f"use ssltut.text.markup, or list what is safe: {listed(found ^ known)}"


def test_there_is_one_helper() -> None:
    found = [
        f"{short(file)}: {name}"
        for file in SOURCES
        for name in imported_names(parse(file))
        if name in ("html", "html.escape", "xml.sax.saxutils.escape")
    ]
    assert found == ["ssltut/text.py: html"]


def test_no_notebook_writes_html() -> None:
    masters = sorted((ROOT / "notebooks" / "masters").glob("*.py"))
    found = [f.name for f in masters if re.search(r"\bHTML\(", f.read_text(encoding="utf-8"))]
    assert masters
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "HTML(name)",
        "ipywidgets.HTML(f'<b>{name}</b>')",
        "x = f'<b>{name}</b>'",
        "x = f'{count:>9}&nbsp;'",
        "def f():\n    a = name\n    return f'<b>{a}</b>'",
        "a = markup(b) if c else b\nx = f'<p>{a}'",
        "a = f'{b} of {c:d}'\nx = f'<p>{a}'",
        "frame.to_html(escape=False)",
    ],
)
def test_html_without_the_helper_is_seen(source: str) -> None:
    assert built_markup(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "HTML(f'<b>{markup(name)}</b>')",
        "x = f'{a} and {b}'",
        "x = f'<b>{share:.0%}</b>'",
        "a, b = markup(name), 'x'\nx = f'<b title=\"{a}\">{b}</b>'",
        "frame.to_html()\nframe.map(markup).to_html(escape=False)",
    ],
)
def test_html_with_the_helper_is_not(source: str) -> None:
    assert built_markup(ast.parse(source)) == []


HOSTILE = "<img src=x onerror=\"alert('1')\">\x1b[2J\r\n\u202eb\udcff&"


def test_what_a_terminal_would_obey_is_written_as_its_code() -> None:
    assert plain("a\x1b[2J\nb\x07\x9b") == r"a\x1b[2J\nb\x07\x9b"
    assert plain("\u202e\u2066\u200f\u2028\udcff") == r"\u202e\u2066\u200f\u2028\udcff"
    assert plain("Hüfte, עצם, 股骨 \\n <b>") == "Hüfte, עצם, 股骨 \\n <b>"
    assert plain(3) == "3"
    plain(HOSTILE).encode("utf-8")


def test_markup_shows_the_letters() -> None:
    text = markup(HOSTILE)
    assert not set("<>\"'\n\x1b\u202e") & set(text)
    assert text.startswith("&lt;img src=x onerror=&quot;alert(&#x27;1&#x27;)&quot;&gt;")
    assert text.endswith(r"b\udcff&amp;")


def test_a_finding_is_one_harmless_line() -> None:
    error = DataError(f"a {HOSTILE}", where=HOSTILE, fix=HOSTILE)
    assert str(error).isprintable()
    assert r"\x1b[2J" in str(error)
