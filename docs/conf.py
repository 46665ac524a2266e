"""Sphinx's settings for the site; ``website.py`` copies them beside the pages it prepares."""

import re
import sys
from functools import partial
from pathlib import Path
from tomllib import loads

from docutils.nodes import Element, SkipNode
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.highlighting import lexers
from sphinx.writers.html5 import HTML5Translator as HTMLTranslator

from ssltut.text import markup

HERE = Path(__file__).resolve().parent
ROOT = next(folder for folder in HERE.parents if (folder / "pyproject.toml").is_file())
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]

project = "ssltut"
author = "the ssltut contributors"
copyright = f"{author}, Apache-2.0"  # noqa: A001 - the name Sphinx reads
release = loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_static"]
html_static_path = ["_static"]
html_css_files = ["ssltut.css"]
nb_execution_mode = "off"  # the notebooks come executed
# Of a picture's forms, the one that has the alt text.
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "sphinx_book_theme"
html_title = "ssltut"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_copy_source = html_show_sourcelink = False
html_show_search_summary = False  # quotes are fetched, which a page in a folder may not do
html_math_renderer = "mathtext"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": False}
add_module_names = python_use_unqualified_type_names = False
maximum_signature_line_length = 100
# Only our own names are held to exist: the manuals of others cannot be asked without a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!ssltut\.).*"),
    (r"py:.*", r"ssltut\..*\.([A-Z]|Drawn)"),  # type variables
]
default_role = "code"
lexers["layers"] = TextLexer()  # the list in architecture.md


def as_rst(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Our docstrings are plain text with ``code``: tables stay as they are, and stars and bars are
    only characters.
    """
    paragraphs = "\n".join(lines).strip().split("\n\n")
    made = []
    for n, text in enumerate(paragraphs):
        is_table = n > 0 and re.search(r"\S {2,}\S|^ |\n ", text)
        if is_table:
            indented = re.sub("^", "   ", text, flags=re.MULTILINE)
            made.append(f".. code-block:: text\n\n{indented}")
        else:
            parts = re.split(r"(``.+?``)", text, flags=re.DOTALL)
            made.append("".join(part if part.startswith("``") else escaped(part) for part in parts))
    lines[:] = [*"\n\n".join(made).splitlines(), ""]


def escaped(text: str) -> str:
    """``text`` without marks that reStructuredText would read."""
    return re.sub(r"([*|_\\])", r"\\\1", text)


def skip(
    app: Sphinx, what: str, name: str, thing: object, skipped: bool, options: object
) -> bool | None:
    """Leave out what Python wrote: the fields of a NamedTuple."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Formulas drawn by matplotlib, so that no script has to come from elsewhere."""
    from pages import formula

    def draw(translator: HTMLTranslator, node: Element, *, block: bool) -> None:
        tex = node.astext()
        translator.body.append(
            formula(tex, block=block) or f"<code>{markup(' '.join(tex.split()))}</code>"
        )
        raise SkipNode

    inline = partial(draw, block=False)
    block = partial(draw, block=True)
    app.add_html_math_renderer("mathtext", (inline, None), (block, None))
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("autodoc-skip-member", skip)
