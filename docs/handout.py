"""Slides and handouts from executed notebooks: ``make print``, or ``python docs/handout.py``.

Leaves in build/print: ``slides.html`` (one picture or question a slide), ``handout.html`` (the same
on paper, answers at the end) and the cheat sheet, each with a PDF where a Chromium is installed.
None needs a network or a script. The notebooks come from build/tour where that holds runs of
today's solutions, else they are run first.
"""

import argparse
import base64
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import cheat_sheet
import nbformat
import pages
import printing
import tour
import website
from nbconvert.filters import markdown2html
from rules import DETAILS

from ssltut.text import markup

ROOT = Path(__file__).resolve().parents[1]
CHOSEN = ("00", "01", "02", "03", "04", "05")
ON_PAPER = ("predict", "choose", "explain")  # exercises that need no computer
SLIDES = """
html { scroll-snap-type: y mandatory; font: 26px/1.35 system-ui, sans-serif; color: #1a1a1a }
body { margin: 0 }
section { box-sizing: border-box; height: 100vh; padding: 1.2rem 2.2rem; scroll-snap-align: start }
section { display: flex; flex-direction: column; break-after: page; overflow: hidden }
h1, h2 { margin: 0 0 .4rem; line-height: 1.15 } h1 { font-size: 2.2rem } h2 { font-size: 1.5rem }
p, ul { margin: .3rem 0 } .where { color: #555; font-size: .7rem; margin: 0 }
.picture { flex: 1; min-height: 0; width: 100%; object-fit: contain; margin: .3rem 0 }
details { color: #00457a } summary { cursor: pointer }
code { font-size: .9em } .middle { justify-content: center }
@page { size: 338mm 190mm; margin: 0 }
@media print { html { font-size: 20px } section { height: 189mm }
  details::details-content { content-visibility: visible; display: block } }
"""
PAPER = """
body { font: 11pt/1.4 Georgia, serif; color: #111; max-width: 180mm; margin: 10mm auto }
h1 { font-size: 19pt; border-bottom: 1.5pt solid #111; break-before: page } h2 { font-size: 14pt }
h1:first-of-type { break-before: auto } h1, h2, h3 { break-after: avoid; line-height: 1.2 }
img.picture { display: block; max-width: 100%; max-height: 95mm; margin: 3mm auto }
.question { break-inside: avoid; margin: 0 } .write { height: 22mm } .where { color: #555 }
.write { border-bottom: .4pt dotted #888; margin: 2mm 0 }
th, td { text-align: left; vertical-align: top; padding: .8mm 4mm .8mm 0 }
table { border-collapse: collapse } tr { border-bottom: .4pt solid #ccc }
@page { size: A4; margin: 15mm }
"""


@dataclass
class Picture:
    """A picture of a notebook: its alternative text, its PNG, the text above it and below it."""

    alt: str
    png: str
    before: str = ""
    after: str = ""


@dataclass
class Part:
    """What stands under one heading, in order; ``kind`` is title, section, exercise or question."""

    kind: str
    heading: str
    blocks: list[str | Picture] = field(default_factory=list)
    answer: str = ""

    @property
    def text(self) -> str:
        return "\n\n".join(block for block in self.blocks if isinstance(block, str))

    @property
    def pictures(self) -> list[Picture]:
        return [block for block in self.blocks if isinstance(block, Picture)]


def parts_of(book: nbformat.NotebookNode) -> list[Part]:
    """The parts of an executed notebook that can be told without its code."""
    found: list[Part] = []
    for cell in book.cells:
        if "check" in cell.metadata.get("tags", []):  # what follows an exercise is of its section
            section = next(part for part in reversed(found) if part.kind in ("section", "title"))
            found.append(Part("section", section.heading))
        elif cell.cell_type == "markdown":
            for piece in re.split(r"^(?=#{1,3} )", cell.source, flags=re.MULTILINE):
                add_text(found, piece.strip())
        elif found and found[-1].kind == "section":
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    alt = output.metadata.get("image/png", {}).get("alt", "")
                    before = paragraph(found[-1].text, "Look for.")
                    found[-1].blocks.append(Picture(alt, output.data["image/png"], before))
    return [part for part in found if part.kind != "end"]


def add_text(found: list[Part], piece: str) -> None:
    """Put a piece of text, perhaps with a heading, where it belongs."""
    heading, _, below = piece.partition("\n")
    if not heading.startswith("#"):
        if found:
            continue_part(found[-1], piece)
        return
    name = heading.lstrip("# ")
    if heading.startswith("# "):
        below = re.sub(r"^\*Minutes.*$", "", below, flags=re.MULTILINE)
        found.append(Part("title", name, [below]))
    elif name == "You will be able to":
        found[-1].blocks.append(below.partition("**New words:**")[0])
    elif re.match(r"\d+\. ", name):
        found.append(Part("section", name, [below.strip()]))
    elif name.startswith("Question"):
        answer = "\n\n".join(text.strip() for _, text in DETAILS.findall(below))
        found.append(Part("question", name, [DETAILS.sub("", below).strip()], answer))
    elif name.startswith("Exercise"):
        found.append(Part("exercise", name, [DETAILS.sub("", below).strip()]))
    else:
        found.append(Part("end", name))


def continue_part(part: Part, piece: str) -> None:
    """Text after a picture explains it; everything belongs to its part."""
    if part.pictures and not part.pictures[-1].after:
        part.pictures[-1].after = paragraph(piece, "So.")
    part.blocks.append(piece)


def paragraph(text: str, label: str) -> str:
    """The last paragraph of ``text`` that begins with this label; "" where there is none."""
    found = [block for block in re.split(r"\n\s*\n", text) if block.startswith(f"**{label}**")]
    return found[-1] if found else ""


def rendered(text: str) -> str:
    """Markdown of a solution as HTML without links to pages that a printout does not have."""
    body = markdown2html(pages.prose(text))
    return re.sub(r"<a [^>]*>(.*?)</a>", r"\1", body, flags=re.DOTALL)


def image(picture: Picture) -> str:
    data = base64.b64encode(base64.b64decode(picture.png)).decode()
    alt = markup(picture.alt)
    return f'<img class="picture" alt="{alt}" src="data:image/png;base64,{data}">'


def whole(title: str, style: str, body: str) -> str:
    """An HTML page that needs nothing but itself."""
    head = f'<meta charset="utf-8"><title>{markup(title)}</title><style>{style}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    )


def slide(where: str, heading: str, body: str, answer: str = "", kind: str = "") -> str:
    """One slide; the answer is folded on a screen and open on paper."""
    folded = f"<details><summary>So?</summary>{rendered(answer)}</details>" if answer else ""
    top = f'<p class="where">{markup(where)}</p><h2>{markup(heading)}</h2>'
    return f'<section class="{kind}">{top}\n{body}\n{folded}</section>'


def slides_of(parts: list[Part]) -> list[str]:
    """One slide for the title, for every picture, and for every question."""
    name, found = parts[0].heading, []
    for part in parts:
        if part.kind == "title":
            text = f"<h1>{markup(name)}</h1>{rendered(part.text)}"
            found.append(f'<section class="middle">{text}</section>')
        elif part.kind == "question":
            body = rendered(part.text)
            found.append(slide(name, part.heading, body, part.answer, "middle"))
        elif part.kind == "exercise" and part.heading.endswith(ON_PAPER):
            found.append(slide(name, part.heading, rendered(part.text), kind="middle"))
        for picture in part.pictures:
            body = rendered(picture.before) + image(picture)
            found.append(slide(name, part.heading, body, picture.after))
    return found


def handout_of(parts: list[Part]) -> tuple[str, str]:
    """(pages, answers) of one notebook."""
    name, found, answers = parts[0].heading, [], []
    for part in parts:
        heading = markup(part.heading)
        if part.kind == "title":
            found.append(f"<h1>{heading}</h1>{rendered(part.text)}")
        elif part.kind == "section":
            if f"<h2>{heading}</h2>" not in found:  # else it goes on after an exercise
                found.append(f"<h2>{heading}</h2>")
            found += [rendered(b) if isinstance(b, str) else image(b) for b in part.blocks]
        elif part.kind == "question" or part.heading.endswith(ON_PAPER):
            lines = '<div class="write"></div>'
            text = f"<h3>{heading}</h3>{rendered(part.text)}{lines}"
            found.append(f'<div class="question">{text}</div>')
        if part.answer:
            answers.append(f"<h3>{markup(name)}: {heading}</h3>{rendered(part.answer)}")
    return "\n".join(found), "\n".join(answers)


def write(runs: list[Path], target: Path) -> list[Path]:
    """Slides, handout and cheat sheet in ``target``; returns what was written, PDF included."""
    target.mkdir(parents=True, exist_ok=True)
    told = [parts_of(nbformat.read(run, as_version=4)) for run in runs]
    slides = "\n".join(text for parts in told for text in slides_of(parts))
    bodies, answers = zip(*(handout_of(parts) for parts in told), strict=True)
    paper = "\n".join([*bodies, "<h1>Answers</h1>", *answers])
    made = {
        "slides": whole("ssltut: slides", SLIDES, slides),
        "handout": whole("ssltut: handout", PAPER, paper),
    }
    for name, text in made.items():
        if needs := pages.loads(text):
            raise tour.TourError(f"{name}.html would load {needs[0]} when opened")
        (target / f"{name}.html").write_text(text, encoding="utf-8", newline="\n")
    shutil.copy(cheat_sheet.TARGET, target)
    written = [target / f"{name}.html" for name in (*made, "cheat-sheet")]
    printed = [pdf for page in written if (pdf := printing.to_pdf(page))]
    return [*written, *printed]


def main(arguments: list[str] | None = None, build: Path = ROOT / "build") -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", choices=tour.TIMEOUT_S, help="how the notebooks are run")
    words = f"two digits each (default: {' '.join(CHOSEN)})"
    parser.add_argument("--notebooks", nargs="+", default=CHOSEN, metavar="NN", help=words)
    options = parser.parse_args(arguments)
    solutions = sorted((ROOT / "notebooks" / "solutions").glob("[0-9][0-9]_*.ipynb"))
    solutions = [path for path in solutions if path.stem[:2] in options.notebooks]
    folder, present = build / "tour", website.executed(build / "tour", solutions)
    try:
        if present is None or options.profile not in (None, present):
            folder = build / "print" / "runs"
            tour.tour(solutions, folder, profile=options.profile or "class")
        written = write([folder / path.name for path in solutions], build / "print")
    except (tour.TourError, RuntimeError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    if not any(path.suffix == ".pdf" for path in written):
        print("No Chromium was found: print the pages from a browser to get PDF files.")
    print("Done:", *(f"  {path}" for path in written), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
