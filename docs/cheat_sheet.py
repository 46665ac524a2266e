"""The cheat sheet on one page: ``python docs/cheat_sheet.py`` makes docs/cheat-sheet.html and .pdf
from docs/cheat-sheet.md.

The page needs no network. The PDF is made where a Chromium is installed.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))

import pages
import printing
from nbconvert.filters import markdown2html

from ssltut.text import markup

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "cheat-sheet.md"
TARGET = HERE / "cheat-sheet.html"
STYLE = """
@page { size: A4; margin: 9mm }
body { font: 9.2pt/1.34 "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; color: #111 }
body { width: 192mm; margin: 0 auto }
h1 { font-size: 15pt; margin: 0 0 1.5mm } h2 { font-size: 11.5pt; margin: 0 0 .8mm; color: #00457a }
main { columns: 2; column-gap: 5mm }
section { break-inside: avoid; border-top: 1pt solid #00457a; padding-top: 1mm; margin: 0 0 2.6mm }
.diagram svg { width: 100%; height: auto; display: block; margin: 0 0 2.5mm }
ol, ul { margin: 0; padding-left: 4.5mm } p { margin: .5mm 0 }
table { border-collapse: collapse; width: 100% } thead { display: none }
td { padding: .35mm 1.5mm .35mm 0; vertical-align: top; border-bottom: .3pt solid #ccc }
code { font: 8pt "DejaVu Sans Mono", Menlo, monospace }
pre { margin: 0; font: 7.7pt/1.38 "DejaVu Sans Mono", Menlo, monospace; background: #f3f4f6 }
pre { padding: 1mm 1.5mm; white-space: pre-wrap } pre code, pre span { font-size: inherit }
.option { white-space: nowrap } td:last-child { white-space: nowrap }
img.formula { zoom: .8 }
"""


def sheet(text: str, diagram: str) -> str:
    """The page as HTML; ``text`` is Markdown with a title, a picture and sections."""
    title, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    heading = re.search(r"^# (.+)$", title, re.MULTILINE)
    picture = re.search(r"!\[(.*?)\]\(", title, re.DOTALL)
    assert heading, "the source has no title"
    assert picture, "the source has no picture with words for it"
    label, name = markup(" ".join(picture[1].split())), markup(heading[1])
    start = f'<svg role="img" aria-label="{label}" '
    drawing = diagram.replace("<svg ", start, 1)
    parts = [f"<section>{markdown2html(pages.prose('## ' + part))}</section>" for part in sections]
    body = re.sub(r'<a class="anchor-link".*?</a>', "", "\n".join(parts))
    body = re.sub(r"(--\w+)", r'<span class="option">\1</span>', body)  # no break after a dash
    head = f'<meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n<h1>{name}</h1>\n'
        f'<div class="diagram">{drawing}</div>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
    )


def made() -> str:
    """The page that the source in docs/ gives."""
    diagram = SOURCE.with_suffix(".svg").read_text(encoding="utf-8")
    return sheet(SOURCE.read_text(encoding="utf-8"), diagram)


def main() -> int:
    TARGET.write_text(made(), encoding="utf-8", newline="\n")
    print(f"Done: {TARGET}")
    if (pdf := printing.to_pdf(TARGET)) is None:
        print("No Chromium was found, so the PDF is the old one: print the page from a browser.")
    else:
        print(f"Done: {pdf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
