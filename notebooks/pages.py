"""Executed notebooks as pages that are read without a network: no scripts, pictures inside,
formulas drawn by matplotlib.
"""

import base64
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import nbformat
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from PIL import Image
from pygments.formatters import HtmlFormatter

from ssltut.text import markup

STYLE = """
body { font: 17px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 60rem }
body { margin: 2rem auto; padding: 0 1rem }
a { color: #00558a } h1, h2, h3 { line-height: 1.2 } img { max-width: 100%; height: auto }
pre { font: 14px/1.4 ui-monospace, monospace; overflow-x: auto; margin: 0; white-space: pre-wrap }
.input_area { background: #f4f5f7; border-left: 4px solid #0072b2; padding: .6rem .8rem }
.input_area { margin: .8rem 0 .3rem }
.output_area { margin: .3rem 0 .6rem } .output_stderr { background: #fdf3d8 }
.prompt, .anchor-link { display: none }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #c8ccd0; padding: .25rem .7rem; text-align: left }
blockquote { border-left: 4px solid #ccc; margin-left: 0; padding-left: 1rem }
.card { display: flex; gap: 1.2rem; align-items: center; padding: 1rem 0 }
.card { border-bottom: 1px solid #c8ccd0 } .card img { width: 15rem }
""" + HtmlFormatter(style="default").get_style_defs(".highlight")
SHOWN = {
    "image/png",
    "image/jpeg",
    "image/svg+xml",
    "text/html",
    "text/markdown",
    "text/latex",
    "text/plain",
}
NO_PICTURE = "(a live view that was saved without a picture: run the notebook to see it)"
MATH = re.compile(
    r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|(?<!\\)\$(?![\s\d])([^$\n]+?)(?<!\s)\$|\\?\$", re.DOTALL
)
# Pictures that a notebook's text shows, as a solution links them.
FIGURE = re.compile(r"!\[([^\]]*)\]\((?:\.\./)?figures/([\w.-]+)\)")
FIGURES = Path(__file__).resolve().parent / "figures"
BADGE = re.compile(r"!\[([^\]]*)\]\(https?://[^)]*\)")


@dataclass
class Card:
    """One notebook of the tour, as the index shows it: its page, how long it took and how much
    memory (MiB) its kernel needed.
    """

    notebook: Path
    seconds: float
    peak_mib: float
    cpu_s: float = 0.0


def page(title: str, body: str) -> str:
    """A whole HTML page."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,'
        f' initial-scale=1"><title>{markup(title)}</title>'
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}<style>{STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main></body>\n</html>\n"
    )


def notebook_page(book: nbformat.NotebookNode) -> str:
    """An executed notebook as one page; widgets stand as the pictures saved beside them."""
    book = nbformat.from_dict(book)
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = prose(cell.source)
        for output in cell.get("outputs", []):
            if {"image/png", "image/svg+xml"} & set(data := output.get("data", {})):
                data.pop("text/html", None)  # a live view wants scripts: its picture is the page's
            elif data and not SHOWN & set(data):
                output.data = {"text/plain": NO_PICTURE}
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(book)
    return page(title(book), f'<p><a href="index.html">All notebooks</a></p>\n{body}')


def prose(text: str) -> str:
    """Markdown of a solution with its pictures and formulas inside, and links to other pages."""
    text = FIGURE.sub(_figure, BADGE.sub(r"\1", text))
    return links_of_a_page(MATH.sub(_formula, text))


def links_of_a_page(text: str) -> str:
    """``text`` of a solution with links to the pages that lie beside its own."""
    text = text.replace("](../../docs/glossary.md", "](glossary.html")
    return re.sub(r"\]\((\d\d_\w+)\.ipynb", r"](\1.html", text)


def glossary_page(text: str) -> str:
    """The glossary beside the pages of the notebooks; ``text`` is docs/glossary.md."""
    return page("Glossary", f'<p><a href="index.html">All notebooks</a></p>\n{markdown2html(text)}')


def _figure(found: re.Match) -> str:
    """A picture of the text, inside the page."""
    picture = base64.b64encode((FIGURES / found[2]).read_bytes()).decode()
    return f'<img alt="{markup(found[1])}" src="data:image/png;base64,{picture}">'


def _formula(found: re.Match) -> str:
    """What MATH found: a formula as a picture, a dollar as a dollar, code as it was."""
    code, block, inline = found.groups()
    if not (block or inline):
        return code or "&#36;"
    return formula(block or inline, block=bool(block)) or f"`{' '.join((block or inline).split())}`"


def formula(tex: str, *, block: bool = False) -> str:
    """A formula as an inline picture with its TeX as the alternative text; "" where matplotlib's
    mathtext cannot draw it.
    """
    tex, buffer = " ".join(tex.split()), BytesIO()
    try:
        depth = math_to_image(f"${tex}$", buffer, prop=FontProperties(size=13), format="svg")
    except ValueError:
        return ""
    picture = base64.b64encode(buffer.getvalue()).decode()
    style = "display:block;margin:1rem auto" if block else f"vertical-align:-{depth:.1f}pt"
    return (
        f'<img class="formula" alt="{markup(tex)}" style="{style}"'
        f' src="data:image/svg+xml;base64,{picture}">'
    )


def title(book: nbformat.NotebookNode) -> str:
    """The first heading of a notebook."""
    found = re.search(
        r"^# (.+)$",
        "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown"),
        re.MULTILINE,
    )
    return found[1].strip() if found else "Untitled"


def index_page(cards: list[Card], results: pd.DataFrame) -> str:
    """The start page: a card per notebook, then the table of all numbers."""
    total = sum(card.seconds for card in cards) / 60
    parts = [
        f"<h1>ssltut: the tour</h1>\n<p>{len(cards)} notebooks in {total:.1f} minutes. Every number"
        " below comes from these runs.</p>"
    ]
    for card in cards:
        book = nbformat.read(card.notebook, as_version=4)
        href, name = card.notebook.with_suffix(".html").name, markup(title(book))
        parts.append(
            f'<div class="card">{_thumbnail(book, name)}<div><h2><a href="{href}">{name}</a></h2>'
            f"<p>{card.seconds / 60:.1f} minutes, {card.peak_mib:,.0f} MiB at most</p></div></div>"
        )
    parts.append("<h2>Numbers</h2>")
    table = (
        results.to_html(index=False, border=0)
        if len(results)
        else "<p>No notebook wrote a number.</p>"
    )
    parts.append(f'<div style="overflow-x:auto">{table}</div>')
    return page("ssltut: the tour", "\n".join(parts))


def _thumbnail(book: nbformat.NotebookNode, name: str) -> str:
    """The first picture of a notebook, at most 480 pixels wide; nothing where there is none."""
    outputs = (
        output
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    )
    if (output := next(outputs, None)) is None:
        return ""
    picture, buffer = (
        Image.open(BytesIO(base64.b64decode(output["data"]["image/png"]))).convert("RGB"),
        BytesIO(),
    )
    picture.thumbnail((480, 480))
    picture.save(buffer, "PNG", optimize=True)
    alt = markup(
        output.get("metadata", {}).get("image/png", {}).get("alt", f"First picture of {name}")
    )
    return (
        f'<img alt="{alt}"'
        f' src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
    )


class _Loads(HTMLParser):
    """Collects what a browser would fetch or run when it opens a page; links a reader may click are
    not among it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.found.append("a script")
            return
        for name, value in attrs:
            fetches = name in ("src", "srcset", "data", "poster") or (
                name == "href" and tag in ("link", "base", "image", "use")
            )
            if (fetches and not (value or "").startswith(("data:", "#"))) or (
                name == "style" and _styled(value)
            ):
                self.found.append(f"<{tag} {name}={(value or '')[:80]!r}>")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style" and _styled(data):
            self.found.append("a style that loads a file")


def _styled(text: str | None) -> bool:
    return bool(re.search(r"@import|url\(\s*['\"]?(?!data:|#)", text or ""))


def loads(text: str) -> list[str]:
    """What opening this page would fetch from elsewhere or run; empty for a page that needs nothing
    but itself.
    """
    parser = _Loads()
    parser.feed(text)
    return parser.found
