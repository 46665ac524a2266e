"""Sphinx's settings for the site; ``website.py`` puts this file beside the pages it has prepared
and builds them.
"""

import re
import sys
from html import escape
from pathlib import Path
from tomllib import loads

HERE = Path(__file__).resolve().parent
ROOT = next(folder for folder in HERE.parents if (folder / "pyproject.toml").is_file())
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks")]

project, author, copyright = (
    "ssltut",
    "the ssltut contributors",
    "the ssltut contributors, Apache-2.0",
)
release = loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns, html_static_path, html_css_files = ["_static"], ["_static"], ["ssltut.css"]
nb_execution_mode = "off"  # the notebooks come executed
nb_mime_priority_overrides = [
    ("html", "text/html", 0)
]  # of a picture's forms, the one that has the alt text
myst_enable_extensions, myst_heading_anchors = ["dollarmath", "colon_fence", "deflist"], 3
html_theme, html_title = "sphinx_book_theme", "ssltut"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": True,
}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathtext"
autodoc_member_order, autodoc_typehints, autodoc_typehints_format = "bysource", "signature", "short"
autodoc_default_options = {"members": True, "show-inheritance": False}
add_module_names = python_use_unqualified_type_names = False
maximum_signature_line_length = 100
# Only our own names are held to exist: the manuals of others cannot be asked without a network.
nitpicky, nitpick_ignore_regex = True, [(r"py:.*", r"(?!ssltut\.).*|ssltut\..*\.T")]
default_role = "code"


def as_rst(
    app: object, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Our docstrings are plain text with ``code``: keep tables as they stand, and take from a star
    or a bar any meaning.
    """
    paragraphs = "\n".join(lines).strip().split("\n\n")
    made = []
    for n, text in enumerate(paragraphs):
        if n and re.search(r"\S {2,}\S|^ |\n ", text):
            made.append(".. code-block:: text\n\n" + re.sub("^", "   ", text, flags=re.MULTILINE))
        else:
            made.append(
                "".join(
                    part if part.startswith("``") else re.sub(r"([*|_\\])", r"\\\1", part)
                    for part in re.split(r"(``.+?``)", text, flags=re.DOTALL)
                )
            )
    lines[:] = [*"\n\n".join(made).splitlines(), ""]


def skip(
    app: object, what: str, name: str, thing: object, skipped: bool, options: object
) -> bool | None:
    """Leave out what Python wrote: the fields of a NamedTuple, and docstrings of dataclasses that
    only repeat the signature.
    """
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: object) -> None:
    """Formulas drawn by matplotlib, so that no script has to come from elsewhere."""
    from docutils.nodes import SkipNode
    from pages import formula

    def drawn(translator: object, node: object, *, block: bool) -> None:
        tex = node.astext()
        translator.body.append(formula(tex, block=block) or f"<code>{escape(tex)}</code>")
        raise SkipNode

    app.add_html_math_renderer(
        "mathtext",
        (lambda t, n: drawn(t, n, block=False), None),
        (lambda t, n: drawn(t, n, block=True), None),
    )
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("autodoc-skip-member", skip)
