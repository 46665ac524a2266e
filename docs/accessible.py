"""Repairs of the pages that Sphinx and its theme make, for readers who hear them: what axe-core
calls a fault in them (tests/project/test_site_browser.py counts).
"""

import re
from pathlib import Path

TOGGLE = re.compile(
    r"(<a class=\"[^\"]*reference internal\" href=\"[^\"]*\">)(.*?)(</a><details[^>]*>)<summary>"
)
# Parameters below each other: a list of definitions that lacks its terms, inside a term.
PARAMETERS = re.compile(r"<dl>\s*((?:<dd>.*?</dd>\s*)+)</dl>", re.DOTALL)
# pandas writes these above the row labels of a coloured table.
BLANK = re.compile(r'<th class="(blank[^"]*)"([^>]*)>(&nbsp;)?</th>')
# From the source to a function's manual: the way to names that a room hands on leads nowhere.
BACK = re.compile(r'<a class="viewcode-back".*?</a>')
PLAIN = (
    # The label of a button has to begin with what is written on it.
    (' title="Search" aria-label="Search" data-bs', ' title="Search" data-bs'),
    ('<summary aria-label="Toggle hidden content">', "<summary>"),
    # Everything belongs to a landmark.
    (
        '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar">',
        '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar" role="region"'
        ' aria-label="Pages of the site">',
    ),
    # A column without a name has no heading.
    ('<th class="head"><p></p></th>', "<td></td>"),
    ("<th></th>", "<td></td>"),
)


def repaired(page: str) -> str:
    """An HTML page without these faults."""
    for old, new in PLAIN:
        page = page.replace(old, new)
    page = BLANK.sub(r'<td class="\1"\2></td>', BACK.sub("", page))
    page = TOGGLE.sub(_named, page)
    return PARAMETERS.sub(_lines, page)


def _named(found: re.Match) -> str:
    """The arrow beside an entry of the sidebar, with a name."""
    words = re.sub(r"<[^>]*>", "", found[2])
    return f'{found[1]}{found[2]}{found[3]}<summary aria-label="Pages below: {words}">'


def _lines(found: re.Match) -> str:
    """Parameters as lines of a signature."""
    lines = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'


def repair(site: Path) -> None:
    """Repair every page of a site."""
    for path in site.rglob("*.html"):
        if "_static" not in path.parts:
            path.write_text(repaired(path.read_text(encoding="utf-8")), encoding="utf-8")
